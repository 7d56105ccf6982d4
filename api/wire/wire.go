package wire

import "encoding/json"

// SQLRequest is the body of POST /v1/sql.
type SQLRequest struct {
	SQL       string            `json:"sql"`                 // one or more statements separated by semicolons
	Params    []json.RawMessage `json:"params,omitempty"`    // values of $1, $2, ...
	AtLeast   string            `json:"at_least,omitempty"`  // position that the reads must include
	Namespace string            `json:"namespace,omitempty"` // of unqualified table names; default "default"
	Atomic    *bool             `json:"atomic,omitempty"`    // false: an UPDATE or DELETE of many rows may take several steps; default true
}

// SQLReply answers POST /v1/sql. If a statement failed after earlier ones of the batch were done, Results holds those
// and Error says which one failed.
type SQLReply struct {
	Results   []Result `json:"results"`
	Error     *Error   `json:"error,omitempty"`
	TookMS    float64  `json:"took_ms"`
	PlanCache string   `json:"plan_cache,omitempty"` // hit or miss, of the last statement
}

// Result is what one statement gave.
type Result struct {
	Columns    []Column            `json:"columns"`
	Rows       [][]json.RawMessage `json:"rows"`
	RowCount   int64               `json:"row_count"`
	Position   string              `json:"position"`
	Batches    int                 `json:"batches,omitempty"`    // of a write with atomic=false that took several; each was all or nothing
	Incomplete bool                `json:"incomplete,omitempty"` // the statement failed after these rows
}

// Column describes a column of a result. Type is its SQL name.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// OffsetRange is the offsets that a write got in one partition, both included. Offsets between them may belong to
// other writers.
type OffsetRange struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// WriteReply answers POST /v1/tables/{namespace}/{table}/rows. If the body broke off or was refused midway, Error
// says why and the other members say what was kept: always the first RowCount rows of the body.
type WriteReply struct {
	RowCount int64                  `json:"row_count"`
	Position string                 `json:"position"`
	Offsets  map[string]OffsetRange `json:"offsets"` // by partition number
	Batches  int                    `json:"batches"` // each was all or nothing; of one batch the whole write was
	Error    *Error                 `json:"error,omitempty"`
}

// RowReply answers GET /v1/tables/{namespace}/{table}/rows/{key}.
type RowReply struct {
	Row      map[string]json.RawMessage `json:"row"`
	Version  uint64                     `json:"version"` // what If-Match expects
	Position string                     `json:"position"`
}

// ErrorReply is the body of every refusal.
type ErrorReply struct {
	Error Error `json:"error"`
}

// Error is the one shape of an error.
type Error struct {
	Code      string `json:"code"`                // stable name
	Message   string `json:"message"`             // one sentence
	Hint      string `json:"hint,omitempty"`      // what to do about it
	SQLState  string `json:"sqlstate"`            // of the SQL standard and PostgreSQL
	Position  int    `json:"position,omitempty"`  // 1-based character in the statement
	Statement int    `json:"statement,omitempty"` // 1-based statement of the batch
	RowsKept  *int64 `json:"rows_kept,omitempty"` // of a stream of rows: the first so many are stored

	Conflict *Conflict `json:"conflict,omitempty"` // the row that a refused write met
}

// Conflict tells about the row for which a write was refused: duplicate_key, key_not_found, version_conflict.
type Conflict struct {
	Key            json.RawMessage `json:"key"`             // its key columns, as an object
	Row            int64           `json:"row,omitempty"`   // 1-based place in the body
	CurrentVersion *int64          `json:"current_version"` // what If-Match would have to be now; null if there is no such row
}

// Health answers GET /health and GET /ready.
type Health struct {
	Status string `json:"status"` // ok, draining, or why not ready
}

// ClusterStatus answers GET /v1/cluster.
type ClusterStatus struct {
	Cluster string        `json:"cluster"`           // id
	Node    uint64        `json:"node"`              // the one that answers
	Leader  uint64        `json:"leader"`            // node that leads, 0: none
	Term    uint64        `json:"term"`              // Raft's, of the leader
	Problem string        `json:"problem,omitempty"` // why the members cannot be told for sure
	Nodes   []ClusterNode `json:"nodes"`
}

// ClusterNode describes a node.
type ClusterNode struct {
	Node     uint64 `json:"node"`
	Replica  uint64 `json:"replica"`
	Role     string `json:"role"`               // leader, follower, learner (does not vote yet), removed, unknown
	Up       bool   `json:"up"`                 // it answers
	Position string `json:"position,omitempty"` // up to where it has applied
	Raft     string `json:"raft,omitempty"`     // addresses
	HTTP     string `json:"http,omitempty"`
	Kafka    string `json:"kafka,omitempty"`
	Version  string `json:"version,omitempty"`
	DiskFull bool   `json:"disk_full,omitempty"` // it refuses writes
	Problem  string `json:"problem,omitempty"`   // why it does not answer
}

// ClusterChange is the body of POST /v1/cluster/add, remove, replace and transfer.
type ClusterChange struct {
	Node    uint64 `json:"node"`
	Address string `json:"address,omitempty"` // of add: where the node listens for peers
}

// Backup answers POST /v1/backup and GET /v1/backup/{id}: what a backup at one position consists of. The server keeps all of it until the backup is
// ended, or nothing of it has been asked for in a while.
type Backup struct {
	ID       string       `json:"id"`
	Cluster  string       `json:"cluster"` // id of the cluster that it is of
	Node     uint64       `json:"node"`    // that it is taken from
	Version  string       `json:"version"` // of the program
	Position string       `json:"position"`
	Term     uint64       `json:"term"`    // Raft's, of the leader
	Created  int64        `json:"created"` // microseconds
	Parts    []BackupPart `json:"parts"`
}

// BackupPart is a file of a backup.
type BackupPart struct {
	Name   string `json:"name"`             // its path, below the backup's directory and below /v1/backup/{id}/
	Bytes  int64  `json:"bytes"`            // while Sha256 is not set an estimate, 0 for none
	Sha256 string `json:"sha256,omitempty"` // hexadecimal; what is made while it is sent has it in the trailer Kalam-Sha256
}
