package materializer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/lni/dragonboat/v4/statemachine"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/bbolt"
	"kalamlog.dev/kalam/materializer/storage/redis"
	"kalamlog.dev/kalam/materializer/storage/redis/redistest"
)

// otherBackends runs test over each backend that is not the default. newStore makes a store and returns what opens it.
func otherBackends(t *testing.T, test func(t *testing.T, newStore func() backendOpener)) {
	t.Run("bbolt", func(t *testing.T) {
		test(t, func() backendOpener {
			dir := t.TempDir()
			return func(before func() error) (storage.Backend, error) {
				return bbolt.Open(bbolt.Options{Dir: dir, BeforeDurable: before, BufferKeys: 20})
			}
		})
	})
	t.Run("redis", func(t *testing.T) {
		server := redistest.Start(t, redistest.Durable...)
		var stores atomic.Int64
		test(t, func() backendOpener {
			dir, prefix := t.TempDir(), fmt.Sprint("store/", stores.Add(1))
			return func(before func() error) (storage.Backend, error) {
				return redis.Open(redis.Options{URL: server.URL(), Prefix: prefix, Dir: dir, BeforeDurable: before, BufferKeys: 20})
			}
		})
	})
}

// TestBackendsAgree folds a history with every backend, which loses what it has not synced at random moments. The state must always be that of an entry whose
// segments are durable, as a whole, and in the end what Pebble has.
func TestBackendsAgree(t *testing.T) {
	entries := crashHistory(t, rand.New(rand.NewPCG(3, 3)))
	states := [][]string{}
	undisturbed := openRig(t, vfs.NewCrashableMem())
	states = append(states, dumpState(t, undisturbed.m))
	undisturbed.run(entries, 0, func(int) { states = append(states, dumpState(t, undisturbed.m)) })
	otherBackends(t, func(t *testing.T, newStore func() backendOpener) {
		rng, open := rand.New(rand.NewPCG(4, 4)), newStore()
		starts := map[log.Index]bool{}
		for done := 0; done < len(entries); {
			r := openRigOver(t, open)
			if got := dumpState(t, r.m); !slices.Equal(got, states[r.index]) {
				t.Fatalf("the state at %d is not whole", r.index)
			}
			starts[r.index] = true
			from := int(r.index)
			until := min(len(entries), from+5+rng.IntN(60))
			r.run(entries[:until], from, func(now int) {
				if rng.IntN(25) == 0 {
					if err := r.m.Sync(); err != nil {
						t.Fatal(err)
					}
				}
				done = now
			})
			if err := r.m.Close(); err != nil {
				t.Fatal(err)
			}
			if again := openRigOver(t, open); uint64(again.index) > r.durable.Load() && again.index > log.Index(from) {
				t.Fatalf("the state is at %d, the segments at %d", again.index, r.durable.Load())
			} else if err := again.m.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if len(starts) < 3 {
			t.Errorf("only the checkpoints %v were opened", starts)
		}
		last := openRigOver(t, open)
		last.run(entries, int(last.index), func(int) {})
		if got := dumpState(t, last.m); !slices.Equal(got, states[len(entries)]) {
			t.Error("the history leads elsewhere")
		}
	})
}

// TestSnapshotsBetweenBackends restores a snapshot of Pebble's state into each backend, and one of that into Pebble.
func TestSnapshotsBetweenBackends(t *testing.T) {
	from := filled(t)
	want := dumpState(t, from.m)
	otherBackends(t, func(t *testing.T, newStore func() backendOpener) {
		open := newStore()
		to := openLedgerOver(t, open)
		if _, err := to.m.Restore(bytes.NewReader(from.snapshot()), nil); err != nil {
			t.Fatal(err)
		}
		if err := to.m.Close(); err != nil {
			t.Fatal(err)
		}
		to = openLedgerOver(t, open)
		if got := dumpState(t, to.m); !slices.Equal(got, want) {
			t.Error("the restored state is another")
		}
		back := newLedger(t)
		if _, err := back.m.Restore(bytes.NewReader(to.snapshot()), nil); err != nil {
			t.Fatal(err)
		}
		if got := dumpState(t, back.m); !slices.Equal(got, want) {
			t.Error("the state that came back is another")
		}
	})
}

// TestCutOffRestoreOverBackends is TestSnapshotCutOff over each backend.
func TestCutOffRestoreOverBackends(t *testing.T) {
	raw := filled(t).snapshot()
	empty := dumpState(t, newLedger(t).m)
	otherBackends(t, func(t *testing.T, newStore func() backendOpener) {
		for _, size := range []int{0, 100, len(raw) / 2, len(raw) - 1} {
			open := newStore()
			l := openLedgerOver(t, open)
			l.createTable(usersTable(1))
			if _, err := l.m.Restore(bytes.NewReader(raw[:size]), nil); err == nil {
				t.Fatalf("%d of %d bytes were restored", size, len(raw))
			}
			if err := l.m.Close(); err != nil {
				t.Fatal(err)
			}
			again := openLedgerOver(t, open)
			if got := dumpState(t, again.m); again.index != 0 || !slices.Equal(got, empty) {
				t.Errorf("cut off at %d: checkpoint %d, or something is left", size, again.index)
			}
		}
	})
}

// TestSnapshotOverrun: a snapshot that its backend gave up is one to try again, not a failure of the replica.
func TestSnapshotOverrun(t *testing.T) {
	dir := t.TempDir()
	l := openLedgerOver(t, func(before func() error) (storage.Backend, error) {
		return bbolt.Open(bbolt.Options{Dir: dir, BeforeDurable: before, UndoBytes: 4 << 10})
	})
	users := l.createTable(usersTable(1))
	write := func() {
		for i := range int64(50) {
			l.mustWrite(l.row(users, Upsert, big(i), str(strings.Repeat("x", 100)), big(i)))
		}
		if err := l.m.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	write()
	view, err := l.m.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	rows := l.view()
	write()
	if err := l.m.Save(view, io.Discard, nil); !errors.Is(err, statemachine.ErrSnapshotAborted) {
		t.Errorf("Save: %v", err)
	}
	for _, err := range rows.Scan(users, 0, storage.Range{}) {
		if !problem.Is(err, problem.Overloaded) {
			t.Errorf("Scan: %v", err)
		}
	}
	l.verify()
}

// TestModelOverBackends is TestModel's random batches over each backend, compared with the maps and with the fold of the changes.
func TestModelOverBackends(t *testing.T) {
	otherBackends(t, func(t *testing.T, newStore func() backendOpener) {
		testModel(t, func() *ledger { return openLedgerOver(t, newStore()) })
	})
}
