package materializer

import (
	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/query/expr"
)

// Drafter turns a user's rows into mutations of one table, the same way for every door: it fills defaults, casts values to
// their columns, checks NOT NULL, encodes key and row and picks the partition. Use one for each request; it is not safe for concurrent use.
type Drafter struct {
	table  *Table
	schema *Schema
	caller identity.Caller
	now    int64
}

// NewDrafter returns a Drafter for the newest schema of t. now, in microseconds, is what now() gives in defaults.
func NewDrafter(t *Table, caller identity.Caller, now int64) *Drafter { panic("todo") }

// Put drafts an Insert or Upsert. values is as long as the schema's columns; set says which of them the user gave (the rest take their
// defaults). Errors are *problem.Error: NotNull, TypeMismatch, InvalidValue, OutOfRange, naming the column.
func (d *Drafter) Put(op MutationOp, values []expr.Value, set []bool) (Mutation, error) {
	panic("todo")
}

// Patch drafts a Patch that sets the given non-key columns of the row named by the given key columns.
func (d *Drafter) Patch(values []expr.Value, set []bool) (Mutation, error) { panic("todo") }

// Remove drafts a Remove of the key in values.
func (d *Drafter) Remove(values []expr.Value, set []bool) (Mutation, error) { panic("todo") }

// Key encodes the key columns in values, with the caller as UserColumn if it was not given.
func (d *Drafter) Key(values []expr.Value, set []bool) ([]byte, error) { panic("todo") }
