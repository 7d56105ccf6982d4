package datafile

import (
	"math"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// nanFloat is a FLOAT or DOUBLE whose upper bounds are NaN where there is one, as SQL orders it: readers ignore such a bound. parquet-go's own types
// leave NaN out of the statistics, and DuckDB then skips row groups whose NaN it looks for.
type nanFloat struct{ parquet.Type }

func (nanFloat) Compare(a, b parquet.Value) int {
	x, y := floatOf(a), floatOf(b)
	switch {
	case x < y || x == x && y != y:
		return -1
	case x > y || x != x && y == y:
		return 1
	}
	return 0
}

func floatOf(v parquet.Value) float64 {
	if v.Kind() == parquet.Float {
		return float64(v.Float())
	}
	return v.Double()
}

func (t nanFloat) NewColumnBuffer(column, values int) parquet.ColumnBuffer {
	return nanBuffer{t.Type.NewColumnBuffer(column, values)}
}

func (t nanFloat) NewColumnIndexer(sizeLimit int) parquet.ColumnIndexer {
	return unordered{t.Type.NewColumnIndexer(sizeLimit)}
}

type nanBuffer struct{ parquet.ColumnBuffer }

func (b nanBuffer) Page() parquet.Page { return nanPage{b.ColumnBuffer.Page()} }

// nanPage is a page of values, none of them NULL.
type nanPage struct{ parquet.Page }

func (p nanPage) Bounds() (least, greatest parquet.Value, ok bool) {
	least, greatest, ok = p.Page.Bounds()
	values := p.Data()
	var nan parquet.Value
	if p.Type().Kind() == parquet.Float {
		if !slices.ContainsFunc(values.Float(), func(f float32) bool { return f != f }) {
			return least, greatest, ok
		}
		nan = parquet.FloatValue(float32(math.NaN()))
	} else {
		if !slices.ContainsFunc(values.Double(), math.IsNaN) {
			return least, greatest, ok
		}
		nan = parquet.DoubleValue(math.NaN())
	}
	if !ok {
		least = nan
	}
	return least, nan, true
}

// unordered keeps a column index from saying that its bounds, NaN among them, are sorted.
type unordered struct{ parquet.ColumnIndexer }

func (x unordered) ColumnIndex() format.ColumnIndex {
	index := x.ColumnIndexer.ColumnIndex()
	index.BoundaryOrder = format.Unordered
	return index
}
