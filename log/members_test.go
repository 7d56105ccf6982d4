package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"kalamlog.dev/kalam/internal/problem"
)

// membersOf returns what l says of the members.
func membersOf(t *testing.T, l *Log) Members {
	t.Helper()
	m, err := l.Members(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// openThree opens a new cluster of three.
func openThree(t *testing.T, w *network) []*Log {
	t.Helper()
	var options []Options
	for i := range 3 {
		options = append(options, w.options(t.TempDir(), FirstIdentity(NodeID(i+1), 1, 2, 3)))
	}
	return openNodes(t, options...)
}

// leaderOf waits until one of logs leads and returns its place.
func leaderOf(t *testing.T, logs []*Log) int {
	t.Helper()
	place := -1
	waitFor(t, func() bool {
		for i, l := range logs {
			if l != nil && l.Leads() {
				place = i
				return true
			}
		}
		return false
	})
	return place
}

// catchUp returns when every log has applied what the first has.
func catchUp(t *testing.T, logs ...*Log) {
	t.Helper()
	want, err := logs[0].Barrier(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range logs {
		if err := l.Wait(testContext(t), want); err != nil {
			t.Fatal(err)
		}
	}
}

// A node alone grows to three: each new one gets a snapshot or the log, has no vote until it is promoted, and serves after a restart.
func TestClusterGrowsFromOne(t *testing.T) {
	w := newNetwork(t, 3)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	logs := openNodes(t, w.options(dirs[0], FirstIdentity(1, 1)))
	writeTo(t, logs[0], 200)
	snapshotAndForget(t, logs[0])
	for i := range 2 {
		m := membersOf(t, logs[0])
		r := m.NextReplica(NodeID(i + 2))
		if err := logs[0].AddMember(testContext(t), m, r); err != nil {
			t.Fatal(err)
		}
		writeTo(t, logs[0], 10) // the new one does not count yet
		id := JoiningIdentity(r, "")
		l := openNodes(t, w.options(dirs[i+1], id))[0]
		if l.replica.restored.Load() == 0 {
			t.Errorf("node %d got no snapshot", i+2)
		}
		if err := l.Promote(testContext(t), membersOf(t, l), r); err != nil {
			t.Fatal(err)
		}
		logs = append(logs, l)
	}
	for _, m := range membersOf(t, logs[2]).List {
		if !m.Voter {
			t.Errorf("replica %d does not vote", m.Replica)
		}
	}
	for i, l := range logs {
		writeTo(t, l, 5+i)
	}
	catchUp(t, logs...)
	compareNodes(t, logs)
	closeNodes(t, logs...)
	id2, id3 := JoiningIdentity(2, ""), JoiningIdentity(3, "")
	id2.Voter, id3.Voter = true, true
	logs = openNodes(t, w.options(dirs[1], id2), w.options(dirs[2], id3)) // two of three are a majority
	writeTo(t, logs[0], 5)
	catchUp(t, logs...)
	compareNodes(t, logs)
	closeNodes(t, logs...)
}

// A node that has lost everything comes back as another replica, while writes go on; its old replica can never be used again.
func TestReplacedNode(t *testing.T) {
	w := newNetwork(t, 3)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	var options []Options
	for i, dir := range dirs {
		options = append(options, w.options(dir, FirstIdentity(NodeID(i+1), 1, 2, 3)))
	}
	logs := openNodes(t, options...)
	writeTo(t, logs[0], 100)
	closeNodes(t, logs[2])
	m := membersOf(t, logs[0])
	old, ok := m.Of(3)
	if !ok || old.Replica != 3 {
		t.Fatalf("node 3 is %+v", old)
	}
	if err := logs[0].RemoveMember(testContext(t), m, old.Replica); err != nil {
		t.Fatal(err)
	}
	if err := logs[0].RemoveMember(testContext(t), m, 2); !problem.Is(err, problem.VersionConflict) {
		t.Errorf("a change made from an old list of members: %v", err)
	}
	m = membersOf(t, logs[0])
	r := m.NextReplica(3)
	if r.Node() != 3 || r == 3 {
		t.Fatalf("the next replica of node 3 is %d", r)
	}
	if err := logs[1].AddMember(testContext(t), m, r); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := logs[0].Propose(context.Background(), batchOf(write{Partition{1, 0}, fmt.Sprint("beside ", i)})); err != nil {
				t.Errorf("write beside the replacement: %v", err)
				return
			}
		}
	})
	logs[2] = openNodes(t, w.options(t.TempDir(), JoiningIdentity(r, "")))[0]
	if err := logs[2].Promote(testContext(t), membersOf(t, logs[2]), r); err != nil {
		t.Fatal(err)
	}
	close(stop)
	wg.Wait()
	catchUp(t, logs...)
	compareNodes(t, logs)
	closeNodes(t, logs...)
}

// A replica that is removed while it runs learns of it and ends.
func TestRemovedWhileRunning(t *testing.T) {
	w := newNetwork(t, 3)
	logs := openThree(t, w)
	gone := (leaderOf(t, logs) + 1) % 3
	stays := logs[(gone+1)%3]
	if err := stays.RemoveMember(testContext(t), membersOf(t, stays), ReplicaID(gone+1)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-logs[gone].Failed():
		if err := logs[gone].Err(); !errors.Is(err, ErrRemoved) {
			t.Errorf("it ended with %v", err)
		}
	case <-testContext(t).Done():
		t.Fatal("it does not know that it was removed")
	}
	if _, err := logs[gone].Propose(testContext(t), batchOf(write{Partition{1, 0}, "x"})); err == nil {
		t.Error("a removed node acknowledged a write")
	}
	writeTo(t, stays, 5)
	closeNodes(t, logs...)
}

func TestLastVoterStays(t *testing.T) {
	l := openTestLog(t, testOptions(t.TempDir()))
	if err := l.RemoveMember(testContext(t), membersOf(t, l), 1); !problem.Is(err, problem.Unsupported) {
		t.Errorf("removal of the last voter: %v", err)
	}
}

// Writes through followers go on soon after their leader is gone, and what was acknowledged is there.
func TestFailover(t *testing.T) {
	w := newNetwork(t, 3)
	logs := openThree(t, w)
	leader := leaderOf(t, logs)
	follower := logs[(leader+1)%3]
	var mu sync.Mutex
	acked := map[string]bool{}
	var unknown, after int
	down := make(chan struct{})
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				data := fmt.Sprintf("%d-%d", c, i)
				_, err := follower.Propose(testContext(t), batchOf(write{Partition{1, 0}, data}))
				mu.Lock()
				switch {
				case err == nil:
					acked[data] = true
					select {
					case <-down:
						after++
					default:
					}
				case problem.Is(err, problem.Timeout):
					unknown++
				default:
					t.Errorf("%s: %v", data, err)
				}
				done := after > 40
				mu.Unlock()
				if done || testContext(t).Err() != nil {
					return
				}
			}
		})
	}
	waitFor(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(acked) > 100 })
	closeNodes(t, logs[leader])
	close(down)
	wg.Wait()
	if unknown > 4*2*follower.options.Senders {
		t.Errorf("%d writes with an unknown outcome", unknown)
	}
	rest := []*Log{follower, logs[(leader+2)%3]}
	catchUp(t, rest...)
	have := map[string]int{}
	for _, data := range readAll(t, rest[1], Partition{1, 0}) {
		have[data]++
	}
	for data := range acked {
		if have[data] != 1 {
			t.Errorf("%q, which was acknowledged, is there %d times", data, have[data])
		}
	}
	compareNodes(t, rest)
	closeNodes(t, rest...)
}

func TestTransferLeader(t *testing.T) {
	w := newNetwork(t, 3)
	logs := openThree(t, w)
	next := (leaderOf(t, logs) + 1) % 3
	ctx, cancel := context.WithTimeout(testContext(t), 20*time.Second)
	defer cancel()
	if err := logs[(next+1)%3].TransferLeader(ctx, ReplicaID(next+1)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, logs[next].Leads)
	writeTo(t, logs[next], 3)
	closeNodes(t, logs...)
}
