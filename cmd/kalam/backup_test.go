package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// gate is a proxy before a server that lets parts of backups through until it is shut: then they hang.
type gate struct {
	url  string
	left atomic.Int64 // parts that may still pass
	hung chan struct{}
	once sync.Once
}

func newGate(t *testing.T, target string) *gate {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{hung: make(chan struct{})}
	proxy := httputil.NewSingleHostReverseProxy(u)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Count(r.URL.Path, "/") > 3 && g.left.Add(-1) < 0 {
			g.once.Do(func() { close(g.hung) })
			<-r.Context().Done()
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	g.url = s.URL
	return g
}

// kalam runs a command of the binary to its end.
func (k *killRig) kalam(args ...string) (output string, err error) {
	k.t.Helper()
	cmd := exec.CommandContext(within(k.t, 2*time.Minute), k.options.Binary, args...)
	cmd.Env = append(os.Environ(), k.options.Env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (k *killRig) mustKalam(args ...string) string {
	k.t.Helper()
	out, err := k.kalam(args...)
	if err != nil {
		k.t.Fatalf("kalam %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// cutBackup runs a backup into dir that is killed after some parts.
func (k *killRig) cutBackup(dir string, parts int64) {
	k.t.Helper()
	g := newGate(k.t, k.server.URL)
	g.left.Store(parts)
	var out bytes.Buffer
	cmd := exec.CommandContext(k.t.Context(), k.options.Binary, "backup", dir, "--url", g.url)
	cmd.Stderr, cmd.Stdout = &out, &out
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	select {
	case <-g.hung:
	case <-within(k.t, time.Minute).Done():
		k.t.Errorf("the backup did not come to part %d: %s", parts, out.String())
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
}

// table is everything of a query, as text.
func (k *killRig) table(sql string) string {
	k.t.Helper()
	rows, err := json.Marshal(k.sql(sql)[0].Rows)
	if err != nil {
		k.t.Fatal(err)
	}
	return string(rows)
}

// A backup is taken beside writes, flushes and deletions, its client is killed, the server is killed in between, and each time it goes on. What is restored
// of it verifies, has the rows of its position, and takes writes.
func TestBackupBesideEverything(t *testing.T) {
	k := newRetentionRig(t)
	k.sql(`CREATE TABLE shop.still (id BIGINT PRIMARY KEY, v TEXT, n DECIMAL(10,2)); CREATE TABLE shop.seen (seen TIMESTAMPTZ, what TEXT) WITH (type = 'stream');
		INSERT INTO shop.still SELECT range, md5(range::TEXT), range / 7 FROM range(0, 500)`)
	k.sql(`FLUSH TABLE shop.still`)
	k.sql(`UPDATE shop.still SET v = 'changed' WHERE id % 3 = 0`)
	k.sql(`DELETE FROM shop.still WHERE id % 10 = 0`)
	k.sql(`INSERT INTO shop.seen VALUES ('2026-01-01T00:00:00Z', 'once')`)
	k.mustInsert(2000)
	load := func() (stop func()) {
		done := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				if _, err := k.insert(50); err != nil {
					return
				}
				if _, err := k.server.SQL(t.Context(), `FLUSH TABLE shop.items`); err != nil {
					return
				}
				select {
				case <-done:
					return
				case <-k.server.Exited():
					return
				case <-time.After(50 * time.Millisecond): // load, not a wait for anything
				}
			}
		})
		return sync.OnceFunc(func() { close(done); wg.Wait() })
	}
	stop := load()
	defer func() { stop() }()
	k.eventually("the start of the log moves", func() bool { return k.number(startOfItems) > 0 })

	dir := filepath.Join(t.TempDir(), "backup")
	k.cutBackup(dir, 5)
	if out, err := k.kalam("restore", dir, "--data", filepath.Join(t.TempDir(), "early")); err == nil || !strings.Contains(out, "not finished") {
		t.Errorf("half a backup was restored: %v\n%s", err, out)
	}
	before := k.number(startOfItems)
	k.eventually("the log is deleted from behind the backup", func() bool { return k.number(startOfItems) > before })
	k.cutBackup(dir, 5)
	out := k.mustKalam("backup", dir, "--url", k.server.URL)
	if !strings.Contains(out, "going on with the backup") || !strings.Contains(out, ": 10 of ") {
		t.Errorf("the backup did not go on where it was:\n%s", out)
	}
	k.compareRestored(dir)

	dir = filepath.Join(t.TempDir(), "another")
	k.cutBackup(dir, 8)
	k.server.Kill()
	stop()
	k.start()
	k.rows.Store(k.number(`SELECT max(id) + 1 FROM shop.items`))
	stop = load()
	out = k.mustKalam("backup", dir, "--url", k.server.URL)
	if !strings.Contains(out, "starting over") {
		t.Errorf("the server was restarted, the backup did not start over:\n%s", out)
	}
	k.compareRestored(dir)
	if out, err := k.kalam("backup", dir, "--url", k.server.URL); err == nil || !strings.Contains(out, "finished backup") {
		t.Errorf("a finished backup was written over: %v\n%s", err, out)
	}
	stop()
	k.sql(`FLUSH TABLE shop.items`)
	k.eventually("the log is deleted once no backup holds it", func() bool { return k.logBytes() < 2<<20 })
}

// compareRestored restores the backup in dir and compares the node that it becomes with k, whose shop.items only grow.
func (k *retentionRig) compareRestored(dir string) {
	k.t.Helper()
	k.mustKalam("backup", "verify", dir)
	r := newKillRig(k.t)
	r.options.Data = filepath.Join(k.t.TempDir(), "restored")
	k.mustKalam("restore", dir, "--data", r.options.Data)
	r.verify()
	if out, err := k.kalam("restore", dir, "--data", r.options.Data); err == nil || !strings.Contains(out, "not empty") {
		k.t.Errorf("a backup was restored over a node: %v\n%s", err, out)
	}
	r.start()
	count := r.table(`SELECT count(*) FROM shop.items`)
	sums := fmt.Sprintf(`SELECT count(*), min(id), max(id), sum(id), sum(hash(body)::HUGEINT) FROM shop.items WHERE id < %s`, strings.Trim(count, `[]`))
	for _, sql := range []string{sums, `SELECT * FROM shop.still ORDER BY id`, `SELECT seen, what, _offset FROM shop.seen`, `SELECT id, _offset FROM shop.still ORDER BY id`} {
		if got, want := r.table(sql), k.table(sql); got != want {
			k.t.Errorf("%s\nrestored %.200s\nsource   %.200s", sql, got, want)
		}
	}
	if count == "[[0]]" {
		k.t.Error("nothing was restored of shop.items")
	}
	r.sql(`INSERT INTO shop.still (id, v) VALUES (100000, 'new'); FLUSH TABLE shop.still; FLUSH TABLE shop.items`)
	r.server.Kill()
	r.verify()
	r.start()
	if got := r.table(`SELECT v FROM shop.still WHERE id = 100000`); got != `[["new"]]` {
		k.t.Errorf("after a kill the restored node shows %s", got)
	}
	r.halt()
	r.verify()
}

// firstEvent returns the type of the first event of a live query that resumes after from, but for the one that opens it.
func (k *killRig) firstEvent(sql, from string) string {
	k.t.Helper()
	ctx, cancel := context.WithCancel(within(k.t, 30*time.Second))
	defer cancel()
	path := "/v1/subscribe?" + url.Values{"sql": {sql}, "from": {from}}.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, k.server.URL+path, http.NoBody)
	if err != nil {
		k.t.Fatal(err)
	}
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		k.t.Fatal(err)
	}
	defer reply.Body.Close()
	lines := bufio.NewScanner(reply.Body)
	for lines.Scan() {
		if event, ok := strings.CutPrefix(lines.Text(), "event: "); ok && event != "subscribed" {
			return event
		}
	}
	return fmt.Sprintf("the end of the reply, %s, %v", reply.Status, lines.Err())
}

// cutRestore runs restores of a backup that are killed until one was before it was done.
func (k *killRig) cutRestore(dir, data string) {
	k.t.Helper()
	for range 20 {
		cmd := exec.CommandContext(k.t.Context(), k.options.Binary, "restore", dir, "--data", data)
		if err := cmd.Start(); err != nil {
			k.t.Fatal(err)
		}
		k.eventually("the restore has begun", func() bool {
			_, err := os.Stat(filepath.Join(data, "segments"))
			return err == nil
		})
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if _, err := os.Stat(filepath.Join(data, "RESTORING")); err == nil {
			return
		}
		if err := os.RemoveAll(data); err != nil {
			k.t.Fatal(err)
		}
	}
	k.t.Error("every restore was done before it could be killed")
}

// A restored node grows to a cluster, whose other nodes get everything by a snapshot and by fetching data files, and which survives the loss of the restored one.
func TestClusterGrowsFromABackup(t *testing.T) {
	source := newKillRig(t)
	source.start()
	source.sql(`CREATE SCHEMA shop; CREATE TABLE shop.items (id BIGINT PRIMARY KEY, v TEXT); INSERT INTO shop.items SELECT range, md5(range::TEXT) FROM range(0, 3000)`)
	source.sql(`FLUSH TABLE shop.items`)
	source.eventually("the flush has ended", func() bool {
		return source.table(`SELECT count(*) FROM system.jobs WHERE state = 'completed'`) == `[[1]]`
	})
	source.sql(`UPDATE shop.items SET v = 'changed' WHERE id % 100 = 7`)
	want := map[string]string{}
	for _, sql := range []string{`SELECT * FROM shop.items ORDER BY id`, `SELECT id, _partition, _offset FROM shop.items ORDER BY id`} {
		want[sql] = source.table(sql)
	}
	dir := filepath.Join(t.TempDir(), "backup")
	source.mustKalam("backup", dir, "--url", source.server.URL)
	late := source.sql(`INSERT INTO shop.items VALUES (5000, 'lost')`)[0].Position
	source.halt()

	data := filepath.Join(t.TempDir(), "restored")
	source.cutRestore(dir, data)
	for _, command := range []string{"serve", "verify"} {
		if out, err := source.kalam(command, "--data", data); err == nil || !strings.Contains(out, "cut off") {
			t.Errorf("kalam %s took half a restore: %v\n%s", command, err, out)
		}
	}
	source.mustKalam("restore", dir, "--data", data)
	first := newMember(t, 1, data)
	first.start()
	second := newMember(t, 2, t.TempDir(), first)
	second.join(first)
	third := newMember(t, 3, t.TempDir(), first)
	third.join(first)
	for _, m := range []*member{first, second, third} {
		m.sees(want)
		err := m.server.Call(t.Context(), http.MethodPost, "/v1/sql", "application/json",
			strings.NewReader(fmt.Sprintf(`{"sql":"SELECT 1","at_least":%q}`, late)), nil, nil)
		if err == nil || !strings.Contains(err.Error(), "restored from a backup") {
			t.Errorf("node %d takes a position that was lost: %v", m.node, err)
		}
		if got := m.firstEvent(`SELECT id, v FROM shop.items WHERE id < 10`, late); got != "reset" {
			t.Errorf("node %d resumes a live query from a position that was lost with %q", m.node, got)
		}
	}
	first.server.Kill()
	second.eventually("a write without the first node", func() bool {
		_, err := second.server.SQL(t.Context(), `INSERT INTO shop.items VALUES (6000, 'without')`)
		return err == nil
	})
	first.start()
	first.sees(map[string]string{`SELECT v FROM shop.items WHERE id = 6000`: `[["without"]]`})
	for _, m := range []*member{first, second, third} {
		m.halt()
		m.verify()
	}
}
