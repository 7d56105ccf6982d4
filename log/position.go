package log

// The named integers of the log.
type (
	// TableID identifies a table for ever: it is not reused after DROP TABLE. Ids below 1000 are system tables.
	TableID uint32
	// PartitionID is a partition's number within its table, from 0.
	PartitionID uint16
	// Offset numbers the changes of one (table, partition): dense, from 0.
	Offset uint64
	// Index is a Raft log index of a group. Every change carries the index of the entry it came from.
	Index uint64
	// GroupID is a Raft group, from 1.
	GroupID uint64
)

// Partition names one append-only sequence of changes.
type Partition struct {
	Table TableID
	ID    PartitionID
}

// Position is a point in the history of the groups: for each group the Raft index up to which everything is included.
// The zero Position lies before the first change. Its text form, a token that users pass around, is
// "group:index[.seen]" joined by commas: "1:4711" or, in the middle of an entry, "1:4711.3". Positions are immutable.
type Position struct {
	parts []Part // ascending by Group
}

// Part is a Position's share of one group. With Seen = 0 every change of entries up to and including Index is
// included. With Seen = n > 0 it is a cursor of one table: all of its changes before entry Index and the first n of entry Index,
// counted in the order (partition, offset).
type Part struct {
	Group GroupID
	Index Index
	Seen  uint32
}
