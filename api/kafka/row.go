package kafka

import (
	"fmt"
	"strconv"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// rowShape is what is the same for every row of a table written as a JSON object: its visible columns and the text before each value. Immutable.
type rowShape struct {
	table  *materializer.Table
	schema *materializer.Schema
	source []byte // the JSON of the table's name
	fields []rowField
}

type rowField struct {
	column int
	prefix []byte // `{"name":` of the first, `,"name":` of the others
}

func newRowShape(t *materializer.Table) *rowShape {
	s := &rowShape{table: t, schema: t.Schema(), source: expr.AppendJSON(nil, expr.TextOf(t.QualifiedName()))}
	for i := range s.schema.Columns {
		c := &s.schema.Columns[i]
		if c.Hidden {
			continue
		}
		before := byte(',')
		if len(s.fields) == 0 {
			before = '{'
		}
		prefix := append(expr.AppendJSON([]byte{before}, expr.TextOf(c.Name)), ':')
		s.fields = append(s.fields, rowField{column: i, prefix: prefix})
	}
	return s
}

// appendRow appends an encoded row as a JSON object of the visible columns, null if there is no row.
func (s *rowShape) appendRow(dst, raw []byte) ([]byte, error) {
	if raw == nil {
		return append(dst, "null"...), nil
	}
	row, err := s.table.DecodeRow(raw)
	if err != nil {
		return dst, fmt.Errorf("decode row of %s: %w", s.table.QualifiedName(), err)
	}
	if len(s.fields) == 0 {
		dst = append(dst, '{')
	}
	for i := range s.fields {
		f := &s.fields[i]
		dst = append(dst, f.prefix...)
		dst = expr.AppendJSON(dst, row.Column(f.column))
	}
	return append(dst, '}'), nil
}

// appendKey appends an encoded key: one column as its JSON value, several as an array. Nothing is appended for a stream's row without key.
func (s *rowShape) appendKey(dst, key []byte) ([]byte, error) {
	if len(key) == 0 {
		return dst, nil
	}
	values, err := materializer.DecodeKey(s.schema, key)
	if err != nil {
		return dst, fmt.Errorf("decode key of %s: %w", s.table.QualifiedName(), err)
	}
	if len(values) == 1 {
		return expr.AppendJSON(dst, values[0]), nil
	}
	dst = append(dst, '[')
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = expr.AppendJSON(dst, v)
	}
	return append(dst, ']'), nil
}

// appendEnvelope appends the whole change, as the topic of changes carries it.
func (s *rowShape) appendEnvelope(dst []byte, c *materializer.Change) ([]byte, error) {
	dst, err := s.appendRow(append(dst, `{"before":`...), c.Old)
	if err != nil {
		return dst, err
	}
	if dst, err = s.appendRow(append(dst, `,"after":`...), c.New); err != nil {
		return dst, err
	}
	dst = append(append(dst, `,"op":"`...), opLetter(c.Op))
	dst = append(append(dst, `","source":{"table":`...), s.source...)
	dst = strconv.AppendUint(append(dst, `,"partition":`...), uint64(c.Partition.ID), 10)
	dst = strconv.AppendUint(append(dst, `,"offset":`...), uint64(c.Offset), 10)
	dst = append(append(dst, `,"position":"`...), changePosition(c).String()...)
	dst = strconv.AppendUint(append(dst, `","schema_version":`...), uint64(c.Schema), 10)
	dst = strconv.AppendInt(append(dst, `},"ts_us":`...), c.Timestamp, 10)
	return append(dst, '}'), nil
}

// opLetter is the envelope's name for an operation.
func opLetter(op materializer.ChangeOp) byte {
	switch op {
	case materializer.RowInserted:
		return 'c'
	case materializer.RowDeleted:
		return 'd'
	case materializer.RowUpdated:
	}
	return 'u'
}

// changeGroup is the Raft group that every partition lives in.
const changeGroup log.GroupID = 1

// changePosition is a position that covers the change.
func changePosition(c *materializer.Change) log.Position {
	return log.PositionOf(log.Part{Group: changeGroup, Index: c.Index})
}

// recordEncoder turns changes into a record's key and value, in buffers that it reuses. Not safe for concurrent use.
type recordEncoder struct {
	key, value []byte
}

// encode returns the key and value of a record, each nil for null and valid until the next call.
func (e *recordEncoder) encode(t *topic, c *materializer.Change) (key, value []byte, err error) {
	if e.key, err = t.rows.appendKey(e.key[:0], c.Key); err != nil {
		return nil, nil, err
	}
	switch {
	case t.changes:
		e.value, err = t.rows.appendEnvelope(e.value[:0], c)
	case c.New == nil:
		return present(e.key), nil, nil
	default:
		e.value, err = t.rows.appendRow(e.value[:0], c.New)
	}
	return present(e.key), e.value, err
}

// present is b, or nil if it is empty: no key or value in JSON is.
func present(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}
