package log

import (
	"context"
	"sync"
	"sync/atomic"
)

// signal wakes all who wait for some state to change. Broadcast costs one atomic load while nobody waits.
type signal struct {
	waiting atomic.Int32
	mu      sync.Mutex
	ch      chan struct{} // closed by the next broadcast; nil if nobody asked since the last
}

// wait returns when ready does true, which it looks at now and after each broadcast, or with ctx's error. The state
// that ready reads must be stored atomically before broadcast.
func (s *signal) wait(ctx context.Context, ready func() bool) error {
	if ready() {
		return nil
	}
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	for {
		ch := s.next()
		if ready() {
			return nil
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) broadcast() {
	if s.waiting.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
