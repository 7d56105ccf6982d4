package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"kalamlog.dev/kalam/materializer/storage"
)

// NewStore makes an empty store for one test and returns how to open it. The suite opens it again after closing it, never twice at once.
type NewStore func(t *testing.T) (open func() (storage.Backend, error))

// Run checks that a backend keeps storage.Backend's contract.
func Run(t *testing.T, newStore NewStore) {
	tests := []struct {
		name string
		test func(*testing.T, *store)
	}{
		{"values", testValues},
		{"missing partition", testMissingPartition},
		{"partition names", testPartitionNames},
		{"partitions", testPartitions},
		{"partitions do not mix", testNeighbours},
		{"scan", testScan},
		{"scan stops", testScanStops},
		{"scan sees one state", testScanIsolation},
		{"snapshot", testSnapshot},
		{"snapshot of a dropped partition", testSnapshotOfDropped},
		{"batch", testBatch},
		{"batch is all or nothing", testBatchRefused},
		{"batch changes partitions", testBatchPartitions},
		{"drop and recreate", testDropAndRecreate},
		{"large values", testLargeValues},
		{"copies", testCopies},
		{"reopen", testReopen},
		{"closed", testClosed},
		{"concurrency", testConcurrency},
		{"atomic for readers", testAtomicReaders},
		{"model", testModel},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &store{t: t, open: newStore(t)}
			s.reopen()
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			tt.test(t, s)
		})
	}
}

// store is the backend under test with checks around it.
type store struct {
	storage.Backend
	t    *testing.T
	open func() (storage.Backend, error)
}

func (s *store) reopen() {
	s.t.Helper()
	if s.Backend != nil {
		s.check(s.Close())
	}
	b, err := s.open()
	if err != nil {
		s.t.Fatalf("open: %v", err)
	}
	s.Backend = b
}

func (s *store) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *store) put(p storage.PartitionName, key, value string) {
	s.t.Helper()
	s.check(s.Put(p, []byte(key), []byte(value)))
}

func (s *store) create(ps ...storage.PartitionName) {
	s.t.Helper()
	for _, p := range ps {
		s.check(s.CreatePartition(p))
	}
}

func (s *store) wantValue(r storage.Reader, p storage.PartitionName, key, want string) {
	s.t.Helper()
	got, err := r.Value(p, []byte(key))
	s.check(err)
	if string(got) != want {
		s.t.Fatalf("%s/%q = %q, want %q", p, key, got, want)
	}
}

func (s *store) wantError(err, want error) {
	s.t.Helper()
	if !errors.Is(err, want) {
		s.t.Fatalf("got error %v, want %v", err, want)
	}
}

func (s *store) wantAbsent(r storage.Reader, p storage.PartitionName, key string) {
	s.t.Helper()
	_, err := r.Value(p, []byte(key))
	s.wantError(err, storage.ErrNotFound)
}

// scan returns what a scan yields as "key=value".
func scan(r storage.Reader, p storage.PartitionName, in storage.Range) ([]string, error) {
	var out []string
	for e, err := range r.Scan(p, in) {
		if err != nil {
			return out, err
		}
		out = append(out, fmt.Sprintf("%s=%s", e.Key, e.Value))
	}
	return out, nil
}

func (s *store) wantScan(r storage.Reader, p storage.PartitionName, in storage.Range, want ...string) {
	s.t.Helper()
	got, err := scan(r, p, in)
	s.check(err)
	if !slices.Equal(got, want) {
		s.t.Fatalf("scan %s %v = %q, want %q", p, in, got, want)
	}
}

func testValues(_ *testing.T, s *store) {
	s.create("p")
	s.wantAbsent(s, "p", "a")
	s.put("p", "a", "1")
	s.wantValue(s, "p", "a", "1")
	s.put("p", "a", "2")
	s.wantValue(s, "p", "a", "2")
	s.put("p", "empty", "")
	s.wantValue(s, "p", "empty", "")
	s.put("p", "\x00\xff", "binary")
	s.wantValue(s, "p", "\x00\xff", "binary")
	s.check(s.Delete("p", []byte("a")))
	s.wantAbsent(s, "p", "a")
	s.check(s.Delete("p", []byte("never there")))
}

func testMissingPartition(_ *testing.T, s *store) {
	_, err := s.Value("none", []byte("a"))
	s.wantError(err, storage.ErrNoPartition)
	s.wantError(s.Put("none", []byte("a"), nil), storage.ErrNoPartition)
	s.wantError(s.Delete("none", []byte("a")), storage.ErrNoPartition)
	s.wantError(storage.Values(s.Backend, "none", [][]byte{{'a'}}, func(int, []byte) {}), storage.ErrNoPartition)
	_, err = scan(s, "none", storage.Range{})
	s.wantError(err, storage.ErrNoPartition)
	s.check(s.DropPartition("none"))
	snapshot, err := s.Snapshot()
	s.check(err)
	s.create("none")
	_, err = snapshot.Value("none", []byte("a"))
	s.wantError(err, storage.ErrNoPartition)
	s.check(snapshot.Close())
}

func testPartitionNames(_ *testing.T, s *store) {
	long := storage.PartitionName(bytes.Repeat([]byte("x"), storage.MaxPartitionName))
	for _, good := range []storage.PartitionName{"a", "t/1000/3", "a_b-c", long} {
		s.create(good)
		s.put(good, "k", string(good))
		s.wantValue(s, good, "k", string(good))
	}
	for _, bad := range []storage.PartitionName{"", long + "x", "A", "a.b", "a b", "a\x00", "ä"} {
		s.wantError(s.CreatePartition(bad), storage.ErrName)
	}
}

func testPartitions(t *testing.T, s *store) {
	want := []storage.PartitionName{"a", "b", "b/1"}
	s.create("b/1", "a", "b", "a")
	got, err := s.Partitions()
	s.check(err)
	if !slices.Equal(got, want) {
		t.Fatalf("partitions %q, want %q", got, want)
	}
	s.check(s.DropPartition("b"))
	for p, want := range map[storage.PartitionName]bool{"a": true, "b": false, "b/1": true, "c": false} {
		got, err := s.PartitionExists(p)
		s.check(err)
		if got != want {
			t.Errorf("exists(%q) = %v", p, got)
		}
	}
}

// testNeighbours has names that are prefixes of others and keys that could be taken for the rest of a name.
func testNeighbours(_ *testing.T, s *store) {
	names := []storage.PartitionName{"t", "t/1", "t/10", "t/1/0", "t-1", "u"}
	s.create(names...)
	keys := []string{"", "\x00", "/1", "0", "\xff\xff"}
	for _, p := range names {
		for _, k := range keys {
			s.put(p, k, string(p))
		}
	}
	for _, p := range names {
		v := string(p)
		s.wantScan(s, p, storage.Range{}, "="+v, "\x00="+v, "/1="+v, "0="+v, "\xff\xff="+v)
	}
	s.check(s.DropPartition("t/1"))
	for _, p := range names {
		if p != "t/1" {
			s.wantValue(s, p, "0", string(p))
		}
	}
}

func testScan(_ *testing.T, s *store) {
	s.create("before", "p", "q")
	s.put("before", "z", "0")
	s.put("q", "a", "0")
	for _, k := range []string{"b", "d", "a", "c", "\x00", "\xff\xff"} {
		s.put("p", k, k)
	}
	for _, r := range []storage.Reader{s.Backend, s.snapshot()} {
		s.wantScan(r, "p", storage.Range{}, "\x00=\x00", "a=a", "b=b", "c=c", "d=d", "\xff\xff=\xff\xff")
		s.wantScan(r, "p", storage.Range{Reverse: true}, "\xff\xff=\xff\xff", "d=d", "c=c", "b=b", "a=a", "\x00=\x00")
		s.wantScan(r, "p", storage.Range{Start: []byte("b"), End: []byte("d")}, "b=b", "c=c")
		s.wantScan(r, "p", storage.Range{Start: []byte("b"), End: []byte("d"), Reverse: true}, "c=c", "b=b")
		s.wantScan(r, "p", storage.Range{Start: []byte("bb")}, "c=c", "d=d", "\xff\xff=\xff\xff")
		s.wantScan(r, "p", storage.Range{End: []byte("a\x00")}, "\x00=\x00", "a=a")
		s.wantScan(r, "p", storage.Range{Start: []byte("d"), End: []byte("b")})
		s.wantScan(r, "p", storage.Range{Start: []byte("b"), End: []byte("b")})
		s.wantScan(r, "p", storage.Range{End: []byte{}})
	}
}

// snapshot opens a snapshot that the test's end closes.
func (s *store) snapshot() storage.Snapshot {
	s.t.Helper()
	snapshot, err := s.Snapshot()
	s.check(err)
	s.t.Cleanup(func() {
		if err := snapshot.Close(); err != nil {
			s.t.Errorf("close snapshot: %v", err)
		}
	})
	return snapshot
}

func testScanStops(t *testing.T, s *store) {
	s.create("p")
	for i := range 100 {
		s.put("p", fmt.Sprintf("%03d", i), "v")
	}
	seen := 0
	for _, err := range s.Scan("p", storage.Range{}) {
		s.check(err)
		if seen++; seen == 3 {
			break
		}
	}
	if seen != 3 {
		t.Fatalf("saw %d entries", seen)
	}
}

func testScanIsolation(t *testing.T, s *store) {
	s.create("p")
	const entries = 500
	for i := range entries {
		s.put("p", fmt.Sprintf("%04d", i), "old")
	}
	seen := 0
	for e, err := range s.Scan("p", storage.Range{}) {
		s.check(err)
		if seen == 0 {
			batch := s.NewBatch()
			for i := range 2 * entries {
				batch.Put("p", fmt.Appendf(nil, "%04d", i), []byte("new"))
			}
			s.check(batch.Commit())
		}
		if string(e.Value) != "old" {
			t.Fatalf("%s is %s", e.Key, e.Value)
		}
		seen++
	}
	if seen != entries {
		t.Fatalf("saw %d of %d entries", seen, entries)
	}
}

func testSnapshot(_ *testing.T, s *store) {
	s.create("p", "q")
	s.put("p", "a", "1")
	s.put("p", "b", "1")
	snapshot := s.snapshot()
	s.put("p", "a", "2")
	s.check(s.Delete("p", []byte("b")))
	s.put("q", "c", "2")
	for range 2 {
		s.wantScan(snapshot, "p", storage.Range{}, "a=1", "b=1")
		s.wantAbsent(snapshot, "q", "c")
		s.wantValue(snapshot, "p", "a", "1")
		s.wantValue(s, "p", "a", "2")
		s.wantAbsent(s, "p", "b")
		s.check(s.Sync())
	}
	s.check(snapshot.Close())
}

func testSnapshotOfDropped(_ *testing.T, s *store) {
	s.create("p")
	s.put("p", "a", "1")
	snapshot := s.snapshot()
	s.check(s.DropPartition("p"))
	_, err := s.Value("p", []byte("a"))
	s.wantError(err, storage.ErrNoPartition)
	s.create("p")
	s.wantScan(s, "p", storage.Range{})
	s.wantScan(snapshot, "p", storage.Range{}, "a=1")
}

func testBatch(_ *testing.T, s *store) {
	s.create("p", "q")
	s.put("p", "old", "1")
	batch := s.NewBatch()
	batch.Put("p", []byte("a"), []byte("1"))
	batch.Put("q", []byte("a"), []byte("2"))
	batch.Put("p", []byte("a"), []byte("3"))
	batch.Put("p", []byte("gone"), []byte("1"))
	batch.Delete("p", []byte("gone"))
	batch.Delete("p", []byte("old"))
	batch.Put("p", []byte("old"), []byte("back"))
	batch.Delete("q", []byte("never there"))
	s.wantAbsent(s, "p", "a")
	s.check(batch.Commit())
	batch.Discard()
	s.wantScan(s, "p", storage.Range{}, "a=3", "old=back")
	s.wantScan(s, "q", storage.Range{}, "a=2")

	batch = s.NewBatch()
	batch.Put("p", []byte("discarded"), nil)
	batch.Discard()
	s.wantAbsent(s, "p", "discarded")
	s.check(s.NewBatch().Commit())
}

func testBatchRefused(_ *testing.T, s *store) {
	s.create("p")
	batch := s.NewBatch()
	batch.Put("p", []byte("a"), []byte("1"))
	batch.Put("none", []byte("a"), []byte("1"))
	batch.CreatePartition("new")
	s.wantError(batch.Commit(), storage.ErrNoPartition)
	s.wantAbsent(s, "p", "a")
	exists, err := s.PartitionExists("new")
	s.check(err)
	if exists {
		s.t.Fatal("a refused batch has created a partition")
	}
	batch = s.NewBatch()
	batch.Put("p", []byte("a"), []byte("1"))
	batch.CreatePartition("Bad Name")
	s.wantError(batch.Commit(), storage.ErrName)
	s.wantAbsent(s, "p", "a")
}

func testBatchPartitions(_ *testing.T, s *store) {
	s.create("old", "both")
	s.put("old", "a", "1")
	s.put("both", "a", "1")
	batch := s.NewBatch()
	batch.CreatePartition("new")
	batch.Put("new", []byte("a"), []byte("2"))
	batch.Put("old", []byte("b"), []byte("2"))
	batch.DropPartition("old")
	batch.DropPartition("both")
	batch.CreatePartition("both")
	batch.Put("both", []byte("b"), []byte("2"))
	s.check(batch.Commit())
	s.wantScan(s, "new", storage.Range{}, "a=2")
	s.wantScan(s, "both", storage.Range{}, "b=2")
	_, err := scan(s, "old", storage.Range{})
	s.wantError(err, storage.ErrNoPartition)

	batch = s.NewBatch()
	batch.DropPartition("new")
	batch.Put("new", []byte("a"), []byte("3"))
	s.wantError(batch.Commit(), storage.ErrNoPartition)
	s.wantScan(s, "new", storage.Range{}, "a=2")
}

func testDropAndRecreate(_ *testing.T, s *store) {
	for i := range 3 {
		s.create("p")
		s.wantScan(s, "p", storage.Range{})
		for j := range 100 {
			s.put("p", fmt.Sprintf("%d-%d", i, j), "v")
		}
		if i == 1 {
			s.check(s.Sync())
		}
		s.check(s.DropPartition("p"))
	}
	s.check(s.Sync())
	s.reopen()
	s.create("p")
	s.wantScan(s, "p", storage.Range{})
}

func testLargeValues(t *testing.T, s *store) {
	s.create("p")
	large := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	s.check(s.Put("p", []byte("large"), large))
	s.check(s.Put("p", large[:1000], []byte("long key")))
	s.check(s.Sync())
	s.reopen()
	got, err := s.Value("p", []byte("large"))
	s.check(err)
	if !bytes.Equal(got, large) {
		t.Fatalf("a value of %d bytes came back with %d", len(large), len(got))
	}
	s.wantValue(s, "p", string(large[:1000]), "long key")
}

// testCopies changes what was passed in and what was handed out.
func testCopies(_ *testing.T, s *store) {
	s.create("p")
	key, value := []byte("key"), []byte("value")
	s.check(s.Put("p", key, value))
	key[0], value[0] = 'x', 'x'
	s.wantValue(s, "p", "key", "value")
	got, err := s.Value("p", []byte("key"))
	s.check(err)
	got[0] = 'x'
	s.wantValue(s, "p", "key", "value")

	key, value = []byte("key2"), []byte("value2")
	batch := s.NewBatch()
	batch.Put("p", key, value)
	key[0], value[0] = 'x', 'x'
	s.check(batch.Commit())
	s.wantValue(s, "p", "key2", "value2")
}

func testReopen(_ *testing.T, s *store) {
	s.create("p", "q")
	s.put("p", "a", "1")
	s.put("q", "b", "1")
	s.check(s.Sync())
	s.reopen()
	s.put("p", "a", "2")
	s.check(s.Delete("q", []byte("b")))
	s.check(s.Sync())
	s.check(s.Sync())
	s.reopen()
	s.wantScan(s, "p", storage.Range{}, "a=2")
	s.wantScan(s, "q", storage.Range{})
}

func testClosed(_ *testing.T, s *store) {
	s.create("p")
	batch := s.NewBatch()
	batch.Put("p", []byte("a"), nil)
	s.check(s.Close())
	s.check(s.Close())
	_, err := s.Value("p", []byte("a"))
	s.wantError(err, storage.ErrClosed)
	_, err = scan(s, "p", storage.Range{})
	s.wantError(err, storage.ErrClosed)
	s.wantError(storage.Values(s.Backend, "p", [][]byte{{'a'}}, func(int, []byte) {}), storage.ErrClosed)
	_, err = s.Snapshot()
	s.wantError(err, storage.ErrClosed)
	_, err = s.Partitions()
	s.wantError(err, storage.ErrClosed)
	s.wantError(batch.Commit(), storage.ErrClosed)
	s.wantError(s.Put("p", []byte("a"), nil), storage.ErrClosed)
	s.wantError(s.CreatePartition("q"), storage.ErrClosed)
	s.wantError(s.Sync(), storage.ErrClosed)
}
