package duck

import (
	"encoding/binary"
	"math/bits"
	"unsafe"

	capi "github.com/duckdb/duckdb-go-bindings"

	"kalamlog.dev/kalam/query/expr"
)

// reader turns the elements of one column's vectors into values. Its functions follow the memory layout that
// DuckDB's C API documents for each logical type.
type reader struct {
	name     string // SQL name of the type
	data     unsafe.Pointer
	validity unsafe.Pointer
	decode   func(row int) expr.Value
	attach   func(v capi.Vector)
}

// load points the reader at a vector.
func (r *reader) load(v capi.Vector) {
	r.data = capi.VectorGetData(v)
	r.validity = capi.VectorGetValidity(v)
	if r.attach != nil {
		r.attach(v)
	}
}

func (r *reader) valid(row int) bool {
	if r.validity == nil {
		return true
	}
	word := *at[uint64](r.validity, row/64)
	return word&(1<<(row%64)) != 0
}

func (r *reader) value(row int) expr.Value {
	if !r.valid(row) {
		return expr.Value{}
	}
	return r.decode(row)
}

// at returns element i of an array of T.
func at[T any](p unsafe.Pointer, i int) *T {
	var zero T
	return (*T)(unsafe.Add(p, uintptr(i)*unsafe.Sizeof(zero)))
}

// newReader returns a reader for columns of type t.
func newReader(t capi.LogicalType) *reader {
	r := &reader{}
	switch id := capi.GetTypeId(t); id {
	case capi.TypeDecimal:
		r.decimal(t)
	case capi.TypeEnum:
		r.enum(t)
	case capi.TypeList:
		r.list(t)
	case capi.TypeArray:
		r.array(t)
	case capi.TypeStruct:
		r.structure(t)
	case capi.TypeMap:
		r.mapping(t)
	case capi.TypeUnion:
		r.union(t)
	case capi.TypeVarchar:
		r.text(capi.LogicalTypeGetAlias(t) == "JSON")
	default:
		r.scalar(id)
	}
	return r
}

// scalar sets up the types without parameters.
func (r *reader) scalar(id capi.Type) {
	switch id {
	case capi.TypeBoolean:
		r.name = "BOOLEAN"
		r.decode = func(row int) expr.Value { return expr.BoolOf(*at[uint8](r.data, row) != 0) }
	case capi.TypeTinyInt:
		integers[int8](r, "TINYINT", expr.SmallInt)
	case capi.TypeSmallInt:
		integers[int16](r, "SMALLINT", expr.SmallInt)
	case capi.TypeInteger:
		integers[int32](r, "INTEGER", expr.Integer)
	case capi.TypeBigInt:
		integers[int64](r, "BIGINT", expr.BigInt)
	case capi.TypeUTinyInt:
		integers[uint8](r, "UTINYINT", expr.SmallInt)
	case capi.TypeUSmallInt:
		integers[uint16](r, "USMALLINT", expr.Integer)
	case capi.TypeUInteger:
		integers[uint32](r, "UINTEGER", expr.BigInt)
	case capi.TypeDate:
		integers[int32](r, "DATE", expr.Date)
	case capi.TypeTime:
		integers[int64](r, "TIME", expr.Time)
	case capi.TypeTimestamp:
		integers[int64](r, "TIMESTAMP", expr.Timestamp)
	case capi.TypeTimestampTZ:
		integers[int64](r, "TIMESTAMPTZ", expr.TimestampTZ)
	default:
		r.wide(id)
	}
}

type integer interface {
	int8 | int16 | int32 | int64 | uint8 | uint16 | uint32
}

func integers[T integer](r *reader, name string, k expr.Kind) {
	r.name = name
	r.decode = func(row int) expr.Value { return expr.IntOf(k, int64(*at[T](r.data, row))) }
}

// wide sets up floats, 64-bit and 128-bit numbers and other types of fixed size.
func (r *reader) wide(id capi.Type) {
	switch id {
	case capi.TypeFloat:
		r.name = "REAL"
		r.decode = func(row int) expr.Value { return expr.FloatOf(expr.Real, float64(*at[float32](r.data, row))) }
	case capi.TypeDouble:
		r.name = "DOUBLE"
		r.decode = func(row int) expr.Value { return expr.FloatOf(expr.Double, *at[float64](r.data, row)) }
	case capi.TypeUBigInt:
		r.name = "UBIGINT"
		r.decode = func(row int) expr.Value { return hugeValue(0, *at[uint64](r.data, row)) }
	case capi.TypeHugeInt:
		r.name = "HUGEINT"
		r.decode = func(row int) expr.Value {
			w := at[[2]uint64](r.data, row)
			return hugeValue(int64(w[1]), w[0])
		}
	case capi.TypeUHugeInt:
		r.name = "UHUGEINT"
		r.decode = func(row int) expr.Value { return unsignedHuge(at[[2]uint64](r.data, row)) }
	case capi.TypeUUID:
		r.name = "UUID"
		r.decode = func(row int) expr.Value { return uuidValue(at[[2]uint64](r.data, row)) }
	case capi.TypeTimestampS, capi.TypeTimestampMS, capi.TypeTimestampNS:
		r.timestamp(id)
	default:
		r.rare(id)
	}
}

// hugeValue returns a 128-bit integer as a BIGINT if it fits, else as a DECIMAL(38,0), else as text.
func hugeValue(hi int64, lo uint64) expr.Value {
	if hi == int64(lo)>>63 {
		return expr.IntOf(expr.BigInt, int64(lo))
	}
	mhi, mlo := uint64(hi), lo
	if hi < 0 {
		var borrow uint64
		mlo, borrow = bits.Sub64(0, lo, 0)
		mhi, _ = bits.Sub64(0, uint64(hi), borrow)
	}
	const limitHi, limitLo = 5421010862427522170, 687399551400673280 // 10^38
	if mhi < limitHi || mhi == limitHi && mlo < limitLo {
		return expr.DecimalOf(uint64(hi), lo, 0)
	}
	return expr.TextOf(bigText(hi < 0, mhi, mlo))
}

func unsignedHuge(w *[2]uint64) expr.Value {
	if w[1]>>63 == 0 {
		return hugeValue(int64(w[1]), w[0])
	}
	return expr.TextOf(bigText(false, w[1], w[0]))
}

// uuidValue reads a UUID, which DuckDB stores as a HUGEINT with the highest bit flipped so that it sorts.
func uuidValue(w *[2]uint64) expr.Value {
	var u [16]byte
	binary.BigEndian.PutUint64(u[:8], w[1]^(1<<63))
	binary.BigEndian.PutUint64(u[8:], w[0])
	return expr.UUIDOf(u)
}

// decimal sets up DECIMAL, stored in the smallest integer that holds its digits.
func (r *reader) decimal(t capi.LogicalType) {
	width, scale := capi.DecimalWidth(t), capi.DecimalScale(t)
	r.name = expr.Type{Kind: expr.Decimal, Precision: width, Scale: scale}.String()
	load := func(row int) int64 { return *at[int64](r.data, row) }
	switch {
	case width <= 4:
		load = func(row int) int64 { return int64(*at[int16](r.data, row)) }
	case width <= 9:
		load = func(row int) int64 { return int64(*at[int32](r.data, row)) }
	case width > 18:
		r.decode = func(row int) expr.Value {
			w := at[[2]uint64](r.data, row)
			return expr.DecimalOf(w[1], w[0], scale)
		}
		return
	}
	r.decode = func(row int) expr.Value {
		i := load(row)
		return expr.DecimalOf(uint64(i>>63), uint64(i), scale)
	}
}

// text sets up VARCHAR, which is also JSON's storage.
func (r *reader) text(isJSON bool) {
	if isJSON {
		r.name = "JSON"
		r.decode = func(row int) expr.Value { return expr.JSONOf(string(bytesAt(r.data, row))) }
		return
	}
	r.name = "TEXT"
	r.decode = func(row int) expr.Value { return expr.TextOf(string(bytesAt(r.data, row))) }
}

// bytesAt returns the bytes of element row of a string or blob vector, valid while its chunk is: a 4-byte length,
// then up to 12 bytes inline, or 4 bytes of prefix and a pointer.
func bytesAt(data unsafe.Pointer, row int) []byte {
	const size, inline = 16, 12
	p := unsafe.Add(data, uintptr(row)*size)
	n := int(*(*uint32)(p))
	if n <= inline {
		return unsafe.Slice((*byte)(unsafe.Add(p, 4)), n)
	}
	return unsafe.Slice(*(**byte)(unsafe.Add(p, 8)), n)
}
