package log

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func testOptions(dir string) Options {
	return Options{Dir: dir, Fold: newMapFold(vfs.Default, filepath.Join(dir, "state.json"))}
}

func openTestLog(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(testContext(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return l
}

func readAll(t testing.TB, l *Log, p Partition) []string {
	t.Helper()
	var all []string
	for {
		records, err := l.Read(p, Offset(len(all)), 1<<16)
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == 0 {
			return all
		}
		for _, r := range records {
			if r.Offset != Offset(len(all)) {
				t.Fatalf("offset %d follows %d records", r.Offset, len(all))
			}
			all = append(all, string(r.Data))
		}
	}
}

func TestConcurrentProposersAreAllPresentOnce(t *testing.T) {
	dir := t.TempDir()
	l := openTestLog(t, testOptions(dir))
	var acked sync.Map
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			for i := range 40 {
				p := Partition{7, PartitionID(i % 3)}
				name := fmt.Sprintf("%d-%d", g, i)
				r, err := l.Propose(testContext(t), batchOf(write{p, name}))
				if err != nil {
					t.Errorf("propose: %v", err)
					return
				}
				if offs := offsetsOf(r.Result); len(offs) != 1 {
					t.Errorf("result %v", r.Result)
				} else if _, twice := acked.LoadOrStore([2]any{p, offs[0]}, name); twice {
					t.Errorf("offset %d of %v given twice", offs[0], p)
				}
				if !l.Position().Covers(r.Position) {
					t.Errorf("position %s is not applied at %s", r.Position, l.Position())
				}
			}
		})
	}
	wg.Wait()
	check := func(l *Log) {
		t.Helper()
		total := 0
		for n := range 3 {
			p := Partition{7, PartitionID(n)}
			for i, data := range readAll(t, l, p) {
				if name, _ := acked.Load([2]any{p, Offset(i)}); name != data {
					t.Errorf("%v offset %d holds %q, acknowledged as %v", p, i, data, name)
				}
				total++
			}
		}
		if total != 32*40 {
			t.Errorf("%d changes, want %d", total, 32*40)
		}
	}
	check(l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openTestLog(t, testOptions(dir))
	check(l)
	r, err := l.Propose(testContext(t), batchOf(write{Partition{7, 0}, "later"}))
	if err != nil {
		t.Fatal(err)
	}
	if offs := offsetsOf(r.Result); offs[0] != l.End(Partition{7, 0})-1 {
		t.Errorf("offset %d after restart, end %d", offs[0], l.End(Partition{7, 0}))
	}
}
