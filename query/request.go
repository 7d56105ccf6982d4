package query

import (
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/query/expr"
)

// Request is one call: one or more statements separated by semicolons.
type Request struct {
	SQL            string
	Params         []expr.Value // of $1, $2, ..., shared by all statements
	AtLeast        log.Position // what reads must include; zero: what is applied here
	Namespace      string       // of unqualified names, default "default"
	NotAtomic      bool         // an UPDATE or DELETE of many rows may take several steps, each all or nothing
	IdempotencyKey string       // makes a repeated request's writes take effect once; scoped by caller
}

// Column describes one column of a result. Type is its SQL name.
type Column struct {
	Name string
	Type string
}

// Sink takes the results of a batch as they come. An error from it ends the batch.
type Sink interface {
	// Begin starts the result of a statement, also of one without columns.
	Begin(columns []Column) error
	// Row takes one row; values are valid during the call.
	Row(values []expr.Value) error
	End(s Summary) error
}

// Summary closes a statement's result.
type Summary struct {
	RowCount  int64        // rows returned or changed
	Position  log.Position // that the read shows, or the write's
	PlanCache string       // "hit" or "miss"
	Batches   int          // of a write: each was all or nothing
}

// Row is one current row.
type Row struct {
	Columns  []string
	Values   []expr.Value
	Version  log.Offset
	Position log.Position // that the row includes
}
