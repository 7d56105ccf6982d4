package cluster

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"kalamlog.dev/kalam/internal/chaos/check"
	"kalamlog.dev/kalam/internal/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bareNode has a directory and no process.
func bareNode(t *testing.T) *Node {
	t.Helper()
	n := &Node{ID: 1, Place: 1, dir: t.TempDir()}
	must(t, os.MkdirAll(filepath.Join(n.data(), "segments", "7"), 0o755))
	return n
}

func (n *Node) put(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(n.data(), name)
	must(t, os.WriteFile(path, content, 0o644))
	return path
}

func TestDamageChangesOneBit(t *testing.T) {
	t.Parallel()
	n := bareNode(t)
	before := append(bytes.Repeat([]byte{7}, 1000), make([]byte, 5000)...) // preallocated zeros at the end
	path := n.put(t, "segments/7/a.log", before)
	n.put(t, "other", before)
	n.put(t, "segments/7/short", []byte("too short to matter"))
	for seed := range uint64(50) {
		must(t, os.WriteFile(path, before, 0o644))
		what, err := n.Damage("segments", rand.New(rand.NewPCG(seed, 0)), FlipBit)
		must(t, err)
		after, err := os.ReadFile(path)
		must(t, err)
		changed := 0
		for i := range after {
			if after[i] != before[i] {
				changed++
				if d := after[i] ^ before[i]; d&(d-1) != 0 || i >= 1000 {
					t.Errorf("seed %d: %s: byte %d is %d", seed, what, i, after[i])
				}
			}
		}
		if changed != 1 || len(after) != len(before) || !strings.Contains(what, "segments/7/a.log") {
			t.Errorf("seed %d: %s: %d bytes changed", seed, what, changed)
		}
	}
	what, err := n.Damage("segments", rand.New(rand.NewPCG(1, 0)), CutOff)
	must(t, err)
	if st, err := os.Stat(path); err != nil || st.Size() >= int64(len(before)) {
		t.Errorf("%s: %v, %v", what, st, err)
	}
	if _, err := n.Damage("raft", rand.New(rand.NewPCG(1, 0)), FlipBit); err == nil {
		t.Error("a kind of file that is not there was damaged")
	}
}

func TestBackupIsRestored(t *testing.T) {
	t.Parallel()
	n := bareNode(t)
	path := n.put(t, "segments/7/a.log", []byte("before"))
	must(t, n.Backup())
	n.put(t, "segments/7/a.log", []byte("after"))
	n.put(t, "segments/7/new", nil)
	must(t, n.Restore())
	content, err := os.ReadFile(path)
	must(t, err)
	entries, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	if string(content) != "before" || len(entries) != 1 {
		t.Errorf("restored %q, %v", content, entries)
	}
	if _, err := os.Stat(n.backup()); !os.IsNotExist(err) {
		t.Errorf("the copy is still there: %v", err)
	}
}

func TestUsageIsReadFromMetrics(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("# HELP x y\ngo_goroutines 57\nprocess_open_fds 49\nprocess_resident_memory_bytes 1.048576e+08\nother{a=\"b\"} 3\n"))
	}))
	defer s.Close()
	n := &Node{Client: &process.Client{URL: s.URL, HTTP: s.Client()}}
	got, err := n.Usage(t.Context())
	must(t, err)
	if got != (check.Usage{Files: 49, Goroutines: 57, Resident: 100 << 20}) {
		t.Errorf("usage %+v", got)
	}
}
