package history

// SeenKind says what a reader was shown.
type SeenKind string

// The kinds. Those of changes and rows carry a partition and an offset.
const (
	Opened   SeenKind = "opened"  // a connection; Cursor is where it resumes, empty for the start
	Row      SeenKind = "row"     // an initial row
	Ready    SeenKind = "ready"   // all initial rows were shown; Cursor is their position
	Changed  SeenKind = "changed" // insert, update or a record of a topic
	Deleted  SeenKind = "deleted"
	Progress SeenKind = "progress" // everything up to Cursor was shown
	Reset    SeenKind = "reset"
	Broken   SeenKind = "broken" // the end of a connection
)

// Reader says how a reader reads.
type Reader string

// The readers.
const (
	Tail     Reader = "tail"     // a live query from the start, without initial rows, resumed after each cut
	Folded   Reader = "folded"   // a live query with initial rows, resumed after each cut
	Snapshot Reader = "snapshot" // a live query that starts anew with initial rows after each cut
	Branch   Reader = "branch"   // a live query that starts at another reader's cursor
	Topic    Reader = "topic"    // a Kafka consumer from offset 0
)

// Seen is one thing that a reader was shown.
type Seen struct {
	Reader    string   `json:"reader"` // its name
	Session   int      `json:"session"`
	Node      int      `json:"node"`
	At        int64    `json:"at"` // nanoseconds since the start of the run
	Kind      SeenKind `json:"kind"`
	Partition int32    `json:"partition"`
	Offset    int64    `json:"offset"`
	Key       string   `json:"key,omitempty"`
	Value     string   `json:"value,omitempty"`
	Cursor    string   `json:"cursor,omitempty"`
	Error     string   `json:"error,omitempty"`
}

// Trail is everything that one reader was shown, in order.
type Trail struct {
	Name  string `json:"name"`
	How   Reader `json:"how"`
	Table string `json:"table"`
	// Starts are the offsets that a Branch begins with, by partition.
	Starts map[int32]int64 `json:"starts,omitempty"`
	Seen   []Seen          `json:"-"`
}
