// Package clock is the only place that reads the wall clock, so that tests and fault injection can skew it.
package clock

import "time"

// Clock tells the time. Implementations are safe for concurrent use.
type Clock interface {
	Now() time.Time
}

// System is the machine's clock.
type System struct{}

// Now returns the wall clock's time.
func (System) Now() time.Time { return time.Now() }

// Skewed is a clock that is off by a constant, for tests of nodes that disagree about the time.
type Skewed struct{ By time.Duration }

// Now returns the wall clock's time plus By.
func (s Skewed) Now() time.Time { return time.Now().Add(s.By) }

// Micros returns c's time in microseconds since 1970 UTC, the unit of every stored timestamp.
func Micros(c Clock) int64 { return c.Now().UnixMicro() }
