package materializer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/pebble"
)

// crashRig is a ledger on a file system that can crash; durable is the index up to which "segments" are synced.
type crashRig struct {
	*ledger
	fs      *vfs.MemFS
	durable *atomic.Uint64
	applied *atomic.Uint64 // changes of entries up to here are in "segments"
}

func openRig(t *testing.T, fs *vfs.MemFS) *crashRig {
	t.Helper()
	r := openRigOver(t, func(before func() error) (storage.Backend, error) {
		return pebble.Open(pebble.Options{Dir: "state", FS: fs, BeforeDurable: before, MemtableBytes: 24 << 10})
	})
	r.fs = fs
	return r
}

// backendOpener is Options.Backend.
type backendOpener func(beforeDurable func() error) (storage.Backend, error)

func openRigOver(t *testing.T, open backendOpener) *crashRig {
	t.Helper()
	r := &crashRig{durable: new(atomic.Uint64), applied: new(atomic.Uint64)}
	m, err := New(Options{Backend: open})
	if err != nil {
		t.Fatal(err)
	}
	cp, err := m.Open(func() error {
		r.durable.Store(r.applied.Load())
		return nil
	})
	if err != nil {
		t.Fatalf("open after crash: %v", err)
	}
	t.Cleanup(func() { _ = m.Close() })
	r.ledger = &ledger{
		t: t, m: m, index: cp.Index, now: max(cp.Timestamp, 1_000_000),
		ends: map[log.Partition]log.Offset{}, all: map[log.Partition][]log.Record{},
	}
	return r
}

// run applies entries from at on, each as a step, and calls after with the number applied.
func (r *crashRig) run(entries [][][]byte, at int, after func(int)) {
	for i := at; i < len(entries); i++ {
		s := r.begin()
		s.entry(entries[i]...)
		r.applied.Store(uint64(r.index))
		s.commit()
		after(i + 1)
	}
}

// crashHistory has DDL, rows of several sizes, updates, deletes and idempotency keys.
func crashHistory(t *testing.T, rng *rand.Rand) [][][]byte {
	l := newLedger(t)
	var entries [][][]byte
	add := func(key string, ms ...Mutation) {
		raw := EncodeBatch(&Batch{IdempotencyKey: key, Memory: Memory{Keys: 5}, Mutations: ms})
		entries = append(entries, [][]byte{raw})
		l.begin() // nothing of an earlier step remains
		if _, err := l.Propose(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	}
	ddl := func(ms []Mutation, err error) {
		if err != nil {
			t.Fatal(err)
		}
		add("", ms...)
	}
	ddl(l.m.Catalog().CreateNamespace("app", 1))
	create := func(name string) *Table {
		def := usersTable(2)
		def.Name = name
		table, ms, err := l.m.Catalog().CreateTable(def, 1)
		ddl(ms, err)
		return table
	}
	users, other := create("users"), create("other")
	for i := range 120 {
		table := users
		if i%3 == 0 && i < 80 {
			table = other
		}
		pad := strings.Repeat("x", rng.IntN(2000))
		ms := []Mutation{l.row(table, Upsert, big(rng.Int64N(40)), str(pad), big(int64(i)))}
		gone := l.key(table, Remove, big(rng.Int64N(40)))
		gone.Miss = Skip
		add(fmt.Sprint("key ", i%9), append(ms, gone)...)
		if i == 80 {
			ddl(l.m.Catalog().DropTable(other))
		}
	}
	return entries
}

// TestCrash crashes after every entry. The state must be that of some entry, as a whole; of none whose segments are not durable; and the entries after
// it must lead to where an undisturbed run leads.
func TestCrash(t *testing.T) {
	entries := crashHistory(t, rand.New(rand.NewPCG(3, 3)))
	states := [][]string{}
	undisturbed := openRig(t, vfs.NewCrashableMem())
	states = append(states, dumpState(t, undisturbed.m))
	undisturbed.run(entries, 0, func(int) { states = append(states, dumpState(t, undisturbed.m)) })
	for _, percent := range []int{0, 50, 100} {
		t.Run(fmt.Sprintf("keep %d%%", percent), func(t *testing.T) {
			crashAll(t, entries, states, percent)
		})
	}
}

func crashAll(t *testing.T, entries [][][]byte, states [][]string, percent int) {
	rng := rand.New(rand.NewPCG(uint64(percent), 1))
	live := openRig(t, vfs.NewCrashableMem())
	seen := map[log.Index]bool{}
	live.run(entries, 0, func(done int) {
		if rng.IntN(30) == 0 {
			if err := live.m.Sync(); err != nil {
				t.Fatal(err)
			}
			if got := live.durable.Load(); got != uint64(done) {
				t.Fatalf("Sync after entry %d left the segments at %d", done, got)
			}
		}
		crashed := live.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
		durable := log.Index(live.durable.Load())
		after := openRig(t, crashed)
		if after.index > durable {
			t.Fatalf("after entry %d the state is at %d, the segments at %d", done, after.index, durable)
		}
		if got := dumpState(t, after.m); !slices.Equal(got, states[after.index]) {
			t.Fatalf("after entry %d the state at %d is not whole", done, after.index)
		}
		if !seen[after.index] && rng.IntN(4) == 0 {
			after.run(entries, int(after.index), func(int) {})
			if got := dumpState(t, after.m); !slices.Equal(got, states[len(entries)]) {
				t.Fatalf("replay from %d leads elsewhere", after.index)
			}
		}
		seen[after.index] = true
		if err := after.m.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if len(seen) < 3 {
		t.Errorf("crashes left only the checkpoints %v", seen)
	}
	t.Logf("%d different checkpoints", len(seen))
}
