package pebble

import "sync"

// readers counts the open scans and snapshots: Pebble must not be closed under them.
type readers struct {
	mu      sync.Mutex
	open    int
	closing bool
	drained chan struct{} // closed when closing and none is open
}

func newReaders() *readers { return &readers{drained: make(chan struct{})} }

func (r *readers) enter() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open++
}

func (r *readers) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open--; r.open == 0 && r.closing {
		close(r.drained)
	}
}

// drain returns a channel that is closed when no reader is open any more. It is called once, when no more can enter but through one that is open.
func (r *readers) drain() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing = true; r.open == 0 {
		close(r.drained)
	}
	return r.drained
}
