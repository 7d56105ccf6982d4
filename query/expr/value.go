package expr

import (
	"encoding/binary"
	"math"
)

// Value is one SQL value of any type, NULL included. Values are immutable and cheap to copy (no allocation for
// scalars). The zero Value is NULL.
//
// Representation by kind:
//
//	Bool                 lo = 0 or 1
//	SmallInt … BigInt    int64(lo)
//	Real, Double         math.Float64frombits(lo)  (a Real holds a float32's value exactly)
//	Decimal              two's complement 128-bit hi:lo, unscaled; scale beside it
//	Text, JSON, Blob     str
//	Date                 int64(lo) days since 1970-01-01
//	Time                 int64(lo) microseconds since midnight
//	Timestamp, ...TZ     int64(lo) microseconds since 1970-01-01 00:00 (UTC for TZ)
//	UUID                 hi:lo big endian
//	List                 list
type Value struct {
	kind  Kind
	scale uint8
	lo    uint64
	hi    uint64
	str   string
	list  *[]Value
}

// Infinities of dates and timestamps, as DuckDB stores them.
const (
	infinityDate      = math.MaxInt32
	infinityTimestamp = math.MaxInt64
)

// BoolOf returns a BOOLEAN.
func BoolOf(b bool) Value {
	if b {
		return Value{kind: Bool, lo: 1}
	}
	return Value{kind: Bool}
}

// IntOf returns a value of an integer kind or of Date, Time, Timestamp or TimestampTZ. The caller vouches that i
// lies in the kind's range.
func IntOf(k Kind, i int64) Value {
	switch k {
	case SmallInt, Integer, BigInt, Date, Time, Timestamp, TimestampTZ, tinyInt:
		return Value{kind: k, lo: uint64(i)}
	}
	panic("expr: IntOf of " + k.String())
}

// FloatOf returns a Real or Double; a Real is rounded to float32.
func FloatOf(k Kind, f float64) Value {
	switch k {
	case Real:
		return Value{kind: Real, lo: math.Float64bits(float64(float32(f)))}
	case Double:
		return Value{kind: Double, lo: math.Float64bits(f)}
	}
	panic("expr: FloatOf of " + k.String())
}

// DecimalOf returns the decimal hi:lo (two's complement, unscaled) with scale digits after the point.
func DecimalOf(hi, lo uint64, scale uint8) Value {
	return Value{kind: Decimal, hi: hi, lo: lo, scale: scale}
}

func decimalOf(u int128, scale uint8) Value {
	return Value{kind: Decimal, hi: uint64(u.hi), lo: u.lo, scale: scale}
}

func hugeOf(u int128) Value { return Value{kind: hugeInt, hi: uint64(u.hi), lo: u.lo} }

// TextOf returns a TEXT.
func TextOf(s string) Value { return Value{kind: Text, str: s} }

// JSONOf returns a JSON; s must be valid JSON.
func JSONOf(s string) Value { return Value{kind: JSON, str: s} }

// BlobOf returns a BLOB with a copy of b.
func BlobOf(b []byte) Value { return Value{kind: Blob, str: string(b)} }

// UUIDOf returns a UUID.
func UUIDOf(u [16]byte) Value {
	return Value{kind: UUID, hi: binary.BigEndian.Uint64(u[:8]), lo: binary.BigEndian.Uint64(u[8:])}
}

// ListOf returns a list of vs, which must all be of one type or NULL. It keeps vs: do not change it afterwards.
func ListOf(vs []Value) Value { return Value{kind: List, list: &vs} }

// Kind returns the value's kind, Null for NULL.
func (v Value) Kind() Kind { return v.kind }

// IsNull reports whether v is NULL.
func (v Value) IsNull() bool { return v.kind == Null }

func (v Value) wrong(want string) string {
	return "expr: " + want + " of a value of kind " + v.kind.String()
}

// Bool returns a BOOLEAN. This and the other accessors panic on another kind, which is a bug of the caller.
func (v Value) Bool() bool {
	if v.kind != Bool {
		panic(v.wrong("Bool"))
	}
	return v.lo != 0
}

// Int returns an integer kind's value, or the days or microseconds of a date or time kind.
func (v Value) Int() int64 {
	switch v.kind {
	case SmallInt, Integer, BigInt, Date, Time, Timestamp, TimestampTZ, tinyInt:
		return int64(v.lo)
	}
	panic(v.wrong("Int"))
}

// Float returns a Real's or Double's value.
func (v Value) Float() float64 {
	if v.kind != Real && v.kind != Double {
		panic(v.wrong("Float"))
	}
	return math.Float64frombits(v.lo)
}

// DecimalParts returns a decimal's unscaled two's complement value and its scale.
func (v Value) DecimalParts() (hi, lo uint64, scale uint8) {
	if v.kind != Decimal {
		panic(v.wrong("DecimalParts"))
	}
	return v.hi, v.lo, v.scale
}

// Str returns the text of a Text or JSON, or the bytes of a Blob.
func (v Value) Str() string {
	switch v.kind {
	case Text, JSON, Blob:
		return v.str
	}
	panic(v.wrong("Str"))
}

// UUIDBytes returns a UUID's bytes.
func (v Value) UUIDBytes() [16]byte {
	if v.kind != UUID {
		panic(v.wrong("UUIDBytes"))
	}
	var u [16]byte
	binary.BigEndian.PutUint64(u[:8], v.hi)
	binary.BigEndian.PutUint64(u[8:], v.lo)
	return u
}

// List returns a list's elements, which must not be changed.
func (v Value) List() []Value {
	if v.kind != List {
		panic(v.wrong("List"))
	}
	return *v.list
}

// int128 returns the unscaled value of a Decimal or the value of a hugeInt.
func (v Value) int128() int128 { return int128{hi: int64(v.hi), lo: v.lo} }

func (v Value) float() float64 { return math.Float64frombits(v.lo) }

// String returns the text that CAST(v AS TEXT) gives, "NULL" for NULL.
func (v Value) String() string { return string(appendText(nil, v)) }

// Size returns the approximate bytes of memory that v holds.
func (v Value) Size() int {
	n := 48 + len(v.str)
	if v.list != nil {
		n += 24
		for _, e := range *v.list {
			n += e.Size()
		}
	}
	return n
}

// Compare orders two values of one type as ORDER BY ASC does: NULL last, NaN greatest, text and blobs bytewise. It
// also orders decimals of different scales. It returns -1, 0 or 1.
func Compare(a, b Value) int {
	switch {
	case a.kind == Null || b.kind == Null:
		return compareNulls(a, b)
	case a.kind != b.kind:
		panic(b.wrong("Compare with " + a.kind.String()))
	}
	return compareSame(a, b)
}

func compareNulls(a, b Value) int {
	if a.kind == b.kind {
		return 0
	}
	if a.kind == Null {
		return 1
	}
	return -1
}

// compareSame orders two values of the same kind, neither NULL.
func compareSame(a, b Value) int {
	switch a.kind {
	case Text, Blob, JSON:
		return compareString(a.str, b.str)
	case Real, Double:
		return compareFloat(a.float(), b.float())
	case Decimal:
		return compareDecimal(a, b)
	case hugeInt:
		return a.int128().cmp(b.int128())
	case UUID:
		return compareUUID(a, b)
	case List:
		return compareList(*a.list, *b.list)
	}
	return compareInt(int64(a.lo), int64(b.lo))
}

func compareInt(a, b int64) int {
	if a < b {
		return -1
	}
	if a > b {
		return 1
	}
	return 0
}

func compareString(a, b string) int {
	if a == b {
		return 0
	}
	if a < b {
		return -1
	}
	return 1
}

// compareFloat orders NaN after all numbers and equal to itself; -0 equals 0.
func compareFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	case a == b:
		return 0
	case a == a: // b is NaN
		return -1
	case b == b: // a is NaN
		return 1
	}
	return 0
}

func compareUUID(a, b Value) int {
	switch {
	case a.hi < b.hi:
		return -1
	case a.hi > b.hi:
		return 1
	case a.lo < b.lo:
		return -1
	case a.lo > b.lo:
		return 1
	}
	return 0
}

// compareList orders by the first differing element, then by length. A NULL element is the greatest.
func compareList(a, b []Value) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if c := Compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return compareInt(int64(len(a)), int64(len(b)))
}
