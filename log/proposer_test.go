package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/problem"
)

// gatedLog returns a log whose Fold holds up every commit until gate is closed.
func gatedLog(t *testing.T, change func(*Options)) (l *Log, fold *mapFold, gate chan struct{}) {
	t.Helper()
	o := testOptions(t.TempDir())
	o.Senders = 1
	change(&o)
	fold = o.Fold.(*mapFold)
	gate = make(chan struct{})
	fold.onCommit = func(Checkpoint) error { <-gate; return nil }
	return openTestLog(t, o), fold, gate
}

func TestCancelledProposals(t *testing.T) {
	l, _, gate := gatedLog(t, func(*Options) {})
	p := Partition{1, 0}
	inFlight, cancelInFlight := context.WithCancel(testContext(t))
	queued, cancelQueued := context.WithCancel(testContext(t))
	answers := make(chan error, 2)
	propose := func(ctx context.Context, data string) {
		batch := batchOf(write{p, data})
		_, err := l.Propose(ctx, batch)
		clear(batch) // it is the caller's again
		answers <- err
	}
	go propose(inFlight, "in flight")
	waitFor(t, func() bool { return l.replica.applying.Load() > 0 && waitingBatches(l) == 0 })
	go propose(queued, "queued")
	waitFor(t, func() bool { return waitingBatches(l) == 1 })
	cancelQueued()
	if err := <-answers; !problem.Is(err, problem.Cancelled) {
		t.Errorf("cancelled in the queue: %v", err)
	}
	cancelInFlight()
	if err := <-answers; !problem.Is(err, problem.Timeout) {
		t.Errorf("cancelled in flight: %v", err)
	}
	close(gate)
	if _, err := l.Propose(testContext(t), batchOf(write{p, "last"})); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, l, p); !slices.Equal(got, []string{"in flight", "last"}) {
		t.Errorf("changes %q", got)
	}
}

func waitingBatches(l *Log) int {
	l.sender.mu.Lock()
	defer l.sender.mu.Unlock()
	return len(l.sender.mu.waiting)
}

func TestQueueIsBounded(t *testing.T) {
	l, _, gate := gatedLog(t, func(o *Options) { o.QueueBytes = 1000 })
	batch := batchOf(write{Partition{1, 0}, strings.Repeat("x", 390)})
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := l.Propose(testContext(t), batch); err != nil {
				t.Error(err)
			}
		})
	}
	waitFor(t, func() bool { return waitingBatches(l) == 2 && l.replica.applying.Load() > 0 })
	ctx, cancel := context.WithCancel(testContext(t))
	refused := make(chan error)
	go func() { _, err := l.Propose(ctx, batch); refused <- err }()
	cancel()
	if err := <-refused; !problem.Is(err, problem.Cancelled) {
		t.Errorf("cancelled before there was room: %v", err)
	}
	close(gate)
	wg.Wait()
	if end := l.End(Partition{1, 0}); end != 10 {
		t.Errorf("%d changes, want 10", end)
	}
}

func TestWaitingBatchesShareAnEntry(t *testing.T) {
	l, _, gate := gatedLog(t, func(*Options) {})
	p := Partition{1, 0}
	var wg sync.WaitGroup
	propose := func() {
		if _, err := l.Propose(testContext(t), batchOf(write{p, "x"})); err != nil {
			t.Error(err)
		}
	}
	wg.Go(propose)
	waitFor(t, func() bool { return l.replica.applying.Load() > 0 })
	for range 50 {
		wg.Go(propose)
	}
	waitFor(t, func() bool { return waitingBatches(l) == 50 })
	close(gate)
	wg.Wait()
	records, err := l.Read(p, 0, 1<<20)
	if err != nil || len(records) != 51 || records[1].Index != records[50].Index {
		t.Errorf("%d records, entries %d to %d: %v", len(records), records[1].Index, records[50].Index, err)
	}
}

// A Fold that cannot commit stops the node, and the next start applies the entry again.
func TestFailedCommitStopsTheLog(t *testing.T) {
	o := testOptions(t.TempDir())
	fold := o.Fold.(*mapFold)
	l := openTestLog(t, o)
	proposeN(t, l, 2)
	fold.mu.Lock()
	fold.onCommit = func(Checkpoint) error { return errInjected }
	fold.mu.Unlock()
	if _, err := l.Propose(testContext(t), batchOf(write{Partition{1, 0}, "committed"})); !problem.Is(err, problem.Timeout) {
		t.Errorf("write that the Fold failed on: %v", err)
	}
	<-l.Failed()
	if !errors.Is(l.Err(), errInjected) {
		t.Error(l.Err())
	}
	if got := len(readAll(t, l, Partition{1, 0})); got != 1 {
		t.Errorf("%d changes readable after the failure, want 1", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openTestLog(t, testOptions(o.Dir))
	if got := readAll(t, l, Partition{1, 0}); len(got) != 2 || got[1] != "committed" {
		t.Errorf("changes after the restart: %q", got)
	}
}

// deafHost takes proposals and never answers them.
type deafHost struct{ taken chan struct{} }

func (h deafHost) Propose(*client.Session, []byte, time.Duration) (*dragonboat.RequestState, error) {
	h.taken <- struct{}{}
	return &dragonboat.RequestState{}, nil
}

// An entry that was on its way to a leader which another has followed is given up, but not before what that one took over is applied.
func TestEntryOnItsWayToAFormerLeader(t *testing.T) {
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	var leader leadership
	leader.init()
	leader.set(Leader{Replica: 1, Term: 1})
	host, asked, applied := deafHost{make(chan struct{}, 1)}, make(chan struct{}), make(chan struct{})
	p := &proposer{
		host: host, clock: clock.System{}, metrics: m, failure: newFailure(func(error) {}), leader: &leader,
		barrier: func(ctx context.Context) (Position, error) {
			close(asked)
			select {
			case <-applied:
				return Position{}, nil
			case <-ctx.Done():
				return Position{}, ctx.Err()
			}
		},
		limits: proposerLimits{entry: 1 << 20, batch: 1 << 20, queue: 1 << 20, timeout: time.Hour, settle: time.Millisecond, senders: 1},
	}
	p.start(nil)
	defer p.close()
	answers := make(chan error, 1)
	go func() { _, err := p.propose(testContext(t), []byte("batch")); answers <- err }()
	<-host.taken
	leader.set(Leader{Term: 2})
	leader.set(Leader{Replica: 2, Term: 2})
	<-asked
	select {
	case err := <-answers:
		t.Fatalf("given up before what the new leader took over is applied: %v", err)
	default:
	}
	close(applied)
	if err := <-answers; !problem.Is(err, problem.Timeout) || !errors.Is(err, errDeposed) {
		t.Errorf("the entry: %v", err)
	}
}

func TestLargeChanges(t *testing.T) {
	rng := newSeed(t)
	o := testOptions(t.TempDir())
	o.SegmentBytes = 5 << 20
	l := openTestLog(t, o)
	var want []string
	for i := range 12 {
		var writes []write
		for j := range 1 + rng.IntN(4) {
			data := strings.Repeat(fmt.Sprintf("%d.%d ", i, j), rng.IntN([]int{3, 10_000, 700_000}[rng.IntN(3)])/4)
			writes = append(writes, write{Partition{1, 0}, data})
			want = append(want, data)
		}
		if _, err := l.Propose(testContext(t), batchOf(writes...)); err != nil {
			t.Fatal(err)
		}
	}
	if got := readAll(t, l, Partition{1, 0}); !slices.Equal(got, want) {
		t.Error("large changes differ")
	}
	tail, err := l.Tail(1, 1, Position{})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range collect(t, tail, len(want), 100) {
		if string(r.Data) != want[i] {
			t.Fatalf("change %d differs", i)
		}
	}
	for i := range want {
		records, err := l.Read(Partition{1, 0}, Offset(i), 1)
		if err != nil || len(records) != 1 || string(records[0].Data) != want[i] {
			t.Fatalf("change %d: %d records, %v", i, len(records), err)
		}
	}
}
