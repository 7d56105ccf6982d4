// Package query runs SQL: it parses a batch, checks names and rights against the catalog, sends writes to the log, answers
// reads of a key from the state and everything else with DuckDB over Parquet and the log's tail, at one position.
package query

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// This file holds the agreed signatures until their real files exist; it is deleted by whoever implements them.

// Jobs is what the engine needs of the flusher.
type Jobs interface {
	// Flush starts a flush of t, or answers with the one that runs. It returns the job's id.
	Flush(ctx context.Context, t *materializer.Table) (string, error)
	// Kill cancels a job; *problem.Error UnknownJob.
	Kill(ctx context.Context, id string) error
}

type Options struct {
	Log               *log.Log
	Materializer      *materializer.Materializer
	Writer            *materializer.Writer
	Jobs              Jobs   // set later by SetJobs if the flusher needs the engine first
	DataDir           string // where data files' paths are relative to
	Clock             clock.Clock
	Logger            *slog.Logger
	Registerer        prometheus.Registerer
	MaxPlans          int    // default 1000
	Threads           int    // DuckDB's, default GOMAXPROCS
	MemoryLimit       string // DuckDB's, default "1GB"
	DefaultPartitions int    // default 4
	DefaultSharding   string // default "alphabetic"
}

// Engine is safe for concurrent use.
type Engine struct{}

func New(o Options) (*Engine, error) { panic("todo") }
func (e *Engine) Close() error       { panic("todo") }

// Request is one call: one or more statements separated by semicolons.
type Request struct {
	SQL            string
	Params         []expr.Value
	AtLeast        log.Position
	Namespace      string // for unqualified names, default "default"
	IdempotencyKey string
}

// Column describes one column of a result. Type is its SQL name.
type Column struct {
	Name string
	Type string
}

// Sink takes the results of a batch as they come. An error from it ends the batch.
type Sink interface {
	Begin(columns []Column) error  // of each statement, also those without columns
	Row(values []expr.Value) error // valid during the call
	End(s Summary) error
}

// Summary closes a statement's result.
type Summary struct {
	RowCount  int64 // rows returned or changed
	Position  log.Position
	PlanCache string // "hit" or "miss"
}

// Run executes the statements in order and stops at the first error, a *problem.Error that names the statement. The caller is in ctx (identity).
func (e *Engine) Run(ctx context.Context, r Request, sink Sink) error { panic("todo") }

// Lookup reads one row by its key without SQL: the way of GET .../rows/{key} and of the fast path. *problem.Error KeyNotFound.
func (e *Engine) Lookup(ctx context.Context, namespace, table string, key []expr.Value, atLeast log.Position) (Row, error) {
	panic("todo")
}

// Row is one current row.
type Row struct {
	Columns  []string
	Values   []expr.Value
	Version  log.Offset
	Position log.Position
}
