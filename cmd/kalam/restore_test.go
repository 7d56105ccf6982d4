package main

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// smallBackup makes a backup with every kind of part and returns where it is, and what the rows are.
func smallBackup(t *testing.T) (dir, rows string) {
	t.Helper()
	s := start(t, testConfig(filepath.Join(t.TempDir(), "data")))
	s.sql(`CREATE SCHEMA app; CREATE TABLE app.items (id BIGINT PRIMARY KEY, name TEXT); INSERT INTO app.items SELECT range, md5(range::TEXT) FROM range(0, 200)`)
	s.sql(`FLUSH TABLE app.items`)
	s.sql(`UPDATE app.items SET name = 'changed' WHERE id < 10`)
	rows = s.sql(itemRows, "--format", "csv")
	dir = filepath.Join(t.TempDir(), "backup")
	if out, errs, code := command(t, "", "backup", dir, "--url", s.url); code != 0 {
		t.Fatalf("backup: exit code %d\n%s%s", code, out, errs)
	}
	s.stop()
	return dir, rows
}

const itemRows = `SELECT id, name, _partition, _offset FROM app.items ORDER BY id`

func filesOf(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A flipped bit in any file of a backup, a file cut short and a file that is missing are refused by name, and nothing is made.
func TestDamagedBackup(t *testing.T) {
	dir, _ := smallBackup(t)
	seed := rand.Uint64()
	if s := os.Getenv("KALAM_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("KALAM_SEED: %v", err)
		}
	}
	t.Logf("KALAM_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	files := filesOf(t, dir)
	if len(files) < 10 {
		t.Fatalf("the backup has only %d files", len(files))
	}
	for _, path := range files {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		flipped := []byte(string(whole))
		flipped[rng.IntN(len(flipped))] ^= 1 << rng.IntN(8)
		for what, damaged := range map[string][]byte{"flipped": flipped, "short": whole[:len(whole)-1], "missing": nil} {
			if damaged == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, damaged, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			if what == "short" && filepath.Base(path) == "backup.json" {
				continue // its last byte is the end of the line
			}
			refused(t, dir, path, what)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, errs, code := command(t, "", "backup", "verify", dir); code != 0 {
		t.Errorf("the backup as it was: exit code %d\n%s%s", code, out, errs)
	}
}

func refused(t *testing.T, dir, path, what string) {
	t.Helper()
	if _, errs, code := command(t, "", "backup", "verify", dir); code == 0 || !strings.Contains(errs, filepath.Base(path)) {
		t.Errorf("%s, %s: verify ends with code %d and says %s", path, what, code, errs)
	}
	data := filepath.Join(t.TempDir(), "restored")
	if _, errs, code := command(t, "", "restore", dir, "--data", data); code == 0 || !strings.Contains(errs, filepath.Base(path)) {
		t.Errorf("%s, %s: restore ends with code %d and says %s", path, what, code, errs)
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("%s, %s: the data directory was made: %v", path, what, err)
	}
}

// A backup is restored to another number, into another backend, and a backup of what was restored is restored again: the log jumps twice.
func TestRestoreOfARestore(t *testing.T) {
	dir, rows := smallBackup(t)
	for round := range 2 {
		c := testConfig(filepath.Join(t.TempDir(), "restored"))
		c.Cluster.NodeID, c.Storage.Backend = 5+round, "bbolt"
		t.Setenv("KALAM_STORAGE_BACKEND", "bbolt")
		if out, errs, code := command(t, "", "restore", dir, "--data", c.Server.Data, "--node-id", strconv.Itoa(c.Cluster.NodeID)); code != 0 {
			t.Fatalf("restore: exit code %d\n%s%s", code, out, errs)
		}
		if out, errs, code := command(t, "", "verify", "--data", c.Server.Data); code != 0 {
			t.Fatalf("verify: exit code %d\n%s%s", code, out, errs)
		}
		s := start(t, c)
		if got := s.sql(itemRows, "--format", "csv"); got != rows {
			t.Errorf("round %d: restored %.300s\nwant %.300s", round, got, rows)
		}
		for i := range round + 1 {
			lost := fmt.Sprintf("1:%d", (i+1)<<40)
			if out, errs, code := command(t, "", "sql", "--url", s.url, "--at-least", lost, "-c", "SELECT 1"); code == 0 || !strings.Contains(out+errs, "restored from a backup") {
				t.Errorf("round %d: position %s: exit code %d\n%s%s", round, lost, code, out, errs)
			}
		}
		s.sql(`INSERT INTO app.items VALUES (-1, 'x'); DELETE FROM app.items WHERE id = -1`)
		dir = filepath.Join(t.TempDir(), "backup")
		if out, errs, code := command(t, "", "backup", dir, "--url", s.url); code != 0 {
			t.Fatalf("backup: exit code %d\n%s%s", code, out, errs)
		}
		s.stop()
	}
}
