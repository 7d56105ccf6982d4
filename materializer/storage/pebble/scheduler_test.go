package pebble

import (
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
)

// backlog is a store with compactions that wait, of which it allows one at a time.
type backlog struct {
	waiting int
	begun   chan pebbledb.CompactionGrantHandle
}

func (b *backlog) GetAllowedWithoutPermission() int { return 1 }

func (b *backlog) GetWaitingCompaction() (bool, pebbledb.WaitingCompaction) {
	return b.waiting > 0, pebbledb.WaitingCompaction{}
}

func (b *backlog) Schedule(h pebbledb.CompactionGrantHandle) bool {
	b.waiting--
	b.begun <- h
	return true
}

// Opening a store waits for the compactions that it has begun: none may begin before it is open, and all that wait must afterwards.
func TestCompactionsWaitForTheStoreToBeOpen(t *testing.T) {
	s, db := newScheduler(), &backlog{waiting: 3, begun: make(chan pebbledb.CompactionGrantHandle, 3)}
	s.Register(2, db)
	s.UpdateGetAllowedWithoutPermission()
	if ok, _ := s.TrySchedule(); ok {
		t.Error("a compaction may begin before the store is open")
	}
	s.begin()
	for range 3 {
		h := <-db.begun
		if ok, _ := s.TrySchedule(); ok {
			t.Error("a second compaction may begin beside the first")
		}
		h.Done()
	}
	s.Unregister()
	if ok, _ := s.TrySchedule(); ok {
		t.Error("a compaction may begin after the store is closed")
	}
}
