package materializer

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

// TableKind is how a table's rows are kept.
type TableKind string

// The kinds of table.
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

	prepared *tablePlan // nil until prepare
}

// TableOptions are the WITH options besides type and partitions. Zero means the server's default.
type TableOptions struct {
	PartitionBy    []string      `json:"partition_by,omitempty"`    // columns of the key; default the whole key, UserColumn for a User table
	Sharding       string        `json:"sharding,omitempty"`        // strategy name
	TTL            time.Duration `json:"ttl,omitempty"`             // of stream rows
	Retention      time.Duration `json:"retention,omitempty"`       // how long flushed changes stay in the log; Unlimited: for ever
	RetentionBytes int64         `json:"retention_bytes,omitempty"` // of the log, above which its oldest flushed segments go; Unlimited: never
	FlushRows      int64         `json:"flush_rows,omitempty"`
}

// Unlimited is the Retention and RetentionBytes of a table that keeps everything in the log, whatever the server's default.
const Unlimited = math.MaxInt64

// tablePlan is what is worked out once per table.
type tablePlan struct {
	newest      *Schema // the schema it was made for
	names       []storage.PartitionName
	projections []*projection // by schema version - 1
	partitionBy []int         // places in the key
	fields      []expr.Field
}

// prepare works out the plan. It is called before t is shared.
func (t *Table) prepare() {
	for _, s := range t.Versions {
		s.prepared = newLayout(s)
	}
	t.prepared = t.newPlan()
}

// plan returns the prepared plan, or a fresh one for a table that nobody has prepared or whose versions have changed since.
func (t *Table) plan() *tablePlan {
	if p := t.prepared; p != nil && p.newest == t.Schema() && len(p.names) == t.Partitions {
		return p
	}
	return t.newPlan()
}

func (t *Table) newPlan() *tablePlan {
	p := &tablePlan{newest: t.Schema(), fields: t.Schema().Fields(), partitionBy: t.partitionColumns()}
	for i := range t.Partitions {
		p.names = append(p.names, statePartition(t.ID, log.PartitionID(i)))
	}
	for i := range t.Versions {
		p.projections = append(p.projections, newProjection(t.Versions, i))
	}
	return p
}

// statePartition names the storage partition that holds the rows of one partition of a table.
func statePartition(t log.TableID, p log.PartitionID) storage.PartitionName {
	return storage.PartitionName("t/" + strconv.FormatUint(uint64(t), 10) + "/" + strconv.FormatUint(uint64(p), 10))
}

// partitionColumns returns the places in the key that decide on the partition.
func (t *Table) partitionColumns() []int {
	s := t.Schema()
	by := t.Options.PartitionBy
	if len(by) == 0 && t.Kind == User {
		by = []string{UserColumn}
	}
	var places []int
	for i, c := range s.Key {
		if len(by) == 0 || slices.Contains(by, s.Columns[c].Name) {
			places = append(places, i)
		}
	}
	return places
}

// Schema returns the newest version.
func (t *Table) Schema() *Schema { return t.Versions[len(t.Versions)-1] }

// SchemaAt returns a version, or nil if t does not know it.
func (t *Table) SchemaAt(version uint32) *Schema {
	if version == 0 || uint64(version) > uint64(len(t.Versions)) {
		return nil
	}
	return t.Versions[version-1]
}

// QualifiedName returns "namespace.name".
func (t *Table) QualifiedName() string { return t.Namespace + "." + t.Name }

// PartitionOf returns the partition that key, all of its columns in key order and of the columns' types, belongs to: the hash of the partition
// columns modulo the number of partitions. A stream without a key has no answer: its writers choose.
func (t *Table) PartitionOf(key []expr.Value) (log.PartitionID, error) {
	s := t.Schema()
	if len(s.Key) == 0 {
		return 0, problem.New(problem.Unsupported, "%s has no key that could choose a partition", t.QualifiedName())
	}
	if len(key) != len(s.Key) {
		return 0, problem.New(problem.TypeMismatch, "the key of %s has %d columns, not %d", t.QualifiedName(), len(s.Key), len(key))
	}
	var space [64]byte
	buf := space[:0]
	for _, i := range t.plan().partitionBy {
		var err error
		if buf, err = appendKeyColumn(buf, key[i]); err != nil {
			return 0, err
		}
	}
	return t.partitionOfHash(buf), nil
}

// NewRow returns the Insert or Upsert of a complete row, values in the order of the newest schema's columns. Of a stream without key it
// goes to partition 0; the caller may set another.
func (t *Table) NewRow(op MutationOp, values []expr.Value) (Mutation, error) {
	s := t.Schema()
	m := Mutation{Op: op, Schema: s.Version, Version: AnyVersion, Partition: log.Partition{Table: t.ID}}
	var err error
	if m.Row, err = EncodeRow(nil, s, values); err != nil || len(s.Key) == 0 {
		return m, err
	}
	m.Key, m.Partition.ID, err = t.address(values)
	return m, err
}

// OfKey returns a Patch or Remove of the row with a key; the caller adds Set, Where, Version and Miss.
func (t *Table) OfKey(op MutationOp, key []expr.Value) (Mutation, error) {
	p, err := t.PartitionOf(key)
	if err != nil {
		return Mutation{}, err
	}
	m := Mutation{Op: op, Schema: t.Schema().Version, Version: AnyVersion, Partition: log.Partition{Table: t.ID, ID: p}}
	if m.Key, err = EncodeKey(nil, key); err != nil {
		return m, err
	}
	return m, t.checkKey(m.Key)
}

// maxKey is the longest encoded key in bytes that a row may have: what every backend takes.
const maxKey = storage.MaxKey

func (t *Table) checkKey(key []byte) error {
	if len(key) <= maxKey {
		return nil
	}
	return problem.New(problem.OutOfRange, "a key of %s has at most %d bytes, not %d", t.QualifiedName(), maxKey, len(key)).
		WithHint("make a digest of the value the key, and keep the value in a column that is no key")
}

// address encodes the key of a row of the newest schema and finds its partition. It gives what EncodeKey and PartitionOf give, in one go where the
// whole key decides.
func (t *Table) address(row []expr.Value) (key []byte, p log.PartitionID, err error) {
	s, plan := t.Schema(), t.plan()
	var space, part [96]byte
	buf, hashed := space[:0], part[:0]
	for _, c := range s.Key {
		if buf, err = appendKeyColumn(buf, row[c]); err != nil {
			return nil, 0, inColumn(s.Columns[c].Name, err)
		}
	}
	if len(plan.partitionBy) == len(s.Key) {
		hashed = buf
	} else {
		for _, i := range plan.partitionBy {
			if hashed, err = appendKeyColumn(hashed, row[s.Key[i]]); err != nil {
				return nil, 0, err
			}
		}
	}
	return bytes.Clone(buf), t.partitionOfHash(hashed), t.checkKey(buf)
}

func (t *Table) partitionOfHash(columns []byte) log.PartitionID {
	return log.PartitionID(xxhash.Sum64(columns) % uint64(t.Partitions))
}

// DecodeRow checks raw's frame; the values are decoded when they are asked for. Values of the Row share raw's memory.
func (t *Table) DecodeRow(raw []byte) (Row, error) { return decodeRow(t.plan(), t, raw) }
