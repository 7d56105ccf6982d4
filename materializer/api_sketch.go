package materializer

import (
	"context"
	"io"
	"iter"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

// This file holds the agreed signatures until their real files exist; it is deleted by whoever implements them.

// --- table.go
func (t *Table) Schema() *Schema                                       { panic("todo") } // newest version
func (t *Table) SchemaAt(version uint32) *Schema                       { panic("todo") } // nil if unknown
func (t *Table) QualifiedName() string                                 { panic("todo") } // "ns.name"
func (t *Table) PartitionOf(key []expr.Value) (log.PartitionID, error) { panic("todo") } // hash of the partition key; streams without key: caller chooses
func (t *Table) Validate() error                                       { panic("todo") } // *problem.Error InvalidDefinition
func (s *Schema) Fields() []expr.Field                                 { panic("todo") } // all columns (hidden too) for expr.Compile, in order
func (s *Schema) Column(name string) (int, bool)                       { panic("todo") }

// --- key.go: order-preserving, prefix-free key encoding: bytes.Compare of encodings orders as the values do, column by column.
func EncodeKey(dst []byte, key []expr.Value) ([]byte, error) { panic("todo") }
func DecodeKey(s *Schema, key []byte) ([]expr.Value, error)  { panic("todo") }

// --- row.go: schema-versioned row codec; Column reads one value in O(1) without touching the others.
func EncodeRow(dst []byte, s *Schema, values []expr.Value) ([]byte, error) { panic("todo") }

// Row is an encoded row seen through a table's newest schema (columns added later read as their default or NULL, widened types are cast). It implements expr.Row.
type Row struct{}

// DecodeRow checks raw's frame; the values are decoded when they are asked for.
func (t *Table) DecodeRow(raw []byte) (Row, error) { panic("todo") } // the schema version is in raw
func (r Row) Column(i int) expr.Value              { panic("todo") }
func (r Row) Values() []expr.Value                 { panic("todo") }

// --- mutation.go, change.go
func EncodeBatch(b *Batch) []byte               { panic("todo") }
func DecodeBatch(raw []byte) (*Batch, error)    { panic("todo") }
func DecodeChange(r log.Record) (Change, error) { panic("todo") } // slices point into r.Data

// --- catalog.go: an immutable snapshot of namespaces and tables, system tables included
type Catalog struct{}

func (c *Catalog) Version() uint64                              { panic("todo") } // grows with every DDL
func (c *Catalog) Namespaces() []string                         { panic("todo") } // sorted
func (c *Catalog) HasNamespace(name string) bool                { panic("todo") }
func (c *Catalog) Table(namespace, name string) (*Table, error) { panic("todo") } // *problem.Error UnknownNamespace/UnknownTable with did-you-mean
func (c *Catalog) TableByID(id log.TableID) *Table              { panic("todo") } // nil if unknown
func (c *Catalog) Tables() []*Table                             { panic("todo") } // sorted by name

// --- system.go: the tables of namespace "system": fixed ids below 1000, one partition each, fixed schemas compiled in:
//
//	namespaces(name TEXT PK, created TIMESTAMPTZ)
//	tables(namespace TEXT, name TEXT, id BIGINT, kind TEXT, partitions INTEGER, definition JSON, created TIMESTAMPTZ, PK (namespace, name))
//	schema_history(table_id BIGINT, version INTEGER, columns JSON, created TIMESTAMPTZ, PK (table_id, version))
//	jobs(id TEXT PK, kind TEXT, namespace TEXT, "table" TEXT, state TEXT, progress DOUBLE, rows BIGINT, location TEXT, error TEXT, created/started/finished TIMESTAMPTZ, node BIGINT)
//	live_queries(id TEXT PK, sql TEXT, options JSON, owner TEXT, position TEXT, created TIMESTAMPTZ, delivered BIGINT)
//	consumer_groups(group_id TEXT, topic TEXT, partition INTEGER, committed_offset BIGINT, leader_epoch INTEGER, metadata TEXT, updated TIMESTAMPTZ, PK (group_id, topic, partition))
//	data_files(table_id BIGINT, path TEXT, shard TEXT, strategy TEXT, flush BIGINT, schema_version INTEGER, rows BIGINT, bytes BIGINT, checksum BLOB, offsets JSON, created TIMESTAMPTZ, PK (table_id, path))
//	flushed(table_id BIGINT, partition INTEGER, end_offset BIGINT, flush BIGINT, PK (table_id, partition))      -- changes below end_offset are in Parquet
//	superseded(table_id BIGINT, partition INTEGER, chunk BIGINT, bitmap BLOB, PK (table_id, partition, chunk))  -- roaring bitmap of flushed offsets (low 20 bits of offset; chunk = offset >> 20) replaced or deleted by later flushed changes
//
// system.<name> of these are exported as TableIDs (SystemJobs, ...). The catalog itself is the fold of namespaces and tables. Namespaces "system" and "default" always exist.
const FirstUserTable log.TableID = 1000

// CreateTable, CreateNamespace, DropTable... give the mutations that change the catalog; query proposes them. Table ids: id := max over schema_history + 1, made safe
// by the Absent check of schema_history's key (a racing creator conflicts and retries).

// --- materializer.go
type Options struct {
	Backend         func(beforeDurable func() error) (storage.Backend, error) // opens it
	Clock           clock.Clock
	Logger          *slog.Logger
	Registerer      prometheus.Registerer
	IdempotencyKeys int   // remembered, default 1,000,000
	IdempotencyAge  int64 // microseconds, default 24 h
}

// Materializer implements log.Fold.
type Materializer struct{}

func New(o Options) (*Materializer, error)               { panic("todo") } // Open of log.Fold opens the backend
func (m *Materializer) Catalog() *Catalog                { panic("todo") } // newest applied
func (m *Materializer) OnCatalogChange(f func(*Catalog)) { panic("todo") } // called from apply after commit; must be quick

// View is the state at one position. Close it.
func (m *Materializer) View() (*View, error) { panic("todo") }

type View struct{}

func (v *View) Catalog() *Catalog                                             { panic("todo") } // as of the view
func (v *View) Position() log.Position                                        { panic("todo") }
func (v *View) End(p log.Partition) (log.Offset, error)                       { panic("todo") }
func (v *View) Row(t *Table, p log.PartitionID, key []byte) (KeyedRow, error) { panic("todo") } // problem KeyNotFound
func (v *View) Scan(t *Table, p log.PartitionID, r storage.Range) iter.Seq2[KeyedRow, error] {
	panic("todo")
}                            // key order
func (v *View) Close() error { panic("todo") }

// KeyedRow is a current row. Valid until the iteration goes on.
type KeyedRow struct {
	Key       []byte
	Row       Row
	Raw       []byte
	Version   log.Offset // offset of its last change
	Timestamp int64
}

// --- writer.go
// Proposer is what the Writer needs of the log.
type Proposer interface {
	Propose(ctx context.Context, batch []byte) (log.Receipt, error)
}

// Writer proposes batches and decodes what apply made of them.
type Writer struct{}

func NewWriter(p Proposer) *Writer { panic("todo") }

// WriteReceipt says what was applied and from where on readers see it.
type WriteReceipt struct {
	Position log.Position
	Outcome
}

// Write proposes b. A refused batch is a *problem.Error (DuplicateKey, KeyNotFound, VersionConflict, NotNull, IdempotencyMismatch, an expression's error) and nothing of it was applied.
func (w *Writer) Write(ctx context.Context, b *Batch) (WriteReceipt, error) { panic("todo") }

// --- rebuild.go
// History reads all changes of a partition from offset 0: the flushed part from Parquet, the rest from segments. flusher implements it over both; log alone suffices
// while nothing has been dropped.
type History interface {
	Changes(ctx context.Context, t *Table, p log.PartitionID, until log.Offset) iter.Seq2[Change, error]
}

// Difference is one row that Verify found to differ.
type Difference struct {
	Table     string
	Partition log.PartitionID
	Key       []byte
	Why       string
}

// Verify folds h again from offset 0 and compares the result with the view, table by table; it reports each difference and the rows checked.
func Verify(ctx context.Context, v *View, h History, progress io.Writer) (rows int64, diffs []Difference, err error) {
	panic("todo")
}
