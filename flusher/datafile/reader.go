package datafile

import (
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/parquet-go/parquet-go"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// Row is one change as it lies in a file. Values has the table's columns in the layout's order.
type Row struct {
	Meta
	Values []expr.Value
}

// Reader reads a file's rows. It is not safe for concurrent use.
type Reader struct {
	layout *Layout
	file   *parquet.File
}

// NewReader reads the footer of a file that was written with l. It refuses a file of other columns.
func NewReader(l *Layout, r io.ReaderAt, size int64) (*Reader, error) {
	f, err := parquet.OpenFile(r, size, parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true))
	if err != nil {
		return nil, fmt.Errorf("read Parquet footer: %w", err)
	}
	want, got := l.parquet.Fields(), f.Schema().Fields()
	if len(want) != len(got) {
		return nil, fmt.Errorf("read Parquet footer: %d columns instead of %d", len(got), len(want))
	}
	for i, w := range want {
		if w.Name() != got[i].Name() || w.ID() != got[i].ID() {
			return nil, fmt.Errorf("read Parquet footer: column %q (id %d) instead of %q (id %d)", got[i].Name(), got[i].ID(), w.Name(), w.ID())
		}
	}
	return &Reader{layout: l, file: f}, nil
}

// readRows is how many rows are decoded at a time.
const readRows = 256

// Rows gives the rows of partition p in offset order. A row stays valid.
func (r *Reader) Rows(p log.PartitionID) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for _, group := range r.file.RowGroups() {
			first, end, err := r.extent(group, p)
			if err != nil {
				yield(Row{}, err)
				return
			}
			if first < end && !r.groupRows(group, first, end, yield) {
				return
			}
		}
	}
}

// groupRows yields the rows [first, end) of a row group and reports whether to go on.
func (r *Reader) groupRows(group parquet.RowGroup, first, end int64, yield func(Row, error) bool) bool {
	rows := group.Rows()
	defer rows.Close()
	if err := rows.SeekToRow(first); err != nil {
		yield(Row{}, fmt.Errorf("read Parquet rows: %w", err))
		return false
	}
	buf := make([]parquet.Row, readRows)
	for first < end {
		n, err := rows.ReadRows(buf[:min(int64(len(buf)), end-first)])
		if n == 0 {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			yield(Row{}, fmt.Errorf("read Parquet rows: %w", err))
			return false
		}
		for _, raw := range buf[:n] {
			row, err := r.layout.decode(raw)
			if !yield(row, err) || err != nil {
				return false
			}
		}
		first += int64(n)
	}
	return true
}

// extent returns the range of rows of partition p in a row group; rows are ordered by partition.
func (r *Reader) extent(group parquet.RowGroup, p log.PartitionID) (first, end int64, err error) {
	pages := group.ColumnChunks()[r.layout.system(partitionPlace)].Pages()
	defer pages.Close()
	first, end = group.NumRows(), 0
	for row := int64(0); ; {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return first, end, nil
		}
		if err != nil {
			return 0, 0, fmt.Errorf("read Parquet partitions: %w", err)
		}
		values := make([]parquet.Value, page.NumValues())
		n, err := page.Values().ReadValues(values)
		parquet.Release(page)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, fmt.Errorf("read Parquet partitions: %w", err)
		}
		for _, v := range values[:n] {
			if log.PartitionID(v.Int32()) == p {
				first, end = min(first, row), row+1
			}
			row++
		}
	}
}

// decode turns a Parquet row, whose values lie in column order, into a Row.
func (l *Layout) decode(raw parquet.Row) (Row, error) {
	row := Row{Values: make([]expr.Value, len(l.columns))}
	bad := false
	raw.Range(func(leaf int, values []parquet.Value) bool {
		if len(values) == 0 {
			bad = true
			return false
		}
		if leaf < len(l.columns) {
			row.Values[leaf] = l.columns[leaf].decode(values)
			return true
		}
		bad = !l.decodeMeta(leaf-len(l.columns), values[0], &row.Meta)
		return !bad
	})
	if bad || len(raw) < len(l.columns)+systemColumns {
		return Row{}, errors.New("read Parquet rows: a row lacks columns")
	}
	return row, nil
}

func (l *Layout) decodeMeta(place int, v parquet.Value, m *Meta) bool {
	switch place {
	case partitionPlace:
		m.Partition = log.PartitionID(v.Int32())
	case offsetPlace:
		m.Offset = log.Offset(v.Int64())
	case timestampPlace:
		m.Timestamp = v.Int64()
	case previousPlace:
		m.HasPrevious = !v.IsNull()
		if m.HasPrevious {
			m.Previous = log.Offset(v.Int64())
		}
	case opPlace:
		for op := materializer.RowInserted; op <= materializer.RowDeleted; op++ {
			if string(v.ByteArray()) == string(l.ops[op].ByteArray()) {
				m.Op = op
			}
		}
		return m.Op != 0
	}
	return true
}

func (c *column) decode(values []parquet.Value) expr.Value {
	if c.typ.Kind != expr.List {
		return c.scalar(&c.typ, values[0])
	}
	v, _ := c.list(&c.typ, values, 0, 0)
	return v
}

// list builds the value of type t at definition level def from the front of values and returns the rest of them. depth
// is the number of lists around it.
func (c *column) list(t *expr.Type, values []parquet.Value, depth, def int) (expr.Value, []parquet.Value) {
	first := values[0]
	if first.DefinitionLevel() <= def {
		return expr.Value{}, values[1:]
	}
	if t.Kind != expr.List {
		return c.scalar(t, first), values[1:]
	}
	if first.DefinitionLevel() == def+1 {
		return expr.ListOf([]expr.Value{}), values[1:]
	}
	var elements []expr.Value
	for {
		var e expr.Value
		e, values = c.list(t.Elem, values, depth+1, def+2)
		elements = append(elements, e)
		if len(values) == 0 || values[0].RepetitionLevel() != depth+1 {
			return expr.ListOf(elements), values
		}
	}
}

func (c *column) scalar(t *expr.Type, v parquet.Value) expr.Value {
	if v.IsNull() {
		return expr.Value{}
	}
	switch c.leaf {
	case leafBool:
		return expr.BoolOf(v.Boolean())
	case leafInt32:
		return expr.IntOf(t.Kind, int64(v.Int32()))
	case leafInt64:
		return expr.IntOf(t.Kind, v.Int64())
	case leafFloat:
		return expr.FloatOf(t.Kind, float64(v.Float()))
	case leafDouble:
		return expr.FloatOf(t.Kind, v.Double())
	case leafUUID:
		var u [16]byte
		copy(u[:], v.ByteArray())
		return expr.UUIDOf(u)
	case leafBytes:
		return bytesValue(t.Kind, v.ByteArray())
	case leafDecimal32:
		return smallDecimal(int64(v.Int32()), t.Scale)
	case leafDecimal64:
		return smallDecimal(v.Int64(), t.Scale)
	default:
		return decimalOfBytes(v.ByteArray(), t.Scale)
	}
}

func bytesValue(k expr.Kind, b []byte) expr.Value {
	switch k {
	case expr.JSON:
		return expr.JSONOf(string(b))
	case expr.Blob:
		return expr.BlobOf(b)
	default:
		return expr.TextOf(string(b))
	}
}

func smallDecimal(unscaled int64, scale uint8) expr.Value {
	return expr.DecimalOf(uint64(unscaled>>63), uint64(unscaled), scale)
}

// decimalOfBytes reads a big-endian two's complement number of up to 16 bytes.
func decimalOfBytes(b []byte, scale uint8) expr.Value {
	var hi, lo uint64
	if len(b) > 0 && b[0]&0x80 != 0 {
		hi, lo = ^uint64(0), ^uint64(0)
	}
	for _, c := range b {
		hi, lo = hi<<8|lo>>56, lo<<8|uint64(c)
	}
	return expr.DecimalOf(hi, lo, scale)
}
