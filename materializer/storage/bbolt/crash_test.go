package bbolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"kalamlog.dev/kalam/materializer/storage"
)

// crashRig writes a counter with padding to a store whose files it copies as crashes leave them.
type crashRig struct {
	t       *testing.T
	rng     *rand.Rand
	dir     string
	backend storage.Backend
	written atomic.Uint64
	hooked  atomic.Uint64
}

func newCrashRig(t *testing.T, o Options) *crashRig {
	t.Helper()
	r := &crashRig{t: t, rng: rand.New(rand.NewPCG(5, 5)), dir: filepath.Join(t.TempDir(), "state")}
	o.Dir = r.dir
	o.BeforeDurable = func() error {
		r.hooked.Store(r.written.Load())
		return nil
	}
	var err error
	if r.backend, err = Open(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.backend.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(r.backend.CreatePartition("n"), r.backend.CreatePartition("pad"), r.backend.Sync()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *crashRig) write() uint64 {
	r.t.Helper()
	n := r.written.Add(1)
	batch := r.backend.NewBatch()
	batch.Put("n", []byte("n"), binary.BigEndian.AppendUint64(nil, n))
	batch.Put("pad", padKey(n), make([]byte, r.rng.IntN(1000)))
	if n > 20 {
		batch.Delete("pad", padKey(n-20))
	}
	if err := batch.Commit(); err != nil {
		r.t.Fatal(err)
	}
	return n
}

// padKey spreads keys over the pages.
func padKey(n uint64) []byte { return fmt.Appendf(nil, "%03d %d", n*7919%1000, n) }

// read opens a copy of the store and checks that it is whole.
func (r *crashRig) read(dir string) uint64 {
	r.t.Helper()
	b, err := Open(Options{Dir: dir})
	if err != nil {
		r.t.Fatalf("open after crash: %v", err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			r.t.Error(err)
		}
	}()
	raw, err := b.Value("n", []byte("n"))
	if errors.Is(err, storage.ErrNotFound) {
		return 0
	}
	if err != nil {
		r.t.Fatal(err)
	}
	n, pads := binary.BigEndian.Uint64(raw), uint64(0)
	for _, err := range b.Scan("pad", storage.Range{}) {
		if err != nil {
			r.t.Fatal(err)
		}
		pads++
	}
	for i := n; i > 0 && i+20 > n; i-- {
		if _, err := b.Value("pad", padKey(i)); err != nil {
			r.t.Fatalf("pad of write %d of %d: %v", i, n, err)
		}
	}
	if pads != min(n, 20) {
		r.t.Fatalf("counter %d, but %d pads", n, pads)
	}
	return n
}

// TestKill copies the store after writes, some of which made it flush in the background, as a killed process leaves it.
func TestKill(t *testing.T) {
	r := newCrashRig(t, Options{BufferKeys: 30})
	synced, found := uint64(0), map[uint64]bool{}
	for range 400 {
		n := r.write()
		if r.rng.IntN(40) == 0 {
			if err := r.backend.Sync(); err != nil {
				t.Fatal(err)
			}
			synced = n
		}
		if n%10 > 0 {
			continue
		}
		// A copy takes time in which a flush may run: what it has of bbolt's file must be one state, and is, if the file did not change meanwhile.
		killed := copyStill(t, r.dir, t.TempDir())
		seen := r.hooked.Load()
		got := r.read(killed)
		if got < synced || got > seen {
			t.Fatalf("after write %d the kill leaves %d; synced %d, hook saw %d", n, got, synced, seen)
		}
		found[got] = true
	}
	if len(found) < 5 {
		t.Errorf("only %d different states were left", len(found))
	}
}

// copyStill copies what dir holds at one moment, which must pass without a write.
func copyStill(t *testing.T, dir, to string) string {
	t.Helper()
	for {
		before := readFiles(t, dir)
		if !equalFiles(before, readFiles(t, dir)) {
			continue
		}
		for name, content := range before {
			writeFile(t, filepath.Join(to, name), []byte(content))
		}
		return to
	}
}

type files map[string]string

func readFiles(t *testing.T, dir string) files {
	t.Helper()
	out := files{}
	for _, name := range []string{fileName, "FLOOR"} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		out[name] = string(raw)
	}
	return out
}

func equalFiles(a, b files) bool { return a[fileName] == b[fileName] && a["FLOOR"] == b["FLOOR"] }

// TestPowerLoss makes the files that a power loss during a flush can leave: of the pages that the flush wrote any may have reached the disk before
// they were synced, and the page that makes them count, written after that, may be torn.
func TestPowerLoss(t *testing.T) {
	r := newCrashRig(t, Options{})
	for range 40 {
		for range 1 + r.rng.IntN(30) {
			r.write()
		}
		if err := r.backend.Sync(); err != nil {
			t.Fatal(err)
		}
		old, before := r.written.Load(), readFiles(t, r.dir)
		for range 1 + r.rng.IntN(30) {
			r.write()
		}
		if err := r.backend.Sync(); err != nil {
			t.Fatal(err)
		}
		after := readFiles(t, r.dir)
		for _, torn := range []bool{false, true} {
			left := r.lose(before, after, torn)
			if got := r.read(left); got != old {
				t.Fatalf("a power loss during the flush of %d leaves %d, want %d", r.written.Load(), got, old)
			}
		}
		whole := r.lose(before, after, false)
		writeFile(t, filepath.Join(whole, fileName), []byte(after[fileName]))
		if got := r.read(whole); got != r.written.Load() {
			t.Fatalf("a power loss before the floor file leaves %d, want %d", got, r.written.Load())
		}
	}
}

// lose returns a store with the first two pages, bbolt's meta pages, and the floor of before, and each other page of before or after. torn: the meta page
// that was being written is garbage in part.
func (r *crashRig) lose(before, after files, torn bool) string {
	r.t.Helper()
	page := os.Getpagesize() // bbolt takes it over
	was, is := []byte(before[fileName]), []byte(after[fileName])
	content := append(append([]byte{}, was...), make([]byte, max(0, len(is)-len(was)))...)
	for at := 2 * page; at < len(is); at += page {
		if r.rng.IntN(2) == 0 {
			copy(content[at:], is[at:min(len(is), at+page)])
		}
	}
	for at := range 2 {
		meta := content[at*page : (at+1)*page]
		if written := is[at*page : (at+1)*page]; torn && string(meta) != string(written) {
			copy(meta[:24], written)                                 // the header of the page and the magic
			binary.LittleEndian.PutUint64(meta[48:], r.rng.Uint64()) // the middle of the meta data
		}
	}
	dir := r.t.TempDir()
	writeFile(r.t, filepath.Join(dir, fileName), content)
	writeFile(r.t, filepath.Join(dir, "FLOOR"), []byte(before["FLOOR"]))
	return dir
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSecondProcess finds the file locked.
func TestSecondProcess(t *testing.T) {
	r := newCrashRig(t, Options{})
	if b, err := Open(Options{Dir: r.dir}); err == nil {
		_ = b.Close()
		t.Fatal("the store was opened twice")
	}
}
