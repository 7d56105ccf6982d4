package datafile

import (
	"fmt"
	"reflect"

	"github.com/parquet-go/parquet-go"

	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// The names of the system columns.
const (
	PartitionColumn = "_partition"
	OffsetColumn    = "_offset"
	TimestampColumn = "_timestamp"
	OpColumn        = "_op"
	PreviousColumn  = "_previous"
)

// firstSystemFieldID is the Parquet field id of _partition; the other system columns follow. It lies above every column
// id and below the ids that Iceberg reserves.
const firstSystemFieldID = 1_000_000_001

// The places of the system columns, counted from the end of the table's columns.
const (
	partitionPlace = iota
	offsetPlace
	timestampPlace
	opPlace
	previousPlace
	systemColumns
)

// Layout is how the rows of one schema version lie in a file. It is immutable.
type Layout struct {
	table   *materializer.Schema
	columns []column // the table's columns; each has exactly one Parquet leaf, at the same place
	parquet *parquet.Schema
	ops     [materializer.RowDeleted + 1]parquet.Value
}

// column is a column of the table as it lies in a file.
type column struct {
	id       uint32
	name     string
	typ      expr.Type
	key      bool
	required bool
	leaf     leafType
}

// NewLayout returns the layout of s. It refuses a schema with a column of a system column's name or with the same name
// twice: such a file could not be read by name.
func NewLayout(s *materializer.Schema) (*Layout, error) {
	l := &Layout{table: s, columns: make([]column, len(s.Columns))}
	for _, place := range s.Key {
		l.columns[place].key = true
	}
	seen := map[string]bool{PartitionColumn: true, OffsetColumn: true, TimestampColumn: true, OpColumn: true, PreviousColumn: true}
	for i, c := range s.Columns {
		if seen[c.Name] {
			return nil, fmt.Errorf("lay out schema version %d: column name %q is taken", s.Version, c.Name)
		}
		seen[c.Name] = true
		col := &l.columns[i]
		col.id, col.name, col.typ, col.leaf = c.ID, c.Name, c.Type, leafTypeOf(c.Type)
		// Of a delete only the key columns are there; a table without key is a stream and has none.
		col.required = c.Type.Kind != expr.List && (col.key || c.NotNull && len(s.Key) == 0)
	}
	l.parquet = l.schema(nil)
	for op, name := range map[materializer.ChangeOp]string{
		materializer.RowInserted: "insert", materializer.RowUpdated: "update", materializer.RowDeleted: "delete",
	} {
		l.ops[op] = parquet.ByteArrayValue([]byte(name))
	}
	return l, nil
}

// Schema returns the schema version that the layout is of.
func (l *Layout) Schema() *materializer.Schema { return l.table }

// system returns the leaf of a system column.
func (l *Layout) system(place int) int { return len(l.columns) + place }

// schema returns the Parquet schema, with the encodings that suit the rows of sample; they are plain without one.
func (l *Layout) schema(sample *Batch) *parquet.Schema {
	fields := make([]parquet.Field, 0, len(l.columns)+systemColumns)
	for i := range l.columns {
		c := &l.columns[i]
		n := typeNode(c.typ)
		if e := c.encoding(i, sample); e != nil {
			n = parquet.Encoded(n, e)
		}
		if !c.required {
			n = parquet.Optional(n)
		}
		fields = append(fields, field{name: c.name, Node: parquet.FieldID(n, int(c.id))})
	}
	return parquet.NewSchema("kalam", group{fields: append(fields, systemFields()...)})
}

func systemFields() []parquet.Field {
	nodes := [systemColumns]parquet.Node{
		partitionPlace: parquet.Encoded(parquet.Int(32), &parquet.RLEDictionary),
		offsetPlace:    parquet.Encoded(parquet.Int(64), &parquet.DeltaBinaryPacked),
		timestampPlace: parquet.Encoded(parquet.TimestampAdjusted(parquet.Microsecond, true), &parquet.DeltaBinaryPacked),
		opPlace:        parquet.Encoded(parquet.String(), &parquet.RLEDictionary),
		previousPlace:  parquet.Optional(parquet.Encoded(parquet.Int(64), &parquet.DeltaBinaryPacked)),
	}
	names := [systemColumns]string{PartitionColumn, OffsetColumn, TimestampColumn, OpColumn, PreviousColumn}
	fields := make([]parquet.Field, systemColumns)
	for i := range fields {
		fields[i] = field{name: names[i], Node: parquet.FieldID(nodes[i], firstSystemFieldID+i)}
	}
	return fields
}

// group is a Parquet group that keeps its fields in order; parquet.Group sorts them by name.
type group struct {
	parquet.Group
	fields []parquet.Field
}

func (g group) Fields() []parquet.Field { return g.fields }

func (g group) String() string { return "kalam" }

type field struct {
	parquet.Node
	name string
}

func (f field) Name() string { return f.name }

// Value is for writers of Go structs, which this package does not use.
func (f field) Value(base reflect.Value) reflect.Value { return base.MapIndex(reflect.ValueOf(f.name)) }
