package datafile

import (
	"bytes"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// wideDecimal is a DECIMAL in a FIXED_LEN_BYTE_ARRAY. Its order is that of signed numbers. parquet-go's own type orders the bytes as
// unsigned: its statistics have every negative number above the positive ones, and readers then skip row groups that hold
// what they look for.
type wideDecimal struct{ parquet.Type }

func (wideDecimal) Compare(a, b parquet.Value) int {
	return compareSigned(a.ByteArray(), b.ByteArray())
}

func (t wideDecimal) NewColumnBuffer(column, values int) parquet.ColumnBuffer {
	return wideBuffer{t.Type.NewColumnBuffer(column, values)}
}

func (wideDecimal) NewColumnIndexer(int) parquet.ColumnIndexer { return &wideIndexer{} }

// compareSigned compares big-endian two's complement numbers of the same length.
func compareSigned(a, b []byte) int {
	if len(a) == 0 || len(b) == 0 || a[0]^b[0] < 0x80 {
		return bytes.Compare(a, b)
	}
	if a[0] >= 0x80 {
		return -1
	}
	return 1
}

type wideBuffer struct{ parquet.ColumnBuffer }

func (b wideBuffer) Page() parquet.Page { return widePage{b.ColumnBuffer.Page()} }

// widePage is a page of values, none of them NULL.
type widePage struct{ parquet.Page }

func (p widePage) Bounds() (least, greatest parquet.Value, ok bool) {
	values := p.Data()
	data, width := values.FixedLenByteArray()
	for i := 0; i+width <= len(data); i += width {
		v := data[i : i+width]
		if !ok || compareSigned(v, least.ByteArray()) < 0 {
			least = parquet.FixedLenByteArrayValue(v)
		}
		if !ok || compareSigned(v, greatest.ByteArray()) > 0 {
			greatest = parquet.FixedLenByteArrayValue(v)
		}
		ok = true
	}
	return least, greatest, ok
}

// wideIndexer makes the column index.
type wideIndexer struct{ index format.ColumnIndex }

func (x *wideIndexer) Reset() { x.index = format.ColumnIndex{} }

func (x *wideIndexer) IndexPage(values, nulls int64, least, greatest parquet.Value) {
	x.index.NullPages = append(x.index.NullPages, values == nulls)
	x.index.NullCounts = append(x.index.NullCounts, nulls)
	x.index.MinValues = append(x.index.MinValues, bytes.Clone(least.ByteArray()))
	x.index.MaxValues = append(x.index.MaxValues, bytes.Clone(greatest.ByteArray()))
}

func (x *wideIndexer) ColumnIndex() format.ColumnIndex {
	x.index.BoundaryOrder = format.Unordered
	return x.index
}
