package materializer

import (
	"time"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/query/expr"
)

// TableKind is how a table's rows are kept.
type TableKind string

// The kinds of design section 3.
const (
	Shared TableKind = "shared" // one keyed table for all
	User   TableKind = "user"   // every row belongs to a user: hidden leading key column UserColumn, also the partition key
	Stream TableKind = "stream" // append only: no state, no key lookup
)

// UserColumn is the hidden leading key column of a User table.
const UserColumn = "_user"

// Table is a table's definition, in all its schema versions. It is immutable: the catalog replaces it when it changes. It is stored as JSON in
// the definition column of system.tables.
type Table struct {
	ID         log.TableID  `json:"id"`
	Namespace  string       `json:"namespace"`
	Name       string       `json:"name"`
	Kind       TableKind    `json:"kind"`
	Partitions int          `json:"partitions"`
	Versions   []*Schema    `json:"versions"` // ascending, Versions[i].Version == i+1
	Options    TableOptions `json:"options"`
	Created    int64        `json:"created"` // microseconds
}

// TableOptions are the WITH options besides type and partitions. Zero means the server's default.
type TableOptions struct {
	PartitionBy []string      `json:"partition_by,omitempty"` // columns of the key; default the whole key
	Sharding    string        `json:"sharding,omitempty"`     // strategy name
	TTL         time.Duration `json:"ttl,omitempty"`          // of stream rows
	Retention   time.Duration `json:"retention,omitempty"`
	FlushRows   int64         `json:"flush_rows,omitempty"`
}

// Schema is one version of a table's columns. Immutable.
type Schema struct {
	Version uint32   `json:"version"`
	Columns []Column `json:"columns"`
	Key     []int    `json:"key"` // places in Columns of the primary key, in key order; empty only for streams
}

// Column is a column of a Schema. ID stays the same over renames and later versions.
type Column struct {
	ID      uint32    `json:"id"`
	Name    string    `json:"name"`
	Type    expr.Type `json:"type"`
	NotNull bool      `json:"not_null,omitempty"`
	Hidden  bool      `json:"hidden,omitempty"` // UserColumn: not in SELECT *
	Default *Default  `json:"default,omitempty"`
}

// Default fills a column that an insert leaves out. It is evaluated by the proposer, never at apply.
type Default struct {
	Func    string `json:"func,omitempty"`    // now, uuid_v7, ulid, snowflake_id, current_user_id; empty for a literal
	Literal []byte `json:"literal,omitempty"` // expr.AppendValue, already of the column's type
}
