package main_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestDropRemovesFiles drops a table, once while the server goes on and once just before it is killed, and expects its segments and
// data files to be gone after a checkpoint.
func TestDropRemovesFiles(t *testing.T) {
	k := newKillRig(t)
	k.start()
	k.sql(`CREATE SCHEMA gone; CREATE TABLE gone.a (id BIGINT PRIMARY KEY); CREATE TABLE gone.b (id BIGINT PRIMARY KEY); CREATE TABLE gone.kept (id BIGINT PRIMARY KEY)`)
	k.sql(`INSERT INTO gone.a VALUES (1); INSERT INTO gone.b VALUES (1); INSERT INTO gone.kept VALUES (1); FLUSH TABLE gone.a`)
	before := k.segmentTables()
	if len(before) < 3 {
		t.Fatalf("segments of %v before the drop", before)
	}
	k.sql(`DROP TABLE gone.a`)
	k.eventually("the segments of one table are removed", func() bool { return len(k.userTables()) == 2 })
	k.sql(`DROP TABLE gone.b`)
	k.server.Kill()
	k.start()
	k.eventually("the segments of both are removed", func() bool { return len(k.userTables()) == 1 })
	if got := string(k.sql(`SELECT count(*) FROM gone.kept`)[0].Rows[0][0]); got != "1" {
		t.Errorf("the table that stayed has %s rows", got)
	}
}

// segmentTables lists the folders of segments, one a table.
func (k *killRig) segmentTables() []string {
	k.t.Helper()
	entries, err := os.ReadDir(filepath.Join(k.options.Data, "segments"))
	if err != nil {
		k.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// userTables are the segment folders with the ids of user tables, of four digits and more.
func (k *killRig) userTables() []string {
	return slices.DeleteFunc(k.segmentTables(), func(name string) bool { return len(name) < 4 })
}

func (k *killRig) eventually(what string, holds func() bool) {
	k.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			k.t.Fatalf("not within 30 s: %s; segments of %v\n%s", what, k.segmentTables(), k.server.Output())
		}
		time.Sleep(20 * time.Millisecond)
	}
}
