package writeback

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/floor"
	"kalamlog.dev/kalam/materializer/storage/storagetest"
)

// memoryOptions are those of a store over m, its floor file in memory too.
func memoryOptions(m *memory) Options {
	return Options{Base: m, Dir: "/", FS: vfs.NewMem()}
}

func TestConformance(t *testing.T) {
	for _, keys := range []int{0, 1, 5} {
		t.Run(fmt.Sprintf("flush at %d", keys), func(t *testing.T) {
			storagetest.Run(t, func(*testing.T) func() (storage.Backend, error) {
				o := memoryOptions(newMemory())
				o.BufferKeys = keys
				return func() (storage.Backend, error) { return Open(o) }
			})
		})
	}
}

func mustOpen(t *testing.T, o Options) *Backend {
	t.Helper()
	b, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func check(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestBaseLosesARecord removes, changes and swaps records of the base one at a time. Whoever reads or changes what was there is told.
func TestBaseLosesARecord(t *testing.T) {
	m := newMemory()
	o := memoryOptions(m)
	b := mustOpen(t, o)
	fill(t, b)
	check(t, b.Close())
	want, err := readAll(o)
	check(t, err)
	sound := m.copy()
	for _, lost := range sound.cells.Items() {
		hurts := map[string]func(*layer){
			"removed": func(l *layer) { l.cells.Delete(lost) },
			"emptied": func(l *layer) { l.set(cell{space: lost.space, key: lost.key, value: []byte{}}) },
			"another": func(l *layer) { l.set(cell{space: lost.space, key: lost.key, value: sound.cells.Items()[0].value}) },
			"elsewhere": func(l *layer) {
				l.cells.Delete(lost)
				l.set(cell{space: lost.space, key: append(bytes.Clone(lost.key), 'x'), value: lost.value})
			},
			"copied": func(l *layer) {
				l.set(cell{space: lost.space, key: append(bytes.Clone(lost.key), 'x'), value: lost.value})
			},
		}
		for how, hurt := range hurts {
			m.content = sound.copy()
			hurt(m.content)
			if got, err := readAll(o); err == nil && (got != want || !bytes.Equal(lost.value, sound.cells.Items()[0].value)) {
				t.Errorf("record %x of space %d was %s, and nobody noticed (same content: %v)", lost.key, lost.space, how, got == want)
			}
		}
	}
}

func fill(t *testing.T, b *Backend) {
	t.Helper()
	check(t, b.CreatePartition("p"), b.CreatePartition("q"), b.CreatePartition("empty"))
	for i := range 8 {
		check(t, b.Put("p", fmt.Appendf(nil, "%02d", i), fmt.Append(nil, i)), b.Put("q", fmt.Append(nil, i), nil))
	}
	check(t, b.Sync(), b.Delete("p", []byte("03")), b.Put("p", []byte("04"), []byte("new")), b.DropPartition("q"), b.Sync())
}

// readAll opens the store and prints what it holds, by scans both ways and by key.
func readAll(o Options) (content string, err error) {
	b, err := Open(o)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	names, err := b.Partitions()
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, p := range names {
		fmt.Fprintf(&out, "%s\n", p)
		for _, reverse := range []bool{false, true} {
			for e, err := range b.Scan(p, storage.Range{Reverse: reverse}) {
				if err != nil {
					return "", err
				}
				fmt.Fprintf(&out, "%q %q\n", e.Key, e.Value)
			}
		}
	}
	return out.String(), nil
}

// TestMissingKeyIsProved: a point read of a key whose record was lost does not say that there is none.
func TestMissingKeyIsProved(t *testing.T) {
	m := newMemory()
	b := mustOpen(t, memoryOptions(m))
	fill(t, b)
	if _, err := b.Value("p", []byte("03")); !errors.Is(err, storage.ErrNotFound) {
		t.Fatalf("a key that was deleted: %v", err)
	}
	m.content.cells.Delete(cell{space: b.partitions["p"], key: storedKey([]byte("05"))})
	if _, err := b.Value("p", []byte("05")); !errors.Is(err, storage.ErrDamaged) {
		t.Fatalf("a key that was lost: %v", err)
	}
	if err := b.Put("p", []byte("x"), nil); !errors.Is(err, storage.ErrDamaged) {
		t.Fatalf("a write to a damaged store: %v", err)
	}
}

// TestHookFails: nothing reaches the base, and nothing more is accepted.
func TestHookFails(t *testing.T) {
	broken, fails := errors.New("segments cannot be synced"), false
	m := newMemory()
	o := memoryOptions(m)
	o.BeforeDurable = func() error {
		if fails {
			return broken
		}
		return nil
	}
	b := mustOpen(t, o)
	check(t, b.CreatePartition("p"), b.Put("p", []byte("a"), []byte("1")), b.Sync(), b.Put("p", []byte("a"), []byte("2")))
	fails = true
	if err := b.Sync(); !errors.Is(err, broken) {
		t.Fatalf("Sync: %v", err)
	}
	if err := b.Put("p", []byte("a"), []byte("3")); !errors.Is(err, broken) {
		t.Fatalf("Put after a failed Sync: %v", err)
	}
	check(t, b.Close())
	fails = false
	b = mustOpen(t, o)
	if v, err := b.Value("p", []byte("a")); err != nil || string(v) != "1" {
		t.Fatalf("a = %q %v", v, err)
	}
}

// TestBaseFails: the first failed write is told to every later one, and to the one that made it flush.
func TestBaseFails(t *testing.T) {
	m, broken := newMemory(), errors.New("no space left")
	o := memoryOptions(m)
	o.BufferKeys = 10
	b := mustOpen(t, o)
	check(t, b.CreatePartition("p"), b.Sync())
	m.mu.Lock()
	m.failing = broken
	m.mu.Unlock()
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = b.Put("p", fmt.Append(nil, i), nil)
	}
	if !errors.Is(err, broken) {
		t.Fatalf("a thousand writes into a buffer of ten: %v", err)
	}
	if err := b.Sync(); !errors.Is(err, broken) {
		t.Fatalf("Sync: %v", err)
	}
	if v, err := b.Value("p", []byte("1")); err != nil || v == nil {
		t.Fatalf("what was committed cannot be read: %v", err)
	}
}

// TestSnapshotIsGivenUp: past UndoBytes the oldest snapshots end with ErrStale, and what they had kept is let go.
func TestSnapshotIsGivenUp(t *testing.T) {
	o := memoryOptions(newMemory())
	o.UndoBytes = 10 << 10
	b := mustOpen(t, o)
	value := make([]byte, 1000)
	write := func() {
		for i := range 4 {
			check(t, b.Put("p", fmt.Append(nil, i), value))
		}
		check(t, b.Sync())
	}
	check(t, b.CreatePartition("p"))
	write()
	old, err := b.Snapshot()
	check(t, err)
	write()
	if _, err := old.Value("p", []byte("1")); err != nil {
		t.Fatalf("after 4 kB: %v", err)
	}
	write()
	young, err := b.Snapshot()
	check(t, err)
	write()
	write()
	if _, err := old.Value("p", []byte("1")); !errors.Is(err, storage.ErrStale) {
		t.Errorf("the old snapshot after 16 kB: %v", err)
	}
	for _, err := range old.Scan("p", storage.Range{}) {
		if !errors.Is(err, storage.ErrStale) {
			t.Errorf("a scan of it: %v", err)
		}
	}
	if _, err := young.Value("p", []byte("1")); err != nil {
		t.Errorf("the young snapshot after 8 kB: %v", err)
	}
	check(t, old.Close(), young.Close())
}

// TestDroppedSpaces: a dropped partition leaves the base once nobody reads it, also if that is only after a restart.
func TestDroppedSpaces(t *testing.T) {
	m := newMemory()
	o := memoryOptions(m)
	b := mustOpen(t, o)
	check(t, b.CreatePartition("p"), b.Put("p", []byte("a"), []byte("1")), b.Sync())
	s := Space{ID: b.partitions["p"], Name: "p"}
	snapshot, err := b.Snapshot()
	check(t, err)
	check(t, b.DropPartition("p"), b.Sync())
	if v, err := snapshot.Value("p", []byte("a")); err != nil || string(v) != "1" {
		t.Fatalf("in the snapshot a = %q %v", v, err)
	}
	if got := (memoryReader{m.content}).all(s); len(got) != 2 {
		t.Fatalf("the base holds %d records of a partition that is read", len(got))
	}
	check(t, snapshot.Close(), b.Close())
	b = mustOpen(t, o)
	check(t, b.Sync())
	if got := (memoryReader{m.content}).all(s); len(got) != 0 {
		t.Fatalf("the base holds %d records of a dropped partition", len(got))
	}
}

// TestOlderBase and a lost floor file are found.
func TestOlderBase(t *testing.T) {
	m := newMemory()
	o := memoryOptions(m)
	b := mustOpen(t, o)
	check(t, b.CreatePartition("p"), b.Sync())
	older := m.copy()
	check(t, b.Put("p", []byte("a"), nil), b.Sync(), b.Close())
	newer := m.copy()
	m.content = older
	if _, err := Open(o); !errors.Is(err, floor.ErrBehind) {
		t.Errorf("an older base: %v", err)
	}
	m.content = newLayer()
	if _, err := Open(o); !errors.Is(err, floor.ErrBehind) {
		t.Errorf("an empty base: %v", err)
	}
	m.content = newer
	check(t, o.FS.Remove("/FLOOR"))
	if _, err := Open(o); !errors.Is(err, floor.ErrBehind) {
		t.Errorf("no floor file: %v", err)
	}
}

// TestReadersBesideFlushes has snapshots read while flushes go on under them: each must find the state in which it was taken, whatever
// moment of a flush it meets.
func TestReadersBesideFlushes(t *testing.T) {
	o := memoryOptions(newMemory())
	o.BufferKeys = 7
	b := mustOpen(t, o)
	check(t, b.CreatePartition("p"))
	const keys, rounds = 20, 400
	round := func(n int) {
		batch := b.NewBatch()
		for i := range keys {
			if i%5 == n%5 {
				batch.Delete("p", fmt.Appendf(nil, "%02d", i))
			} else {
				batch.Put("p", fmt.Appendf(nil, "%02d", i), fmt.Append(nil, n))
			}
		}
		check(t, batch.Commit())
	}
	round(0)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := oneRound(b, keys); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := 1; n <= rounds; n++ {
		round(n)
	}
	close(stop)
	wg.Wait()
}

// oneRound takes a snapshot and reads it repeatedly: all keys must be of one round.
func oneRound(b *Backend, keys int) error {
	snapshot, err := b.Snapshot()
	if err != nil {
		return err
	}
	defer snapshot.Close()
	first := ""
	for pass := range 6 {
		got := map[string]string{}
		for e, err := range snapshot.Scan("p", storage.Range{Reverse: pass%2 > 0}) {
			if err != nil {
				return err
			}
			got[string(e.Key)] = string(e.Value)
		}
		if len(got) != keys-keys/5 {
			return fmt.Errorf("%d keys", len(got))
		}
		for key, value := range got {
			if first == "" {
				first = value
			}
			if value != first {
				return fmt.Errorf("key %s is of round %s, others of %s", key, value, first)
			}
			if v, err := snapshot.Value("p", []byte(key)); err != nil || string(v) != first {
				return fmt.Errorf("value %s: %q %w", key, v, err)
			}
		}
	}
	return nil
}
