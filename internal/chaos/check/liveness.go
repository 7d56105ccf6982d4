package check

import (
	"fmt"
	"slices"
	"time"

	"kalamlog.dev/kalam/internal/chaos/history"
)

// How long writes may pause.
const (
	FailoverTime = 5 * time.Second  // during a fault that leaves a majority
	HealTime     = 10 * time.Second // after the end of any fault
)

// Fault is when something was wrong. Times are of the history's clock, in nanoseconds.
type Fault struct {
	Name     string `json:"name"`
	Began    int64  `json:"began"`
	Ended    int64  `json:"ended"`
	Majority bool   `json:"majority"` // a majority could serve all the time
}

// Resumed returns how long after a moment the last of the tables acknowledged a write that began after it. A table that never did
// is named in missing.
func Resumed(ops []history.Op, after int64, tables ...string) (took time.Duration, missing []string) {
	for _, table := range tables {
		first := int64(history.Never)
		for i := range ops {
			op := &ops[i]
			if op.Table == table && op.Kind.Writes() && op.Outcome == history.OK && op.Invoke >= after {
				first = min(first, op.Return)
			}
		}
		if first == history.Never {
			missing = append(missing, table)
			continue
		}
		took = max(took, time.Duration(first-after))
	}
	return took, missing
}

// LongestPause returns the longest time without an acknowledgement of a write on one of the tables, between two moments, and the
// table.
func LongestPause(ops []history.Op, from, to int64, tables ...string) (pause time.Duration, where string) {
	for _, table := range tables {
		moments := []int64{from, to}
		for i := range ops {
			op := &ops[i]
			if op.Table == table && op.Kind.Writes() && op.Outcome == history.OK && op.Return > from && op.Return < to {
				moments = append(moments, op.Return)
			}
		}
		slices.Sort(moments)
		for i := range moments[1:] {
			if gap := time.Duration(moments[i+1] - moments[i]); gap > pause {
				pause, where = gap, table
			}
		}
	}
	return pause, where
}

// Liveness checks that writes on no table pause for longer than a failover takes, where a majority serves, and that every table
// takes writes again soon after the fault.
func Liveness(ops []history.Op, fault Fault, tables ...string) []Violation {
	var f findings
	if pause, table := LongestPause(ops, fault.Began, fault.Ended, tables...); fault.Majority && pause > FailoverTime {
		f.add("writes go on", "%s: no write on %s for %v, at most %v are allowed", fault.Name, table, pause.Round(time.Millisecond), FailoverTime)
	}
	took, missing := Resumed(ops, fault.Ended, tables...)
	if len(missing) > 0 {
		f.add("writes go on", "%s: no write was acknowledged after it ended on %v", fault.Name, missing)
	} else if took > HealTime {
		f.add("writes go on", "%s: the first write after it ended took %v, at most %v are allowed", fault.Name, took.Round(time.Millisecond), HealTime)
	}
	return f.done()
}

// Usage is what a server process holds.
type Usage struct {
	Files      int   `json:"files"`
	Goroutines int   `json:"goroutines"`
	Resident   int64 `json:"resident"` // bytes
}

func (u Usage) String() string {
	return fmt.Sprintf("%d files, %d goroutines, %d MiB", u.Files, u.Goroutines, u.Resident>>20)
}

// What a server may hold more than before, when it is idle again: it keeps up to 256 files of segments open, and Go gives memory back
// late.
const (
	moreFiles      = 300
	moreGoroutines = 100
	moreResident   = 512 << 20
)

// Resources checks that an idle server holds about what it held before the load.
func Resources(node int, before, after Usage) []Violation {
	var f findings
	if after.Files > before.Files+moreFiles || after.Goroutines > before.Goroutines+moreGoroutines || after.Resident > before.Resident+moreResident {
		f.add("resources", "node %d holds %s, before the load %s", node, after, before)
	}
	return f.done()
}
