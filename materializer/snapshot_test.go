package materializer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/lni/dragonboat/v4/statemachine"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
)

// dumpState prints all of the state but the index of the checkpoint.
func dumpState(t testing.TB, m *Materializer) []string {
	t.Helper()
	names, err := m.backend.Partitions()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range names {
		out = append(out, string(p))
		for e, err := range m.backend.Scan(p, storage.Range{}) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%x %x", e.Key, e.Value))
		}
	}
	return out
}

// filled is a ledger with tables, rows, a dropped table and remembered replies.
func filled(t testing.TB) *ledger {
	l := newLedger(t)
	users := l.createTable(usersTable(3))
	l.createTable(&Table{Namespace: "app", Name: "events", Kind: Stream, Versions: usersTable(1).Versions})
	dropped := l.createTable(&Table{Namespace: "app", Name: "dropped", Versions: usersTable(1).Versions})
	for i := range int64(2000) {
		l.mustWrite(l.row(users, Insert, big(i), str(fmt.Sprint("name of ", i)), big(i)))
	}
	l.mustWrite(l.row(dropped, Insert, big(1), str("x"), big(1)))
	ms, err := l.m.Catalog().DropTable(dropped)
	if err != nil {
		t.Fatal(err)
	}
	l.mustWrite(ms...)
	if _, err := l.writeOnce("key", 1, l.patch(users, 7, "n", lit(big(0)))); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *ledger) snapshot() []byte {
	l.t.Helper()
	view, err := l.m.Prepare()
	if err != nil {
		l.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := l.m.Save(view, &out, nil); err != nil {
		l.t.Fatal(err)
	}
	return out.Bytes()
}

func TestSnapshot(t *testing.T) {
	from := filled(t)
	raw := from.snapshot()
	fs := vfs.NewMem()
	to := openLedger(t, fs)
	to.createTable(&Table{Namespace: "app", Name: "will_go", Versions: usersTable(1).Versions})
	var told *Catalog
	to.m.OnCatalogChange(func(c *Catalog) { told = c })
	c, err := to.m.Restore(bytes.NewReader(raw), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := (log.Checkpoint{Index: from.index, Timestamp: from.now}); c != want {
		t.Errorf("checkpoint %v, want %v", c, want)
	}
	if told != to.m.Catalog() || told.Version() != from.m.Catalog().Version() {
		t.Errorf("catalog version %d, want %d", to.m.Catalog().Version(), from.m.Catalog().Version())
	}
	want := dumpState(t, from.m)
	if got := dumpState(t, to.m); !slices.Equal(got, want) {
		t.Error("the restored state is another")
	}
	users, err := to.m.Catalog().Table("app", "users")
	if err != nil {
		t.Fatal(err)
	}
	to.index, to.now = from.index, from.now
	if r, err := to.writeOnce("key", 1, to.patch(users, 7, "n", lit(big(0)))); err != nil || !r.Replayed {
		t.Errorf("the idempotency memory was not restored: %+v %v", r, err)
	}
	if err := to.m.Close(); err != nil {
		t.Fatal(err)
	}
	again := openLedger(t, fs)
	if got := dumpState(t, again.m); !slices.Equal(got, want) {
		t.Error("the restored state did not survive a restart")
	}
}

// TestSnapshotCutOff stops a Restore half way and opens again: there must be no checkpoint, and nothing else.
func TestSnapshotCutOff(t *testing.T) {
	raw := filled(t).snapshot()
	empty := dumpState(t, newLedger(t).m)
	for _, size := range []int{0, 5, 100, len(raw) / 2, len(raw) - 1} {
		fs := vfs.NewMem()
		l := openLedger(t, fs)
		l.createTable(usersTable(1))
		if err := l.m.Sync(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.m.Restore(bytes.NewReader(raw[:size]), nil); err == nil {
			t.Fatalf("%d of %d bytes were restored", size, len(raw))
		}
		if err := errors.Join(l.m.Sync(), l.m.Close()); err != nil {
			t.Fatal(err)
		}
		again := openLedger(t, fs)
		if again.index != 0 {
			t.Errorf("cut off at %d: checkpoint %d", size, again.index)
		}
		if got := dumpState(t, again.m); !slices.Equal(got, empty) {
			t.Errorf("cut off at %d: something is left", size)
		}
	}
}

func TestSnapshotDamage(t *testing.T) {
	raw := filled(t).snapshot()
	l := newLedger(t)
	for at := 0; at < len(raw); at += 1 + len(raw)/300 {
		bad := bytes.Clone(raw)
		bad[at] ^= 0x10
		if _, err := l.m.Restore(bytes.NewReader(bad), nil); err == nil {
			t.Fatalf("a flip of byte %d of %d went unnoticed", at, len(raw))
		}
	}
}

func TestSnapshotStops(t *testing.T) {
	l := filled(t)
	stop := make(chan struct{})
	close(stop)
	view, err := l.m.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.m.Save(view, io.Discard, stop); !errors.Is(err, statemachine.ErrSnapshotStopped) {
		t.Errorf("Save: %v", err)
	}
	if _, err := l.m.Restore(bytes.NewReader(nil), stop); err == nil {
		t.Error("Restore goes on")
	}
	if err := l.m.Save(1, io.Discard, nil); err == nil {
		t.Error("Save of a number")
	}
}

// nowhere is a restoreTarget that keeps nothing.
type nowhere struct{ storage.Batch }

func (nowhere) CreatePartition(storage.PartitionName) error     { return nil }
func (nowhere) Put(storage.PartitionName, []byte, []byte) error { return nil }
func (n nowhere) NewBatch() storage.Batch                       { return nowhereBatch{} }

type nowhereBatch struct{ storage.Batch }

func (nowhereBatch) Put(storage.PartitionName, []byte, []byte) {}
func (nowhereBatch) Commit() error                             { return nil }
func (nowhereBatch) Discard()                                  {}

func FuzzRestore(f *testing.F) {
	l := newLedger(f)
	l.createTable(usersTable(1))
	f.Add(l.snapshot())
	if err := l.m.Close(); err != nil { // its goroutines would make coverage random
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := &snapshotReader{r: newBufio(raw), into: nowhere{}}
		if err := r.run(); err == nil && !bytes.HasPrefix(raw, []byte(snapshotMagic)) {
			t.Fatal("restored what is no snapshot")
		}
	})
}
