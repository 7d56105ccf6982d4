package materializer

import (
	"math"
	"time"
)

// Memory bounds what is remembered of idempotency keys. The bounds travel in each batch with a key, so every replica holds the memory to the
// same ones, whatever its own configuration says. Zero means default.
type Memory struct {
	Keys int           // default 1,000,000
	Age  time.Duration // in whole microseconds; default 24 h
}

const (
	defaultMemoryKeys = 1_000_000
	defaultMemoryAge  = 24 * time.Hour
)

// orDefault fills in what is zero and keeps what is not within what a batch can carry.
func (m Memory) orDefault() Memory {
	if m.Keys <= 0 {
		m.Keys = defaultMemoryKeys
	}
	if m.Age <= 0 {
		m.Age = defaultMemoryAge
	}
	m.Keys = min(m.Keys, math.MaxInt32)
	m.Age = max(m.Age.Truncate(time.Microsecond), time.Microsecond)
	return m
}

// Remembered says what the memory of idempotency keys holds and what it has dropped since the state began. Times are those of entries, in microseconds.
type Remembered struct {
	Keys           uint64
	Oldest         int64  // time of the oldest reply held, 0 if there is none
	Dropped        int64  // time of the newest reply that was dropped, 0 if none was: every key used after it is remembered until it is too old
	DroppedByAge   uint64 // replies
	DroppedByCount uint64 // replies that were young enough
}

// Since returns from when on a repeated key is sure to be recognized at time now by a memory of the given age. A key first used before that may be
// forgotten: a write that repeats it may be applied again.
func (r Remembered) Since(now int64, age time.Duration) int64 {
	return max(now-age.Microseconds(), r.Dropped+1)
}
