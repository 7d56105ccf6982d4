package history

import "math"

// Kind says what an operation asks for.
type Kind string

// The kinds of operations.
const (
	Insert  Kind = "insert"  // a new row of the table Events
	Upsert  Kind = "upsert"  // a row of Registers, whatever is there
	CAS     Kind = "cas"     // the same if the version is Expect
	Add     Kind = "add"     // one more on a row of Counters, by SQL
	Read    Kind = "read"    // a row of Registers by key
	Count   Kind = "count"   // the number of changes of a partition of Events
	Commit  Kind = "commit"  // the offset of a consumer group
	Fetched Kind = "fetched" // what a consumer group has committed
)

// Writes reports whether an operation of the kind makes a change.
func (k Kind) Writes() bool { return k == Insert || k == Upsert || k == CAS || k == Add }

// Outcome says what is known of an operation.
type Outcome string

// The outcomes.
const (
	OK   Outcome = "ok"   // it took effect
	Fail Outcome = "fail" // it did not and will not
	Info Outcome = "info" // unknown: it may have, or may yet
)

// The tables that the clients use.
const (
	Events    = "events"    // inserts only: id and v, two partitions
	Registers = "registers" // a few rows that are replaced
	Counters  = "counters"  // a few rows that count up
)

// Never is the time of return of an operation whose outcome is unknown.
const Never = math.MaxInt64

// Op is one operation of a client. Times are nanoseconds of one monotonic clock since the start of the run.
type Op struct {
	Client string `json:"client"`
	ID     int    `json:"id"` // of the client's operations, ascending
	Kind   Kind   `json:"kind"`
	Node   int    `json:"node"` // that was asked last
	Table  string `json:"table,omitempty"`
	Key    string `json:"key,omitempty"`
	Value  string `json:"value,omitempty"`  // to be written, or that was read; unique among writes but for Add
	Expect int64  `json:"expect,omitempty"` // version of a CAS
	Fresh  bool   `json:"fresh,omitempty"`  // a read of everything acknowledged before, not of some state
	Latest bool   `json:"latest,omitempty"` // it was asked for as at_least=latest, not by a position

	Invoke   int64   `json:"invoke"`
	Return   int64   `json:"return,omitempty"`
	Outcome  Outcome `json:"outcome,omitempty"`
	Attempts int     `json:"attempts,omitempty"` // with the same idempotency key

	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"` // of the change, or of the row that was read; -1: not known, no row
	Position  string `json:"position,omitempty"`
	Retried   string `json:"retried,omitempty"` // code of the last error that another attempt followed
	Code      string `json:"code,omitempty"`    // of an error
	Error     string `json:"error,omitempty"`
}
