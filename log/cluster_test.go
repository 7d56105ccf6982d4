package log

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4"

	"kalamlog.dev/kalam/internal/peer"
)

// network is the listeners of nodes 1 to n, each with a Net of its own.
type network struct {
	book *peer.Book
	nets map[NodeID]*peer.Net
}

func newNetwork(t *testing.T, n int) *network {
	t.Helper()
	w := &network{book: peer.NewBook(), nets: make(map[NodeID]*peer.Net)}
	for i := range n {
		w.join(t, NodeID(i+1))
	}
	return w
}

func (w *network) join(t *testing.T, node NodeID) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.book.Set(TargetOf(node), l.Addr().String())
	one, err := peer.Open(peer.Options{Listener: l, Self: TargetOf(node), Book: w.book})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { one.Close() })
	w.nets[node] = one
}

func (w *network) options(dir string, id Identity) Options {
	o := testOptions(dir)
	o.Identity, o.Network = id, w.nets[id.Node]
	o.SegmentBytes, o.RTT = 8<<10, 20*time.Millisecond
	return o
}

// openNodes opens nodes at the same time: each waits for a majority.
func openNodes(t *testing.T, options ...Options) []*Log {
	t.Helper()
	logs := make([]*Log, len(options))
	var wg sync.WaitGroup
	for i, o := range options {
		wg.Go(func() {
			l, err := Open(testContext(t), o)
			if err != nil {
				t.Errorf("node %d: %v", o.Identity.Node, err)
			}
			logs[i] = l
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return logs
}

func closeNodes(t *testing.T, logs ...*Log) {
	t.Helper()
	var wg sync.WaitGroup
	for _, l := range logs {
		wg.Go(func() {
			if err := l.Close(); err != nil {
				t.Errorf("close node %d: %v", l.options.Identity.Node, err)
			}
		})
	}
	wg.Wait()
}

// A node that was away until the others have compacted what it lacks gets a snapshot, whose segments and state equal theirs.
func TestNodeThatWasAwayCatchesUpBySnapshot(t *testing.T) {
	w := newNetwork(t, 3)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	options := func(node int) Options { return w.options(dirs[node-1], FirstIdentity(NodeID(node), 1, 2, 3)) }
	logs := openNodes(t, options(1), options(2), options(3))
	writeTo(t, logs[0], 50)
	closeNodes(t, logs[2])
	if _, err := logs[0].Barrier(testContext(t)); err != nil { // a write sent to a leader that is gone would have to time out
		t.Fatal(err)
	}
	writeTo(t, logs[0], 300)
	for _, l := range logs[:2] {
		if err := l.Checkpoint(testContext(t)); err != nil {
			t.Fatal(err)
		}
		snapshotAndForget(t, l)
	}
	writeTo(t, logs[0], 20)
	want, err := logs[0].Barrier(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	logs[2] = openNodes(t, options(3))[0]
	if logs[2].replica.restored.Load() == 0 {
		t.Error("the node caught up without a snapshot")
	}
	for _, l := range logs {
		if err := l.Wait(testContext(t), want); err != nil {
			t.Fatal(err)
		}
	}
	compareNodes(t, logs)
	writeTo(t, logs[2], 20)
	if want, err = logs[2].Barrier(testContext(t)); err != nil {
		t.Fatal(err)
	}
	for _, l := range logs {
		if err := l.Wait(testContext(t), want); err != nil {
			t.Fatal(err)
		}
	}
	compareNodes(t, logs)
	closeNodes(t, logs...)
	logs = openNodes(t, options(1), options(2), options(3))
	compareNodes(t, logs)
	closeNodes(t, logs...)
}

func writeTo(t *testing.T, l *Log, n int) {
	t.Helper()
	for i := range n {
		if _, err := l.Propose(testContext(t), batchOf(
			write{Partition{1, PartitionID(i % 3)}, fmt.Sprintf("%d %s", i, strings.Repeat("x", i%200))}, write{Partition{2, 0}, "y"})); err != nil {
			t.Fatal(err)
		}
	}
}

// snapshotAndForget makes l's Raft log forget everything a snapshot covers.
func snapshotAndForget(t *testing.T, l *Log) {
	t.Helper()
	if _, err := l.Propose(testContext(t), batchOf(write{Partition{2, 0}, "z"})); err != nil {
		t.Fatal(err)
	}
	_, err := l.host.SyncRequestSnapshot(testContext(t), uint64(groupID), dragonboat.SnapshotOption{
		OverrideCompactionOverhead: true, CompactionOverhead: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func compareNodes(t *testing.T, logs []*Log) {
	t.Helper()
	for _, p := range []Partition{{1, 0}, {1, 1}, {1, 2}, {2, 0}} {
		want := readAll(t, logs[0], p)
		for _, l := range logs[1:] {
			if got := readAll(t, l, p); !slices.Equal(got, want) {
				t.Errorf("node %d has %d changes in %v, want %d", l.options.Identity.Node, len(got), p, len(want))
			}
		}
	}
	sums := func(l *Log) string {
		f := l.options.Fold.(*mapFold)
		f.mu.Lock()
		defer f.mu.Unlock()
		return fmt.Sprint(f.state)
	}
	for _, l := range logs[1:] {
		if sums(l) != sums(logs[0]) {
			t.Errorf("node %d has other state", l.options.Identity.Node)
		}
	}
}
