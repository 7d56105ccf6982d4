package duck

import (
	"context"
	"os"
	"time"

	capi "github.com/duckdb/duckdb-go-bindings"
)

// spillTick is how often a DB looks at what it has spilled.
const spillTick = 250 * time.Millisecond

// guardSpill ends the running queries when DuckDB's temporary files grow although there is no room: what it spills must not take the space that
// the log needs to go on. Files that are there already do no harm. It returns with ctx.
func (d *DB) guardSpill(ctx context.Context, room func() error) {
	tick := time.NewTicker(spillTick)
	defer tick.Stop()
	for before := int64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		why := room()
		if why == nil {
			before = d.spilled()
			continue
		}
		if now := d.spilled(); now > before {
			d.interruptAll(why)
			before = now
		}
	}
}

// spilled returns the bytes of the temporary files.
func (d *DB) spilled() (sum int64) {
	files, err := os.ReadDir(d.tmp)
	if err != nil {
		return 0
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// interruptAll ends the statements of all connections that Conn has lent; they fail with why.
func (d *DB) interruptAll(why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.mu.readers {
		c.cut.Store(&why)
		capi.Interrupt(c.conn)
	}
}
