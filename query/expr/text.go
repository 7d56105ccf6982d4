package expr

import (
	"math"
	"slices"
	"strconv"
)

// appendText appends the text that CAST(v AS TEXT) gives, NULL as "NULL".
func appendText(dst []byte, v Value) []byte {
	switch v.kind {
	case Null:
		return append(dst, "NULL"...)
	case Bool:
		return strconv.AppendBool(dst, v.lo != 0)
	case SmallInt, Integer, BigInt, tinyInt:
		return strconv.AppendInt(dst, int64(v.lo), 10)
	case Real:
		return appendFloat(dst, v.float(), 32)
	case Double:
		return appendFloat(dst, v.float(), 64)
	case Decimal:
		return appendDecimal(dst, v.int128(), v.scale)
	case hugeInt:
		return appendInt128(dst, v.int128())
	case Text, JSON:
		return append(dst, v.str...)
	case Blob:
		return appendBlobText(dst, v.str)
	case Date:
		return appendDate(dst, int64(v.lo))
	case Time:
		return appendTime(dst, int64(v.lo))
	case Timestamp:
		return appendTimestamp(dst, int64(v.lo), ' ')
	case TimestampTZ:
		return appendTimestampTZ(dst, int64(v.lo))
	case UUID:
		return appendUUID(dst, v.hi, v.lo)
	case List:
		return appendListText(dst, *v.list, nil)
	}
	panic(v.wrong("text"))
}

// appendTextAs is appendText for a value of the static type t: DuckDB writes no zero before the point of a decimal
// that has no whole digits (DECIMAL(2,2) 0.25 is ".25").
func appendTextAs(dst []byte, v Value, t Type) []byte {
	switch {
	case v.kind == Decimal && t.Kind == Decimal && t.Precision == t.Scale:
		return appendFraction(dst, v.int128(), t.Scale)
	case v.kind == List && t.Elem != nil:
		return appendListText(dst, *v.list, t.Elem)
	}
	return appendText(dst, v)
}

func appendFraction(dst []byte, u int128, scale uint8) []byte {
	start := len(dst)
	dst = appendDecimal(dst, u, scale)
	zero := start
	if u.negative() {
		zero++
	}
	return append(dst[:zero], dst[zero+1:]...)
}

// appendFloat writes the shortest digits that read back as f: plain between 1e-4 and 1e16, with an exponent of at
// least two digits beyond. Every NaN is "nan".
func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case f != f:
		return append(dst, "nan"...)
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	}
	if bits == 32 {
		bits = real32Width(f)
	}
	var buf [32]byte
	digits := strconv.AppendFloat(buf[:0], f, 'e', -1, bits)
	e := len(digits) - 1
	for digits[e] != 'e' {
		e--
	}
	exp, _ := strconv.Atoi(string(digits[e+1:]))
	if exp < -4 || exp >= 16 {
		return append(dst, digits...)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, bits)
	if slices.Contains(dst[start:], '.') {
		return dst
	}
	return append(dst, ".0"...)
}

const hexDigits = "0123456789ABCDEF"

// appendBlobText writes printable ASCII as it is and all else, quotes and backslashes too, as \xNN.
func appendBlobText(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c >= 32 && c <= 126 && c != '\\' && c != '\'' && c != '"' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return dst
}

func appendUUID(dst []byte, hi, lo uint64) []byte {
	const digits = "0123456789abcdef"
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			dst = append(dst, '-')
		}
		word := hi
		if i >= 16 {
			word = lo
		}
		dst = append(dst, digits[word>>(60-4*uint(i%16))&15])
	}
	return dst
}

// appendListText writes [a, b, NULL]; elements whose text could be misread are in single quotes. elem is the
// element type where it is known.
func appendListText(dst []byte, vs []Value, elem *Type) []byte {
	dst = append(dst, '[')
	var buf []byte
	for i, v := range vs {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		buf = buf[:0]
		if elem != nil {
			buf = appendTextAs(buf, v, *elem)
		} else {
			buf = appendText(buf, v)
		}
		if v.kind == Null || v.kind == List {
			dst = append(dst, buf...)
		} else {
			dst = appendListElement(dst, buf)
		}
	}
	return append(dst, ']')
}

func appendListElement(dst, s []byte) []byte {
	if !needsQuotes(s) {
		return append(dst, s...)
	}
	dst = append(dst, '\'')
	for _, c := range s {
		if c == '\'' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '\'')
}

func needsQuotes(s []byte) bool {
	if len(s) == 0 || isSpace(s[0]) || isSpace(s[len(s)-1]) || equalFold(s, "null") {
		return true
	}
	for _, c := range s {
		switch c {
		case '"', '\'', '(', ')', ',', ':', '=', '[', ']', '{', '}':
			return true
		}
	}
	return false
}

// equalFold compares ASCII text with lower, which is in lower case.
func equalFold[T ~string | ~[]byte](s T, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		if lowerASCII(s[i]) != lower[i] {
			return false
		}
	}
	return true
}

func lowerASCII(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
