package backup

import (
	"fmt"
	"io"
	"time"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/clock"
)

// Meter tells how far a long work has come. A nil Meter tells nothing. Used by one goroutine.
type Meter struct {
	out   io.Writer
	clock clock.Clock

	what         string
	parts, done  int
	bytes, total int64
	began, told  time.Time
}

// tellEvery is how often a Meter says something.
const tellEvery = time.Second

// NewMeter returns a Meter that writes lines to out.
func NewMeter(out io.Writer, c clock.Clock) *Meter { return &Meter{out: out, clock: c} }

// begin starts a work on parts.
func (m *Meter) begin(what string, parts []wire.BackupPart) {
	if m == nil {
		return
	}
	now := m.clock.Now()
	*m = Meter{out: m.out, clock: m.clock, what: what, parts: len(parts), began: now, told: now}
	for _, p := range parts {
		m.total += p.Bytes
	}
}

func (m *Meter) add(n int64) {
	if m == nil {
		return
	}
	m.bytes += n
	if now := m.clock.Now(); now.Sub(m.told) >= tellEvery {
		m.told = now
		m.tell()
	}
}

func (m *Meter) part() {
	if m != nil {
		m.done++
	}
}

// end says the last.
func (m *Meter) end() {
	if m != nil {
		m.tell()
	}
}

func (m *Meter) tell() {
	const mib = 1 << 20
	seconds := max(m.clock.Now().Sub(m.began).Seconds(), 0.001)
	line := fmt.Sprintf("%s: %.1f MiB, %d of %d parts, %.1f MiB/s", m.what, float64(m.bytes)/mib, m.done, m.parts, float64(m.bytes)/mib/seconds)
	if m.total > m.bytes {
		line += fmt.Sprintf(", at least %.1f MiB to go", float64(m.total-m.bytes)/mib)
	}
	fmt.Fprintln(m.out, line)
}
