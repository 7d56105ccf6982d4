package log

import (
	"sync"
	"sync/atomic"
)

// Leader says who leads a group, as far as this node knows.
type Leader struct {
	Replica ReplicaID // 0: nobody, as while one is being elected
	Term    uint64
}

// Node returns the leading node, 0 if there is none.
func (l Leader) Node() NodeID { return l.Replica.Node() }

// leadership follows the leader of a group.
type leadership struct {
	current atomic.Pointer[Leader]

	mu      sync.Mutex
	elected Leader        // the last one that there was
	next    chan struct{} // closed when another one is elected
}

func (l *leadership) init() { l.next = make(chan struct{}) }

func (l *leadership) now() Leader {
	if c := l.current.Load(); c != nil {
		return *c
	}
	return Leader{}
}

// set notes what Raft says, and reports whether it is a leader that was not known before.
func (l *leadership) set(now Leader) (another bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current.Store(&now)
	if now.Replica == 0 || now == l.elected {
		return false
	}
	l.elected = now
	close(l.next)
	l.next = make(chan struct{})
	return true
}

// another returns a channel that is closed when a leader is elected that is not the one of now.
func (l *leadership) another() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// Leader returns who leads the group.
func (l *Log) Leader() Leader { return l.leader.now() }

// Leads reports whether this node leads the group. It may have been deposed without knowing yet: what must be done once is
// decided by a proposal, not by this.
func (l *Log) Leads() bool { return l.leader.now().Replica == l.options.Identity.Replica }
