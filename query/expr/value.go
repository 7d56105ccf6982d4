package expr

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

// Kind returns the value's kind, Null for NULL.
func (v Value) Kind() Kind { return v.kind }

// IsNull reports whether v is NULL.
func (v Value) IsNull() bool { return v.kind == Null }
