package pebble

import (
	"sync"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
)

// scheduler lets Pebble run as many compactions as it wants to, but none before the store is open: pebble.Open waits for those that it has begun, which
// after a kill in the middle of a load takes seconds. Otherwise it does as Pebble's own.
type scheduler struct {
	db   pebbledb.DBForCompaction // set by Register
	poke chan struct{}            // holds a token when a compaction may have become possible
	stop chan struct{}
	done sync.WaitGroup

	// mu guards what follows. db takes no lock in GetAllowedWithoutPermission, the one method called under it.
	mu      sync.Mutex
	open    bool
	closed  bool
	running int
}

var (
	_ pebbledb.CompactionScheduler   = (*scheduler)(nil)
	_ pebbledb.CompactionGrantHandle = (*scheduler)(nil)
)

// lookAgain is how often the scheduler asks whether a compaction waits, beside being told.
const lookAgain = 100 * time.Millisecond

func newScheduler() *scheduler {
	return &scheduler{poke: make(chan struct{}, 1), stop: make(chan struct{})}
}

// begin tells that the store is open.
func (s *scheduler) begin() {
	s.mu.Lock()
	s.open = true
	s.mu.Unlock()
	s.UpdateGetAllowedWithoutPermission()
}

// Register implements pebbledb.CompactionScheduler.
func (s *scheduler) Register(_ int, db pebbledb.DBForCompaction) {
	s.db = db
	s.done.Go(s.grant)
}

// Unregister implements pebbledb.CompactionScheduler.
func (s *scheduler) Unregister() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	s.done.Wait()
}

// TrySchedule implements pebbledb.CompactionScheduler.
func (s *scheduler) TrySchedule() (bool, pebbledb.CompactionGrantHandle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open || s.closed || s.running >= s.db.GetAllowedWithoutPermission() {
		return false, nil
	}
	s.running++
	return true, s
}

// UpdateGetAllowedWithoutPermission implements pebbledb.CompactionScheduler.
func (s *scheduler) UpdateGetAllowedWithoutPermission() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// grant starts compactions that wait.
func (s *scheduler) grant() {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.poke:
		case <-tick.C:
		}
		for s.grantOne() {
		}
	}
}

func (s *scheduler) grantOne() bool {
	ok, handle := s.TrySchedule()
	if !ok {
		return false
	}
	if waiting, _ := s.db.GetWaitingCompaction(); waiting && s.db.Schedule(handle) {
		return true
	}
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	return false
}

// Done implements pebbledb.CompactionGrantHandle.
func (s *scheduler) Done() {
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	s.UpdateGetAllowedWithoutPermission()
}

// Started implements pebbledb.CompactionGrantHandle.
func (s *scheduler) Started() {}

// MeasureCPU implements pebbledb.CompactionGrantHandle.
func (s *scheduler) MeasureCPU(pebbledb.CompactionGoroutineKind) {}

// CumulativeStats implements pebbledb.CompactionGrantHandle.
func (s *scheduler) CumulativeStats(pebbledb.CompactionGrantHandleStats) {}
