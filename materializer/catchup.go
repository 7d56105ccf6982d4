package materializer

import (
	"context"
	"time"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
)

// barrier is what CatchUp needs of the log.
type barrier interface {
	Barrier(ctx context.Context) (log.Position, error)
}

// catchUpTimeout bounds CatchUp: whoever calls it has an answer already.
const catchUpTimeout = 2 * time.Second

// CatchUp decides what to make of err, with which a name was not found: on a node that lags it may have been defined at another one. It applies everything
// acknowledged so far and reports whether there is a newer catalog, so that asking again may give another answer.
func (m *Materializer) CatchUp(ctx context.Context, l barrier, err error) bool {
	if !problem.Is(err, problem.UnknownNamespace) && !problem.Is(err, problem.UnknownTable) && !problem.Is(err, problem.UnknownColumn) {
		return false
	}
	before := m.Catalog().Version()
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	if _, err := l.Barrier(ctx); err != nil {
		return false
	}
	return m.Catalog().Version() != before
}
