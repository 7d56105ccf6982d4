package log

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"kalamlog.dev/kalam/internal/problem"
)

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func testOptions(dir string) Options {
	return Options{Dir: dir, Fold: newMapFold(vfs.Default, filepath.Join(dir, "state.json")), Logger: slog.New(slog.DiscardHandler)}
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

func TestLogGoesOnAfterKills(t *testing.T) {
	dir := t.TempDir()
	want := []string{}
	for round := range 4 {
		l := openTestLog(t, testOptions(dir))
		for i := range 30 {
			data := fmt.Sprintf("round %d change %d", round, i)
			if _, err := l.Propose(testContext(t), batchOf(write{Partition{1, 0}, data})); err != nil {
				t.Fatal(err)
			}
			want = append(want, data)
			if i == 10*round {
				if err := l.Checkpoint(testContext(t)); err != nil {
					t.Fatal(err)
				}
			}
		}
		dir = filepath.Join(t.TempDir(), "image") // what a killed process leaves is what is on disk now
		copyTree(t, l.options.Dir, dir)
	}
	l := openTestLog(t, testOptions(dir))
	if got := readAll(t, l, Partition{1, 0}); !slices.Equal(got, want) {
		t.Errorf("%d changes, want %d", len(got), len(want))
	}
}

func TestDirectoryIsLocked(t *testing.T) {
	dir := t.TempDir()
	openTestLog(t, testOptions(dir))
	if l, err := Open(testContext(t), testOptions(dir)); err == nil {
		l.Close()
		t.Fatal("opened twice")
	} else if !strings.Contains(err.Error(), "another process uses the data directory") {
		t.Error(err)
	}
}

// A container that is made anew has another host name.
func TestLogMovesToAnotherHost(t *testing.T) {
	dir := t.TempDir()
	l := openTestLog(t, testOptions(dir))
	proposeN(t, l, 5)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	raft := filepath.Join(dir, "raft")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		os.Rename(filepath.Join(raft, host), filepath.Join(raft, "elsewhere")),
		os.WriteFile(filepath.Join(raft, hostFile), []byte("elsewhere\n\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	l = openTestLog(t, testOptions(dir))
	if got := len(readAll(t, l, Partition{1, 0})); got != 3 {
		t.Errorf("%d changes, want 3", got)
	}
	proposeN(t, l, 1)
}

func TestProposeRefusals(t *testing.T) {
	o := testOptions(t.TempDir())
	o.MaxBatchBytes = 1000
	l := openTestLog(t, o)
	if _, err := l.Propose(testContext(t), make([]byte, 1001)); !problem.Is(err, problem.BodyTooLarge) {
		t.Errorf("large batch: %v", err)
	}
	r, err := l.Propose(testContext(t), batchOf(write{Partition{1, 0}, "refuse this"}))
	if err != nil || string(r.Result) != "no" || l.End(Partition{1, 0}) != 0 {
		t.Errorf("refused batch: %q, %v", r.Result, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Propose(gone, batchOf(write{Partition{1, 0}, "x"})); !problem.Is(err, problem.Cancelled) {
		t.Errorf("cancelled before: %v", err)
	}
	if err := l.Wait(t.Context(), PositionOf(Part{Group: 9, Index: 1})); !problem.Is(err, problem.PositionInvalid) {
		t.Errorf("wait for an unknown group: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Propose(testContext(t), batchOf(write{Partition{1, 0}, "x"})); !problem.Is(err, problem.ShuttingDown) {
		t.Errorf("closed: %v", err)
	}
	if err := l.WaitEnd(testContext(t), Partition{1, 0}, 5); !problem.Is(err, problem.ShuttingDown) {
		t.Errorf("wait on a closed log: %v", err)
	}
}

func TestBarrierCoversWhatWasAcknowledged(t *testing.T) {
	l := openTestLog(t, testOptions(t.TempDir()))
	for range 20 {
		r, err := l.Propose(testContext(t), batchOf(write{Partition{1, 0}, "x"}))
		if err != nil {
			t.Fatal(err)
		}
		p, err := l.Barrier(testContext(t))
		if err != nil || !p.Covers(r.Position) || !l.Position().Covers(p) {
			t.Fatalf("barrier %s, write %s, log %s: %v", p, r.Position, l.Position(), err)
		}
	}
}

func TestTimestampsNeverGoBack(t *testing.T) {
	o := testOptions(t.TempDir())
	ticks := &jumpingClock{}
	o.Clock = ticks
	l := openTestLog(t, o)
	for i := range 40 {
		ticks.micros.Store(int64(1_000_000 + 1000*(i%7)))
		proposeN(t, l, 1)
	}
	all, err := l.Read(Partition{1, 0}, 0, 1<<20)
	if err != nil || !slices.IsSortedFunc(all, func(a, b Record) int { return cmp.Compare(a.Timestamp, b.Timestamp) }) {
		t.Errorf("timestamps go back: %v", err)
	}
}

type jumpingClock struct{ micros atomic.Int64 }

func (c *jumpingClock) Now() time.Time { return time.UnixMicro(c.micros.Load()) }

// After a failed sync nothing may be acknowledged: what the page cache holds then is anyone's guess.
func TestFailedSyncStopsTheLog(t *testing.T) {
	broken := atomic.Bool{}
	o := testOptions(t.TempDir())
	o.FS = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, segmentSuffix) {
			return errInjected
		}
		return nil
	}))
	l := openTestLog(t, o)
	proposeN(t, l, 3)
	waiting := make(chan error, 1)
	go func() { waiting <- l.WaitEnd(testContext(t), Partition{1, 0}, 100) }()
	broken.Store(true)
	if err := l.Checkpoint(testContext(t)); !errors.Is(err, errInjected) {
		t.Fatalf("checkpoint: %v", err)
	}
	broken.Store(false)
	<-l.Failed()
	if !errors.Is(l.Err(), errInjected) {
		t.Errorf("failed with %v", l.Err())
	}
	if _, err := l.Propose(testContext(t), batchOf(write{Partition{1, 0}, "x"})); !problem.Is(err, problem.Internal) {
		t.Errorf("propose after the failure: %v", err)
	}
	if err := <-waiting; !problem.Is(err, problem.Internal) {
		t.Errorf("wait over the failure: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("close after the failure: %v", err)
	}
	o = testOptions(o.Dir)
	l = openTestLog(t, o)
	if got := len(readAll(t, l, Partition{1, 0})); got != 2 {
		t.Errorf("%d changes after the restart, want 2", got)
	}
}

func TestFullDiskRefusesWrites(t *testing.T) {
	o := testOptions(t.TempDir())
	o.MinFreeBytes = 1 << 60
	l := openTestLog(t, o)
	if _, err := l.Propose(testContext(t), batchOf(write{Partition{1, 0}, "x"})); !problem.Is(err, problem.DiskFull) {
		t.Errorf("propose on a full disk: %v", err)
	}
	if !l.DiskFull() {
		t.Error("the log does not know that its disk is full")
	}
}

func TestKeeperCheckpointsByItself(t *testing.T) {
	o := testOptions(t.TempDir())
	o.CheckpointInterval = time.Millisecond
	l := openTestLog(t, o)
	proposeN(t, l, 3)
	want := l.Position().Part(groupID).Index
	waitFor(t, func() bool {
		l.floor.mu.Lock()
		defer l.floor.mu.Unlock()
		return l.floor.state.checkpoint >= want
	})
}

func TestOpenValidatesOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"nothing":       {},
		"no fold":       {Dir: t.TempDir()},
		"negative size": {Dir: t.TempDir(), Fold: newMapFold(nil, ""), SegmentBytes: -1},
		"not among them": {Dir: t.TempDir(), Fold: newMapFold(nil, ""), Identity: Identity{
			Node: 1, Replica: 1, Target: TargetOf(1), Members: map[ReplicaID]string{2: TargetOf(2)},
		}},
		"peers without a network": {Dir: t.TempDir(), Fold: newMapFold(nil, ""), Identity: FirstIdentity(1, 1, 2)},
	} {
		if l, err := Open(testContext(t), o); err == nil {
			l.Close()
			t.Errorf("%s: opened", name)
		}
	}
}
