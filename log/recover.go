package log

import (
	"fmt"
	"slices"
	"strings"
)

// The rules by which a partition's files are taken up after a restart. They are pure: bases are the offsets that the
// segment files' names state, start and end are the partition's bounds in the durable checkpoint. Nothing is ever
// cut off within a file: what lies behind end is left where it is, or removed as a whole file, and Raft replays it into a new one.

// tailPlan says which segments belong to the log and which files do not.
type tailPlan struct {
	keep   []Offset // ascending; each ends where the next begins, the last at end; the first may lie before start and be due to go
	remove []Offset // written after the checkpoint, from the last on so that a crash leaves no gap
}

// planTail sorts bases into those before end and the rest. It fails if offsets from start to end are missing: only what lies before start may
// have been deleted.
func planTail(bases []Offset, start, end Offset) (tailPlan, error) {
	bases = slices.Sorted(slices.Values(bases))
	cut, _ := slices.BinarySearch(bases, end)
	plan := tailPlan{keep: bases[:cut], remove: slices.Clone(bases[cut:])}
	slices.Reverse(plan.remove)
	switch {
	case start > end:
		return tailPlan{}, fmt.Errorf("the state says that changes before %d were deleted, and that there are %d", start, end)
	case start == end: // all of it may be gone
	case len(plan.keep) == 0:
		return tailPlan{}, fmt.Errorf("no segment file is left of the changes from %d to %d", start, end)
	case plan.keep[0] > start:
		return tailPlan{}, fmt.Errorf("the segment file of offset %d is missing, the first starts at %d", start, plan.keep[0])
	}
	return plan, nil
}

// continues reports whether a segment whose file has size bytes, of which those before end take position, may be appended
// to. If not, it holds frames from before a crash and the next frame starts a new segment.
func continues(size, position int64) bool { return size == position }

// parseDigits reads an unsigned decimal without sign.
func parseDigits(s string) (uint64, bool) {
	var n uint64
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	for _, c := range []byte(s) {
		d := uint64(c - '0')
		if n > (1<<64-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}
