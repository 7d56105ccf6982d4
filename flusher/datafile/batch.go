package datafile

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"github.com/parquet-go/parquet-go"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// Meta is what a file's system columns say of one change.
type Meta struct {
	Op          materializer.ChangeOp
	Partition   log.PartitionID
	Offset      log.Offset
	Timestamp   int64 // microseconds UTC
	Previous    log.Offset
	HasPrevious bool
}

// Batch holds rows column by column on their way into a file. It is not safe for concurrent use.
type Batch struct {
	layout  *Layout
	columns [][]parquet.Value
	rows    int
	arena   arena
}

// NewBatch returns an empty batch.
func (l *Layout) NewBatch() *Batch {
	return &Batch{layout: l, columns: make([][]parquet.Value, len(l.columns)+systemColumns)}
}

// Rows returns the number of rows in the batch.
func (b *Batch) Rows() int { return b.rows }

// Reset empties the batch for use again.
func (b *Batch) Reset() {
	for i := range b.columns {
		clear(b.columns[i])
		b.columns[i] = b.columns[i][:0]
	}
	b.rows = 0
	b.arena.reset()
}

// Append adds changes. rows[i] is the new row of metas[i], or for a delete one with the old key columns. The batch may share the memory of
// texts with the rows until it is Reset.
//
// It goes column by column: what to do with a value is decided once for many rows, and one column's values stay in the cache.
func (b *Batch) Append(metas []Meta, rows []materializer.Row) {
	for i := range b.layout.columns {
		c := &b.layout.columns[i]
		if c.typ.Kind == expr.List {
			b.appendLists(i, c, metas, rows)
		} else {
			b.appendScalars(i, c, metas, rows)
		}
	}
	b.appendMetas(metas)
	b.rows += len(rows)
}

// appendScalars adds values that are no lists. Only the definition level is set: the other levels are 0, and a ColumnWriter does not look
// at the column index.
func (b *Batch) appendScalars(i int, c *column, metas []Meta, rows []materializer.Row) {
	level := 1
	if c.required {
		level = 0
	}
	out := b.extend(i, len(rows))
	for j := range rows {
		if metas[j].Op == materializer.RowDeleted && !c.key {
			out[j] = parquet.Value{}
			continue
		}
		v := rows[j].Column(i)
		if v.IsNull() {
			out[j] = parquet.Value{}
			continue
		}
		switch c.leaf {
		case leafInt32:
			out[j] = parquet.Int32Value(int32(v.Int()))
		case leafInt64:
			out[j] = parquet.Int64Value(v.Int())
		default:
			out[j] = b.value(c.leaf, &c.typ, &v)
		}
		out[j].SetDefinitionLevel(level)
	}
}

// extend adds n values to column i for the caller to set.
func (b *Batch) extend(i, n int) []parquet.Value {
	old := len(b.columns[i])
	b.columns[i] = slices.Grow(b.columns[i], n)[:old+n]
	return b.columns[i][old:]
}

func (b *Batch) appendLists(i int, c *column, metas []Meta, rows []materializer.Row) {
	for j := range rows {
		var v expr.Value
		if metas[j].Op != materializer.RowDeleted {
			v = rows[j].Column(i)
		}
		b.appendList(i, c.leaf, &c.typ, v, 0, 0, 0)
	}
}

func (b *Batch) appendMetas(metas []Meta) {
	n, first := len(metas), len(b.layout.columns)
	partitions, offsets, timestamps := b.extend(first+partitionPlace, n), b.extend(first+offsetPlace, n), b.extend(first+timestampPlace, n)
	ops, previous := b.extend(first+opPlace, n), b.extend(first+previousPlace, n)
	for j := range metas {
		m := &metas[j]
		partitions[j] = parquet.Int32Value(int32(m.Partition))
		offsets[j] = parquet.Int64Value(int64(m.Offset))
		timestamps[j] = parquet.Int64Value(m.Timestamp)
		ops[j] = b.layout.ops[m.Op]
		if m.HasPrevious {
			previous[j] = parquet.Int64Value(int64(m.Previous))
			previous[j].SetDefinitionLevel(1)
		} else {
			previous[j] = parquet.Value{}
		}
	}
}

// appendList writes v, of type t, at definition level def if it is NULL. repetition is the level of its first value, depth that of the
// list it is an element of. Each list adds two definition levels (present, not empty), each value one more.
func (b *Batch) appendList(leaf int, lt leafType, t *expr.Type, v expr.Value, repetition, depth, def int) {
	if v.IsNull() {
		b.pushAt(leaf, parquet.Value{}, repetition, def)
		return
	}
	if t.Kind != expr.List {
		b.pushAt(leaf, b.value(lt, t, &v), repetition, def+1)
		return
	}
	elements := v.List()
	if len(elements) == 0 {
		b.pushAt(leaf, parquet.Value{}, repetition, def+1)
		return
	}
	for i, e := range elements {
		if i > 0 {
			repetition = depth + 1
		}
		b.appendList(leaf, lt, t.Elem, e, repetition, depth+1, def+2)
	}
}

func (b *Batch) pushAt(leaf int, v parquet.Value, repetition, definition int) {
	b.columns[leaf] = append(b.columns[leaf], v.Level(repetition, definition, leaf))
}

// value returns a leaf value. Its bytes are the value's own or in the arena.
func (b *Batch) value(lt leafType, t *expr.Type, v *expr.Value) parquet.Value {
	switch lt {
	case leafBool:
		return parquet.BooleanValue(v.Bool())
	case leafInt32:
		return parquet.Int32Value(int32(v.Int()))
	case leafInt64:
		return parquet.Int64Value(v.Int())
	case leafFloat:
		return parquet.FloatValue(float32(v.Float()))
	case leafDouble:
		return parquet.DoubleValue(v.Float())
	case leafBytes:
		s := v.Str()
		return parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(s), len(s)))
	case leafUUID:
		u := v.UUIDBytes()
		return parquet.FixedLenByteArrayValue(b.arena.keep(u[:]))
	default:
		return b.decimal(lt, t, v)
	}
}

func (b *Batch) decimal(lt leafType, t *expr.Type, v *expr.Value) parquet.Value {
	hi, lo, _ := v.DecimalParts()
	switch lt {
	case leafDecimal32:
		return parquet.Int32Value(int32(lo))
	case leafDecimal64:
		return parquet.Int64Value(int64(lo))
	default:
		var buf [16]byte
		binary.BigEndian.PutUint64(buf[:8], hi)
		binary.BigEndian.PutUint64(buf[8:], lo)
		return parquet.FixedLenByteArrayValue(b.arena.keep(buf[16-decimalBytes(t.Precision):]))
	}
}

// arena holds the bytes of fixed-length values, so that each needs no allocation of its own. Blocks never move: values point into them.
type arena struct {
	free  []byte // of the current block
	first []byte // used again after reset
}

const arenaBlock = 16 << 10

func (a *arena) keep(p []byte) []byte {
	if len(p) > len(a.free) {
		a.free = make([]byte, arenaBlock)
		if a.first == nil {
			a.first = a.free
		}
	}
	q := a.free[:len(p):len(p)]
	copy(q, p)
	a.free = a.free[len(p):]
	return q
}

func (a *arena) reset() { a.free = a.first }
