package datafile

import (
	"encoding/binary"

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

// Batch collects rows column by column. It is not safe for concurrent use.
type Batch struct {
	layout  *Layout
	columns [][]parquet.Value
	rows    int
	arena   arena
}

// NewBatch returns an empty batch with room for rows rows.
func (l *Layout) NewBatch(rows int) *Batch {
	n := len(l.columns) + systemColumns
	b := &Batch{layout: l, columns: make([][]parquet.Value, n)}
	values := make([]parquet.Value, n*rows)
	for i := range b.columns {
		b.columns[i] = values[i*rows : i*rows : (i+1)*rows]
	}
	return b
}

// Rows returns the number of rows in the batch.
func (b *Batch) Rows() int { return b.rows }

// Bytes returns the bytes of variable-length values that the batch holds.
func (b *Batch) Bytes() int { return b.arena.bytes }

// Reset empties the batch for use again.
func (b *Batch) Reset() {
	for i := range b.columns {
		b.columns[i] = b.columns[i][:0]
	}
	b.rows = 0
	b.arena.reset()
}

// Append adds one change. row is the new row, or for a delete one with the old key columns; nothing of it is kept.
func (b *Batch) Append(m Meta, row expr.Row) {
	b.rows++
	deleted := m.Op == materializer.RowDeleted
	for i := range b.layout.columns {
		c := &b.layout.columns[i]
		switch {
		case deleted && !c.key:
			b.columns[i] = append(b.columns[i], parquet.Value{})
		case c.typ.Kind == expr.List:
			b.appendList(i, c.leaf, &c.typ, row.Column(i), 0, 0, 0)
		default:
			b.appendScalar(i, c, row.Column(i))
		}
	}
	b.appendMeta(m)
}

// appendScalar adds a value that is no list. Level is left out where it would only set zeros and the column index, which a
// ColumnWriter does not look at: it costs as much as the rest.
func (b *Batch) appendScalar(leaf int, c *column, v expr.Value) {
	if v.IsNull() {
		b.columns[leaf] = append(b.columns[leaf], parquet.Value{})
		return
	}
	p := b.value(c.leaf, &c.typ, v)
	if !c.required {
		p.SetDefinitionLevel(1)
	}
	b.columns[leaf] = append(b.columns[leaf], p)
}

func (b *Batch) appendMeta(m Meta) {
	system := b.columns[len(b.layout.columns):]
	system[partitionPlace] = append(system[partitionPlace], parquet.Int32Value(int32(m.Partition)))
	system[offsetPlace] = append(system[offsetPlace], parquet.Int64Value(int64(m.Offset)))
	system[timestampPlace] = append(system[timestampPlace], parquet.Int64Value(m.Timestamp))
	system[opPlace] = append(system[opPlace], b.layout.ops[m.Op])
	var previous parquet.Value
	if m.HasPrevious {
		previous = parquet.Int64Value(int64(m.Previous))
		previous.SetDefinitionLevel(1)
	}
	system[previousPlace] = append(system[previousPlace], previous)
}

// appendList writes v, of type t, at definition level def if it is NULL. repetition is the level of its first value, depth that of the
// list it is an element of. Each list adds two definition levels (present, not empty), each value one more.
func (b *Batch) appendList(leaf int, lt leafType, t *expr.Type, v expr.Value, repetition, depth, def int) {
	if v.IsNull() {
		b.pushAt(leaf, parquet.Value{}, repetition, def)
		return
	}
	if t.Kind != expr.List {
		b.pushAt(leaf, b.value(lt, t, v), repetition, def+1)
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

// value returns a leaf value, with its bytes in the arena.
func (b *Batch) value(lt leafType, t *expr.Type, v expr.Value) parquet.Value {
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
		return parquet.ByteArrayValue(b.arena.copyString(v.Str()))
	case leafUUID:
		u := v.UUIDBytes()
		return parquet.FixedLenByteArrayValue(b.arena.copyBytes(u[:]))
	}
	return b.decimal(lt, t, v)
}

func (b *Batch) decimal(lt leafType, t *expr.Type, v expr.Value) parquet.Value {
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
		return parquet.FixedLenByteArrayValue(b.arena.copyBytes(buf[16-decimalBytes(t.Precision):]))
	}
}

// arena holds the bytes of a batch's values in blocks that are used again, so that values need neither an allocation each
// nor the log records they came from.
type arena struct {
	block []byte // free part of the current block
	first []byte // kept over resets
	bytes int
}

const arenaBlock = 64 << 10

func (a *arena) alloc(n int) []byte {
	a.bytes += n
	if n > arenaBlock/4 {
		return make([]byte, n)
	}
	if n > len(a.block) {
		a.block = make([]byte, arenaBlock)
		if a.first == nil {
			a.first = a.block
		}
	}
	p := a.block[:n:n]
	a.block = a.block[n:]
	return p
}

func (a *arena) copyString(s string) []byte {
	p := a.alloc(len(s))
	copy(p, s)
	return p
}

func (a *arena) copyBytes(s []byte) []byte {
	p := a.alloc(len(s))
	copy(p, s)
	return p
}

func (a *arena) reset() {
	a.block, a.bytes = a.first, 0
}
