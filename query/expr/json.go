package expr

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"kalamlog.dev/kalam/internal/problem"
)

// AppendJSON appends v as JSON: integers as numbers, decimals as strings, floats as numbers with NaN and infinities as
// the strings "NaN", "Infinity" and "-Infinity", blobs as base64, dates as "2026-01-01", times as "00:00:00.123456",
// timestamps as "2026-01-01T00:00:00.123456" (with Z for TIMESTAMPTZ), JSON as it is, lists as arrays, NULL as null.
func AppendJSON(dst []byte, v Value) []byte {
	switch v.kind {
	case Null:
		return append(dst, "null"...)
	case Bool:
		return strconv.AppendBool(dst, v.lo != 0)
	case SmallInt, Integer, BigInt, tinyInt:
		return strconv.AppendInt(dst, int64(v.lo), 10)
	case Real:
		return appendJSONFloat(dst, v.float(), 32)
	case Double:
		return appendJSONFloat(dst, v.float(), 64)
	case Text:
		return appendJSONString(dst, v.str)
	case JSON:
		return append(dst, v.str...)
	case Blob:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, []byte(v.str))
		return append(dst, '"')
	case Timestamp, TimestampTZ:
		return appendJSONTimestamp(dst, v)
	case List:
		return appendJSONList(dst, *v.list)
	}
	// What remains has a text without characters that JSON escapes.
	dst = append(dst, '"')
	dst = appendText(dst, v)
	return append(dst, '"')
}

func appendJSONTimestamp(dst []byte, v Value) []byte {
	dst = append(dst, '"')
	us := int64(v.lo)
	dst = appendTimestamp(dst, us, 'T')
	if v.kind == TimestampTZ && finiteTimestamp(us) {
		dst = append(dst, 'Z')
	}
	return append(dst, '"')
}

func appendJSONList(dst []byte, vs []Value) []byte {
	dst = append(dst, '[')
	for i, e := range vs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendJSON(dst, e)
	}
	return append(dst, ']')
}

func appendJSONFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case f != f:
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, bits)
}

// FromJSON reads one JSON value (raw, complete) as type t. Numbers may also come as strings and are exact; null is
// NULL, for a JSON column too. Dates and times are text in ISO or SQL style. The error is a *problem.Error.
func FromJSON(raw []byte, t Type) (Value, error) {
	s := strings.Trim(string(raw), " \t\r\n")
	if s == "" {
		return Value{}, problem.New(problem.BadJSON, "a JSON value is missing")
	}
	if t.Kind != JSON && !scalarJSON(s) && !ValidJSON(s) {
		return Value{}, problem.New(problem.BadJSON, "%s is not valid JSON", shorten(s))
	}
	return fromJSON(s, t)
}

// scalarJSON quickly accepts the common scalars: plain strings and numbers.
func scalarJSON(s string) bool {
	sc := jsonScan{s: s}
	if s[0] == '{' || s[0] == '[' {
		return false
	}
	return sc.value(0) && sc.pos == len(s) && (s[0] != '"' || utf8.ValidString(s))
}

// fromJSON reads valid, trimmed JSON.
func fromJSON(s string, t Type) (Value, error) {
	if t.Kind == JSON && s != "null" {
		if !ValidJSON(s) {
			return Value{}, problem.New(problem.BadJSON, "%s is not valid JSON", shorten(s))
		}
		return JSONOf(s), nil
	}
	switch c := s[0]; {
	case c == 'n':
		return Value{}, nil
	case t.Kind == List:
		return fromJSONList(s, t)
	case c == '"':
		return fromJSONString(unquoteJSON(s), t)
	case c == 't' || c == 'f':
		if t.Kind == Bool {
			return BoolOf(c == 't'), nil
		}
	case c == '-' || isDigit(c):
		return fromJSONNumber(s, t)
	}
	return Value{}, jsonMismatch(s, t)
}

func fromJSONList(s string, t Type) (Value, error) {
	if s[0] != '[' {
		return Value{}, jsonMismatch(s, t).WithHint("send a JSON array")
	}
	var out []Value
	var err error
	sc := jsonScan{s: s}
	sc.array(0, func(_ int, raw string) bool {
		var v Value
		v, err = fromJSON(raw, *t.Elem)
		out = append(out, v)
		return err == nil
	})
	if err != nil {
		return Value{}, err
	}
	return ListOf(out), nil
}

func fromJSONNumber(s string, t Type) (Value, error) {
	switch k := t.Kind; {
	case k == Decimal, isInteger(k):
		return exactNumber(s, t)
	case isFloat(k):
		return floatFromJSON(s, t)
	case k == Date || k == Time || isTimestamp(k):
		_, err := fromJSONString("", t)
		return Value{}, jsonMismatch(s, t).WithHint("epoch numbers are ambiguous; %s", problem.As(err).Hint)
	case k == Text:
		return Value{}, jsonMismatch(s, t).WithHint("send a JSON string")
	}
	return Value{}, jsonMismatch(s, t)
}

// exactNumber reads an integer or decimal without rounding: digits that the type cannot hold are refused, unless
// they are zeros.
func exactNumber(s string, t Type) (Value, error) {
	u, scale, ok := parseExact(s)
	if !ok {
		return Value{}, invalidText(s, t)
	}
	if scale > int(t.Scale) {
		quo, rem := u.quoRem(pow10(min(scale-int(t.Scale), maxPrecision)))
		if !rem.isZero() || scale > maxPrecision {
			return Value{}, invalidText(s, t).WithHint("it has more digits after the point than %s holds", t)
		}
		u, scale = quo, int(t.Scale)
	}
	u, ok = u.mul(pow10(int(t.Scale) - scale))
	if t.Kind == Decimal {
		if !ok || !fits(u, t.Precision) {
			return Value{}, problem.New(problem.OutOfRange, "%s is out of the range of %s", shorten(s), t)
		}
		return decimalOf(u, t.Scale), nil
	}
	i, small := u.int64()
	if low, high := intRange(t.Kind); !ok || !small || i < low || i > high {
		return Value{}, problem.New(problem.OutOfRange, "%s is out of the range of %s", shorten(s), t)
	}
	return IntOf(t.Kind, i), nil
}

// parseExact reads a JSON number as an unscaled integer and a scale from 0 to 38, saturating what is too large; a scale
// of 39 stands for more digits than any type holds.
func parseExact(s string) (u int128, scale int, ok bool) {
	negative := strings.HasPrefix(s, "-")
	digits, exp := strings.TrimPrefix(s, "-"), 0
	if i := strings.IndexAny(digits, "eE"); i >= 0 {
		n, err := strconv.Atoi(digits[i+1:])
		if err != nil && n == 0 {
			return int128{}, 0, false
		}
		digits, exp = digits[:i], max(min(n, 10_000), -10_000)
	}
	whole, frac, _ := strings.Cut(digits, ".")
	if whole == "" && frac == "" {
		return int128{}, 0, false
	}
	return exactOf(whole+frac, len(frac)-exp, negative)
}

// exactOf reads digits with scale of them after the point, which may be negative or beyond 38.
func exactOf(digits string, scale int, negative bool) (int128, int, bool) {
	for i := range len(digits) {
		if !isDigit(digits[i]) {
			return int128{}, 0, false
		}
	}
	digits = strings.TrimLeft(digits, "0")
	for scale > 0 && strings.HasSuffix(digits, "0") {
		digits, scale = digits[:len(digits)-1], scale-1
	}
	if digits == "" {
		return int128{}, 0, true
	}
	saturated := maxInt128()
	if negative {
		saturated = minInt128()
	}
	if len(digits)-min(scale, 0) > maxPrecision+1 && len(digits)-scale > maxPrecision {
		return saturated, 0, true
	}
	if scale > maxPrecision || len(digits) > maxPrecision {
		return int128{lo: 1}, maxPrecision + 1, true // more digits than any type holds
	}
	var u int128
	for i := range len(digits) {
		u, _ = u.mul(int128{lo: 10})
		u, _ = u.add(int128{lo: uint64(digits[i] - '0')})
	}
	if scale < 0 {
		var ok bool
		if u, ok = u.mul(pow10(-scale)); !ok {
			return saturated, 0, true
		}
		scale = 0
	}
	if negative {
		u = u.neg()
	}
	return u, scale, true
}

func floatFromJSON(s string, t Type) (Value, error) {
	bits := 64
	if t.Kind == Real {
		bits = 32
	}
	f, err := strconv.ParseFloat(s, bits)
	if err != nil {
		return Value{}, problem.New(problem.OutOfRange, "%s is out of the range of %s", shorten(s), t)
	}
	return FloatOf(t.Kind, f), nil
}

func fromJSONString(s string, t Type) (Value, error) {
	switch k := t.Kind; {
	case k == Text:
		return TextOf(s), nil
	case k == Decimal, isInteger(k):
		if sc := (jsonScan{s: s}); s == "" || !sc.number() || sc.pos != len(s) {
			return Value{}, invalidText(s, t)
		}
		return exactNumber(s, t)
	case isFloat(k):
		f, ok := parseFloat(s, k)
		if !ok {
			return Value{}, invalidText(s, t)
		}
		return FloatOf(k, f), nil
	case k == Blob:
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return Value{}, invalidText(s, t).WithHint("send a blob as base64 text")
		}
		return Value{kind: Blob, str: string(b)}, nil
	case k == Bool:
		if b, ok := parseBool(s); ok {
			return BoolOf(b), nil
		}
		return Value{}, invalidText(s, t).WithHint("send true or false")
	}
	v, ok := parseScalar(s, t, true)
	if !ok {
		return Value{}, textError(s, t)
	}
	return v, nil
}

func jsonMismatch(s string, t Type) *problem.Error {
	return problem.New(problem.TypeMismatch, "JSON %s is not a %s", shorten(s), t)
}
