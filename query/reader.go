package query

import (
	"fmt"

	"kalamlog.dev/kalam/query/duck"
)

// reader is a DuckDB with what is kept in it.
type reader struct {
	db       *duck.DB
	mirrors  *duck.Mirrors
	computed map[string]*duck.Computed // by qualified name
}

func (e *Engine) newReader() (*reader, error) {
	db, err := duck.Open(duck.Options{
		DataDir: e.DataDir, Threads: e.Threads, MemoryLimit: e.MemoryLimit, MaxConnections: e.MaxConcurrent,
		Room: e.Room, Ensure: e.EnsureFiles,
	})
	if err != nil {
		return nil, fmt.Errorf("open sql engine: %w", err)
	}
	return &reader{db: db, mirrors: duck.NewMirrors(db, e.Log, e.Materializer, e.Logger), computed: e.computedTables()}, nil
}

// duckdb returns the reader to use. DuckDB answers a fault of its own, which an odd query may lead to, by refusing every
// further statement: then a new one takes its place, empty, and one user's query has not stopped all others.
func (e *Engine) duckdb() (*reader, error) {
	r := e.reader.Load()
	if !r.db.Broken() {
		return r, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if r = e.reader.Load(); !r.db.Broken() || e.closed {
		return r, nil
	}
	next, err := e.newReader()
	if err != nil {
		return nil, err
	}
	e.Logger.Error("DuckDB has failed and was replaced")
	e.reader.Store(next)
	e.plans.purge()
	e.closing.Go(func() {
		if err := r.db.Close(); err != nil {
			e.Logger.Error("close the failed DuckDB", "error", err)
		}
	})
	return next, nil
}
