package materializer

import (
	"encoding/binary"
	"slices"

	"kalamlog.dev/kalam/query/expr"
)

// Schema is one version of a table's columns. Immutable.
type Schema struct {
	Version uint32   `json:"version"`
	Columns []Column `json:"columns"`
	Key     []int    `json:"key"` // places in Columns of the primary key, in key order; empty only for streams

	prepared *layout // nil until its table is prepared
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

// Fields returns all columns, hidden ones too, in order: what expr.Compile needs of a row of s.
func (s *Schema) Fields() []expr.Field {
	fields := make([]expr.Field, len(s.Columns))
	for i, c := range s.Columns {
		fields[i] = expr.Field{Name: c.Name, Type: c.Type}
	}
	return fields
}

// Column returns the place of the column called name.
func (s *Schema) Column(name string) (int, bool) {
	for i := range s.Columns {
		if s.Columns[i].Name == name {
			return i, true
		}
	}
	return 0, false
}

// columnByID returns the place of the column with an ID, or -1.
func (s *Schema) columnByID(id uint32) int {
	for i := range s.Columns {
		if s.Columns[i].ID == id {
			return i
		}
	}
	return -1
}

// isKey reports whether column i is part of the primary key.
func (s *Schema) isKey(i int) bool {
	return slices.Contains(s.Key, i)
}

// layout says where a row of a schema keeps its columns. FORMAT.md draws it.
type layout struct {
	columns  []Column // of the schema it was made for
	header   []byte   // format byte and schema version
	slots    []slot
	bitmap   int // start of the null bitmap
	fixed    int // start of the fixed-width area
	ends     int // start of the table of end offsets
	variable int // start of the variable-length bytes
	vars     int // variable-length columns
	lists    []int
}

// slot is one column's place: in the fixed-width area, or its number among the variable-length columns.
type slot struct {
	kind  expr.Kind
	scale uint8
	width uint8 // 0: variable length
	at    int   // offset in the row, or number
}

// layoutOf returns the prepared layout of s, or a fresh one if nobody has prepared s or its columns were replaced since.
func layoutOf(s *Schema) *layout {
	if l := s.prepared; l != nil && len(l.columns) == len(s.Columns) && len(s.Columns) > 0 && &l.columns[0] == &s.Columns[0] {
		return l
	}
	return newLayout(s)
}

func newLayout(s *Schema) *layout {
	l := &layout{columns: s.Columns, header: binary.AppendUvarint([]byte{rowFormat}, uint64(s.Version))}
	l.bitmap = len(l.header)
	l.fixed = l.bitmap + (len(s.Columns)+7)/8
	at := l.fixed
	for i, c := range s.Columns {
		sl := slot{kind: c.Type.Kind, scale: c.Type.Scale, width: fixedWidth(c.Type)}
		if sl.width == 0 {
			sl.at = l.vars
			l.vars++
		} else {
			sl.at = at
			at += int(sl.width)
		}
		if c.Type.Kind == expr.List {
			l.lists = append(l.lists, i)
		}
		l.slots = append(l.slots, sl)
	}
	l.ends = at
	l.variable = at + 4*l.vars
	return l
}

// fixedWidth returns the bytes that a value of t takes in the fixed-width area, 0 for types of variable length.
func fixedWidth(t expr.Type) uint8 {
	switch t.Kind {
	case expr.Bool:
		return 1
	case expr.SmallInt:
		return 2
	case expr.Integer, expr.Real, expr.Date:
		return 4
	case expr.BigInt, expr.Double, expr.Time, expr.Timestamp, expr.TimestampTZ:
		return 8
	case expr.Decimal:
		if t.Precision <= 18 {
			return 8
		}
		return 16
	case expr.UUID:
		return 16
	default: // Text, JSON, Blob, List
		return 0
	}
}
