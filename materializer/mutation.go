package materializer

import (
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/query/expr"
)

// MutationOp says what a Mutation wants of its key.
type MutationOp uint8

// The mutations. Numbers are stored in the Raft log: append only.
const (
	Insert MutationOp = iota + 1 // the key must not exist (streams: append)
	Upsert                       // put the whole row, whether the key exists or not; Where and Version are for a row that exists
	Patch                        // set some columns of an existing row
	Remove                       // delete an existing row
	Check                        // change nothing: Where and Version of an existing row are a condition of the whole batch
)

// OnMiss says what happens when a mutation's key or condition does not fit: Insert of a key that exists, Patch or Remove of one that does not, a Where that is
// not true, a Version that differs.
type OnMiss uint8

// Refuse refuses the whole batch with a conflict; Skip leaves the row as it is and counts it as not applied.
const (
	Refuse OnMiss = iota
	Skip
)

// AnyVersion is the Version of a Mutation without expected version.
const AnyVersion = -1

// Mutation is one wanted change of one row, complete and deterministic: defaults are filled in, now() is a literal. Its columns are those of the named schema version.
type Mutation struct {
	Op        MutationOp
	Partition log.Partition
	Schema    uint32       // schema version of Row and Set
	Key       []byte       // EncodeKey; empty for streams without key
	Row       []byte       // EncodeRow; Insert and Upsert
	Set       []Assignment // Patch
	Where     expr.Node    // evaluated over the current row at apply; nil: always true
	Version   int64        // expected offset of the key's last change, or AnyVersion
	Miss      OnMiss
}

// Assignment sets a column of a Patch to the value of an expression over the old row.
type Assignment struct {
	Column int // place in the schema's columns
	Expr   expr.Node
}

// Batch is what one Raft proposal carries for one writer: all of it is applied, or none.
type Batch struct {
	IdempotencyKey string // scoped by caller and door by whoever sets it; empty: none
	Fingerprint    uint64 // hash of the request behind IdempotencyKey: the same key with another is refused
	Memory         Memory // what remembers IdempotencyKey is held to this; a Writer sets its own
	Caller         string
	Mutations      []Mutation
}

// Outcome is what apply did with a Batch.
type Outcome struct {
	Replayed bool      // the idempotency key was known: Position and Applied are those of the first time
	Index    log.Index // of the entry that holds the changes: of the first time, if Replayed
	Applied  []Applied // one for each mutation, in order
}

// Applied is the fate of one mutation.
type Applied struct {
	Done      bool          // false: skipped
	Partition log.Partition // of its change, if Done: of the first time for a replayed batch, whose generated keys may differ now
	Offset    log.Offset    // of its change, if Done
}
