package log

import (
	"fmt"
	"math"

	"kalamlog.dev/kalam/internal/problem"
)

// Gap is a piece of the index that this log's history does not have: it was restored from a backup that ends at After, and goes on at To.
// Positions in between were given out by the log that the backup is of, after the backup, and mean nothing here.
type Gap struct{ After, To Index }

// restoreGap is how far a restored log jumps ahead, so that no index is given out that the log before may have given out too: at 10,000 entries
// a second it would have taken three years to get there.
const restoreGap Index = 1 << 40

// afterRestore returns where a log goes on that was restored at last.
func afterRestore(last Index) (Index, error) {
	if last > math.MaxInt64-restoreGap {
		return 0, fmt.Errorf("the log was restored too often: no index is left after %d", last)
	}
	return last + restoreGap, nil
}

// Lost returns nil, or a *problem.Error Trimmed if p lies in a gap: whoever has it saw changes that a restore has left behind.
func (l *Log) Lost(p Position) error {
	gaps := l.replica.gaps.Load()
	if gaps == nil {
		return nil
	}
	index := p.Part(groupID).Index
	for _, g := range *gaps {
		if g.After < index && index < g.To {
			return problem.New(problem.Trimmed, "the position %s is from before this log was restored from a backup, which ends at %s", p,
				l.positionAt(g.After)).WithHint("what came after the backup is lost: read again from the present state")
		}
	}
	return nil
}

// loadGaps reads the gaps of the state.
func (r *replica) loadGaps() error {
	gaps, err := r.fold.Gaps()
	if err != nil {
		return fmt.Errorf("read the gaps of the log: %w", err)
	}
	r.gaps.Store(&gaps)
	return nil
}
