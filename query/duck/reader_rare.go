package duck

import (
	"fmt"
	"math/big"
	"strings"

	capi "github.com/duckdb/duckdb-go-bindings"

	"kalamlog.dev/kalam/query/expr"
)

// rare sets up blobs and the types that Kalam has no column type for: their values are text as DuckDB prints them.
func (r *reader) rare(id capi.Type) {
	switch id {
	case capi.TypeBlob:
		r.name = "BLOB"
		r.decode = func(row int) expr.Value { return expr.BlobOf(bytesAt(r.data, row)) }
	case capi.TypeInterval:
		r.name = "INTERVAL"
		r.decode = func(row int) expr.Value { return expr.TextOf(intervalText(at[interval](r.data, row))) }
	case capi.TypeBit:
		r.name = "BIT"
		r.decode = func(row int) expr.Value { return expr.TextOf(bitText(bytesAt(r.data, row))) }
	case capi.TypeTimeTZ:
		r.name = "TIMETZ"
		r.decode = func(row int) expr.Value { return expr.TextOf(timeTZText(*at[uint64](r.data, row))) }
	case capi.TypeTimeNS:
		r.name = "TIME_NS"
		r.decode = func(row int) expr.Value { return expr.TextOf(timeNSText(*at[int64](r.data, row))) }
	case capi.TypeBigNum:
		r.name = "BIGNUM"
		r.decode = func(row int) expr.Value { return expr.TextOf(bigNumText(bytesAt(r.data, row))) }
	case capi.TypeSQLNull:
		r.name = "NULL"
		r.decode = func(int) expr.Value { return expr.Value{} }
	default:
		r.name = "UNKNOWN"
		r.decode = func(int) expr.Value { return expr.TextOf("(cast this value to TEXT to read it)") }
	}
}

// timestamp sets up timestamps of other units. Nanoseconds below a microsecond are cut off.
func (r *reader) timestamp(id capi.Type) {
	r.name = map[capi.Type]string{
		capi.TypeTimestampS: "TIMESTAMP_S", capi.TypeTimestampMS: "TIMESTAMP_MS",
		capi.TypeTimestampNS: "TIMESTAMP_NS",
	}[id]
	micros := func(v int64) int64 { return floorDiv(v, 1000) }
	switch id {
	case capi.TypeTimestampS:
		micros = func(v int64) int64 { return v * 1_000_000 }
	case capi.TypeTimestampMS:
		micros = func(v int64) int64 { return v * 1000 }
	}
	r.decode = func(row int) expr.Value { return expr.IntOf(expr.Timestamp, micros(*at[int64](r.data, row))) }
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// interval is DuckDB's layout of an INTERVAL.
type interval struct {
	months, days int32
	micros       int64
}

func intervalText(i *interval) string {
	var parts []string
	unit := func(n int64, name string) {
		switch n {
		case 0:
		case 1, -1:
			parts = append(parts, fmt.Sprintf("%d %s", n, name))
		default:
			parts = append(parts, fmt.Sprintf("%d %ss", n, name))
		}
	}
	unit(int64(i.months/12), "year")
	unit(int64(i.months%12), "month")
	unit(int64(i.days), "day")
	if i.micros != 0 || len(parts) == 0 {
		parts = append(parts, clockText(i.micros))
	}
	return strings.Join(parts, " ")
}

// clockText prints microseconds as [-]hh:mm:ss[.ffffff] without trailing zeros.
func clockText(micros int64) string {
	sign, u := "", uint64(micros)
	if micros < 0 {
		sign, u = "-", -u
	}
	s := fmt.Sprintf("%s%02d:%02d:%02d", sign, u/3_600_000_000, u/60_000_000%60, u/1_000_000%60)
	if f := u % 1_000_000; f != 0 {
		s += strings.TrimRight(fmt.Sprintf(".%06d", f), "0")
	}
	return s
}

func timeNSText(ns int64) string {
	s := clockText(ns / 1_000_000_000 * 1_000_000)
	if f := ns % 1_000_000_000; f != 0 {
		s += strings.TrimRight(fmt.Sprintf(".%09d", f), "0")
	}
	return s
}

// timeTZText prints a time with offset: 40 bits of microseconds above 24 bits of (57599 - offset in seconds).
func timeTZText(bits uint64) string {
	offset := 57599 - int64(bits&0xffffff)
	sign := "+"
	if offset < 0 {
		sign, offset = "-", -offset
	}
	s := clockText(int64(bits>>24)) + fmt.Sprintf("%s%02d", sign, offset/3600)
	if offset%3600 != 0 {
		s += fmt.Sprintf(":%02d", offset/60%60)
	}
	return s
}

// bitText prints a bit string: the first byte is the number of padding bits at the start of the second.
func bitText(b []byte) string {
	if len(b) < 2 {
		return ""
	}
	var s strings.Builder
	for _, c := range b[1:] {
		fmt.Fprintf(&s, "%08b", c)
	}
	return s.String()[min(int(b[0]), s.Len()):]
}

// bigNumText prints a BIGNUM: a 3-byte header whose highest bit is set for positive numbers, then the big-endian
// magnitude; all bytes of a negative number are inverted.
func bigNumText(b []byte) string {
	if len(b) < 4 {
		return "0"
	}
	negative := b[0]&0x80 == 0
	digits := append([]byte{}, b[3:]...)
	if negative {
		for i := range digits {
			digits[i] = ^digits[i]
		}
	}
	n := new(big.Int).SetBytes(digits)
	if negative {
		n.Neg(n)
	}
	return n.String()
}

func bigText(negative bool, hi, lo uint64) string {
	n := new(big.Int).SetUint64(hi)
	n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(lo))
	if negative {
		n.Neg(n)
	}
	return n.String()
}

// enum sets up ENUM: an index into a dictionary, as wide as its size needs.
func (r *reader) enum(t capi.LogicalType) {
	r.name = "TEXT"
	words := make([]expr.Value, capi.EnumDictionarySize(t))
	for i := range words {
		words[i] = expr.TextOf(capi.EnumDictionaryValue(t, capi.IdxT(i)))
	}
	switch capi.EnumInternalType(t) {
	case capi.TypeUTinyInt:
		r.decode = func(row int) expr.Value { return words[*at[uint8](r.data, row)] }
	case capi.TypeUSmallInt:
		r.decode = func(row int) expr.Value { return words[*at[uint16](r.data, row)] }
	default:
		r.decode = func(row int) expr.Value { return words[*at[uint32](r.data, row)] }
	}
}
