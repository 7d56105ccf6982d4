package materializer

import (
	"fmt"
	"strings"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

// restoredProperty begins the names of the rows of system.cluster that note restores: the position where the log goes on follows, and the value is
// the position at which the backup ends.
const restoredProperty = "restored/"

// GapRow returns the row of system.cluster that notes a restore. It is written once, by the restore itself, before anybody reads.
func GapRow(g log.Gap) []expr.Value {
	at := func(i log.Index) string { return log.PositionOf(log.Part{Group: 1, Index: i}).String() }
	return []expr.Value{expr.TextOf(restoredProperty + at(g.To)), expr.TextOf(at(g.After))}
}

// Gaps implements log.Fold.
func (m *Materializer) Gaps() ([]log.Gap, error) {
	var gaps []log.Gap
	t := m.Catalog().TableByID(SystemCluster)
	for e, err := range m.backend.Scan(statePartition(SystemCluster, 0), storage.Range{}) {
		if err != nil {
			return nil, fmt.Errorf("read system.cluster: %w", err)
		}
		row, err := keyedRow(t, e.Key, e.Value)
		if err != nil {
			return nil, err
		}
		to, ok := strings.CutPrefix(row.Row.Column(0).Str(), restoredProperty)
		if !ok {
			continue
		}
		g, err := parseGap(row.Row.Column(1).Str(), to)
		if err != nil {
			return nil, fmt.Errorf("restore noted in system.cluster: %w", err)
		}
		gaps = append(gaps, g)
	}
	return gaps, nil
}

func parseGap(after, to string) (log.Gap, error) {
	a, err := log.ParsePosition(after)
	if err != nil {
		return log.Gap{}, err
	}
	b, err := log.ParsePosition(to)
	if err != nil {
		return log.Gap{}, err
	}
	return log.Gap{After: a.Part(1).Index, To: b.Part(1).Index}, nil
}

// errRestoring refuses what reads the state while another takes its place.
func errRestoring() error {
	return problem.New(problem.Overloaded, "this node is taking up a snapshot of the others and has no state until then").
		WithHint("ask another node, or this one again in a moment")
}

// setRestoring keeps readers away from the state, or lets them in again.
func (m *Materializer) setRestoring(restoring bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restoring = restoring
}
