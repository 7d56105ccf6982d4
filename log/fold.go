package log

import "io"

// Fold turns the batches of committed entries into changes and state. The log drives it from the apply loop of its
// Raft group; materializer implements it. The log owns the order of things:
//
//	Begin; for each batch of each entry: Apply; append the changes to segments; Commit; publish to readers; answer proposers
//
// Nothing the Fold commits needs to survive a power loss until Sync: Raft replays every entry after the durable checkpoint, and
// segments count only up to the end offsets of that checkpoint. But a Fold must never make a checkpoint durable before the segments
// that it speaks of: it calls the hook given to Open before anything it has committed reaches the disk for good.
type Fold interface {
	// Open loads the durable checkpoint. beforeDurable syncs every segment written so far; the Fold calls it as said above, from any goroutine.
	Open(beforeDurable func() error) (Checkpoint, error)

	// Begin starts the state transaction of one Raft update. One is open at a time, from one goroutine.
	Begin() Step

	// End returns the end offset of p as of the last Commit (or Open): 0 for a partition never written. Safe for concurrent use.
	End(p Partition) (Offset, error)

	// Start returns where p begins as of the last Commit (or Open): what the last DeletePrefix said. Safe for concurrent use.
	Start(p Partition) (Start, error)

	// Sync returns when everything committed so far is durable. It may be called beside Begin, Apply and Commit.
	Sync() error

	// Prepare returns a consistent view for Save, taken between two updates; Save streams it, Restore replaces everything by it.
	Prepare() (any, error)
	Save(view any, w io.Writer, stop <-chan struct{}) error
	Restore(r io.Reader, stop <-chan struct{}) (Checkpoint, error)

	// Close releases the Fold. It is called once, after the last Step.
	Close() error
}

// Step is the state transaction of one Raft update.
type Step interface {
	// Apply folds one batch: all of it or, if it is refused, none of it. What a refusal says travels in result to the proposer; err is
	// only for damage (a state that cannot be read, a batch that does not decode) and stops the node. Changes go to out at once, in order.
	// Apply is deterministic: it depends on the state, meta and payload alone.
	Apply(meta EntryMeta, payload []byte, out Appender) (result []byte, err error)

	// Commit applies the step's writes, the checkpoint and the end offsets atomically.
	// ends belongs to the caller.
	Commit(c Checkpoint, ends map[Partition]Offset) error
}

// EntryMeta is what the log knows of the entry that a batch travelled in.
type EntryMeta struct {
	Group     GroupID
	Index     Index
	Batch     int   // the batch's place within the entry: with Index, a transaction id
	Timestamp int64 // microseconds UTC, fixed by the proposer, never before that of an earlier entry
}

// Appender takes the changes of a Step.
type Appender interface {
	// Append returns the offset that the change will have.
	Append(p Partition, change []byte) Offset

	// DeletePrefix takes the changes before s from readers, once the Step is committed. The Fold's Start says so from then on: their files go
	// when the Fold has that durably, and it is what tells a deleted file from a lost one. A start that lies before the present one changes nothing.
	DeletePrefix(p Partition, s Start)
}

// Start is where a partition begins for readers: retention has removed what lies before. It is part of the replicated state, so it is
// the same on every node.
type Start struct {
	Offset Offset // the first change kept; the partition's end if none is
	Index  Index  // of the change before it, the last one removed; 0 if none was
}

// Checkpoint is what a Fold's state contains.
type Checkpoint struct {
	Index     Index
	Timestamp int64 // of the last entry
}
