package query

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kalamlog.dev/kalam/internal/problem"
)

// TestDamagedDataFileIsNotShown: a data file that is not what was written, or is gone, fails the queries of its table, names the file, and harms no
// others; with the file back they go on by themselves.
func TestDamagedDataFileIsNotShown(t *testing.T) {
	s := openStack(t)
	f := s.withFlusher()
	s.exec("CREATE TABLE t (k BIGINT PRIMARY KEY, v TEXT); CREATE TABLE other (k BIGINT PRIMARY KEY)")
	s.exec("INSERT INTO t SELECT i, 'value ' || i FROM range(0, 1000) r(i)")
	s.exec("INSERT INTO other VALUES (1)")
	s.flushTable(f, "t")
	files, err := filepath.Glob(filepath.Join(s.dir, "data", "*", "*", "*.parquet"))
	s.must(err)
	if len(files) == 0 {
		t.Fatal("no data files")
	}
	path := files[0]
	whole, err := os.ReadFile(path)
	s.must(err)
	bent := append([]byte{}, whole...)
	bent[len(bent)/2] ^= 4
	for name, damage := range map[string]func() error{
		"a flipped bit": func() error { return os.WriteFile(path, bent, 0o600) },
		"a short file":  func() error { return os.WriteFile(path, whole[:len(whole)-1], 0o600) },
		"no file":       func() error { return os.Remove(path) },
	} {
		s.must(damage())
		var c collect
		err := s.Run(as("root"), Request{SQL: "SELECT count(*) FROM t"}, &c)
		if p := problem.As(err); p == nil || !strings.Contains(p.Message, filepath.Base(path)) || !strings.Contains(p.Message, "damaged") {
			t.Errorf("%s: %v", name, err)
		}
		if got := s.exec("SELECT count(*) FROM other").lines(); got != "1\n" {
			t.Errorf("%s: the other table gives %s", name, got)
		}
		if got := s.exec("SELECT v FROM t WHERE k = 7").lines(); got != "value 7\n" {
			t.Errorf("%s: a key read gives %s", name, got)
		}
	}
	s.must(os.WriteFile(path, whole, 0o600))
	if got := s.exec("SELECT count(*) FROM t").lines(); got != "1000\n" {
		t.Errorf("with the file back: %s", got)
	}
}
