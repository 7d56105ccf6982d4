package materializer

import "kalamlog.dev/kalam/log"

// ChangeOp is what happened to a row.
type ChangeOp uint8

// The operations of a change. Numbers are stored: append only.
const (
	RowInserted ChangeOp = iota + 1
	RowUpdated
	RowDeleted
)

// Change is one entry of a table's history: all that a reader of the log needs. The raw rows are decoded lazily with the schema
// version they were written in (Schema for New, OldSchema for Old).
type Change struct {
	Op          ChangeOp
	Partition   log.Partition
	Offset      log.Offset
	Index       log.Index // with Batch: the transaction id
	Batch       uint32
	Timestamp   int64      // microseconds UTC
	Schema      uint32     // schema version of New (of Old for a delete)
	OldSchema   uint32     // schema version of Old
	Previous    log.Offset // offset of the key's previous change, valid if HasPrevious
	HasPrevious bool
	Key         []byte // encoded key; empty for streams without key
	Old         []byte // encoded row before, nil for an insert
	New         []byte // encoded row after, nil for a delete
}
