package materializer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

// EncodeKey appends the order-preserving, prefix-free encoding of key to dst: bytes.Compare of encodings orders as the values do, column by
// column. Integers of all widths, and both float types, encode alike, so widening a key column leaves keys as they are. NULL is refused with NotNull, JSON and
// lists with InvalidDefinition.
func EncodeKey(dst []byte, key []expr.Value) ([]byte, error) {
	var err error
	for _, v := range key {
		if dst, err = appendKeyColumn(dst, v); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

const signBit = 1 << 63

func appendKeyColumn(dst []byte, v expr.Value) ([]byte, error) {
	switch v.Kind() {
	case expr.Null:
		return nil, problem.New(problem.NotNull, "a key column must not be NULL")
	case expr.Bool:
		if v.Bool() {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	case expr.SmallInt, expr.Integer, expr.BigInt, expr.Date, expr.Time, expr.Timestamp, expr.TimestampTZ:
		return binary.BigEndian.AppendUint64(dst, uint64(v.Int())^signBit), nil
	case expr.Real, expr.Double:
		return binary.BigEndian.AppendUint64(dst, orderedFloat(v.Float())), nil
	case expr.Decimal:
		hi, lo, _ := v.DecimalParts()
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, hi^signBit), lo), nil
	case expr.UUID:
		u := v.UUIDBytes()
		return append(dst, u[:]...), nil
	case expr.Text, expr.Blob:
		return appendEscaped(dst, v.Str()), nil
	default:
		return nil, problem.New(problem.InvalidDefinition, "a value of type %s cannot be part of a key", expr.Type{Kind: v.Kind()})
	}
}

// orderedFloat maps floats to integers of the same order; -0 equals 0 and NaN, of whatever bits, is greatest.
func orderedFloat(f float64) uint64 {
	switch {
	case f != f:
		return math.MaxUint64
	case f == 0:
		return signBit
	}
	bits := math.Float64bits(f)
	if bits&signBit != 0 {
		return ^bits
	}
	return bits | signBit
}

func floatOfOrdered(u uint64) float64 {
	switch {
	case u == math.MaxUint64:
		return math.NaN()
	case u&signBit != 0:
		return math.Float64frombits(u &^ signBit)
	}
	return math.Float64frombits(^u)
}

// appendEscaped writes s with each zero byte followed by 0xff, then 0x00 0x01.
func appendEscaped(dst []byte, s string) []byte {
	for {
		i := strings.IndexByte(s, 0)
		if i < 0 {
			dst = append(dst, s...)
			return append(dst, 0, 1)
		}
		dst = append(dst, s[:i]...)
		dst = append(dst, 0, 0xff)
		s = s[i+1:]
	}
}

// unescape reads what appendEscaped wrote and returns the rest behind it.
func unescape(b []byte) (s string, rest []byte, ok bool) {
	var out []byte
	for {
		i := bytes.IndexByte(b, 0)
		if i < 0 || i+1 >= len(b) {
			return "", nil, false
		}
		switch b[i+1] {
		case 1:
			if out == nil {
				return string(b[:i]), b[i+2:], true
			}
			return string(append(out, b[:i]...)), b[i+2:], true
		case 0xff:
			out = append(append(out, b[:i]...), 0)
			b = b[i+2:]
		default:
			return "", nil, false
		}
	}
}

// DecodeKey reads an encoded key of s, as values of the key columns' types. It fails with ErrDamaged on bytes that EncodeKey did not write.
func DecodeKey(s *Schema, key []byte) ([]expr.Value, error) {
	values := make([]expr.Value, 0, len(s.Key))
	for _, c := range s.Key {
		v, rest, ok := keyColumn(s.Columns[c].Type, key)
		if !ok {
			return nil, fmt.Errorf("key column %q: %w", s.Columns[c].Name, ErrDamaged)
		}
		values = append(values, v)
		key = rest
	}
	if len(key) > 0 {
		return nil, fmt.Errorf("key: %d bytes too many: %w", len(key), ErrDamaged)
	}
	return values, nil
}

func keyColumn(t expr.Type, key []byte) (v expr.Value, rest []byte, ok bool) {
	switch t.Kind {
	case expr.Text, expr.Blob:
		s, rest, ok := unescape(key)
		if !ok {
			return v, nil, false
		}
		if t.Kind == expr.Text {
			return expr.TextOf(s), rest, true
		}
		return expr.BlobOf([]byte(s)), rest, true
	case expr.Bool:
		if len(key) < 1 || key[0] > 1 {
			return v, nil, false
		}
		return expr.BoolOf(key[0] == 1), key[1:], true
	case expr.UUID:
		if len(key) < 16 {
			return v, nil, false
		}
		return expr.UUIDOf([16]byte(key[:16])), key[16:], true
	case expr.Decimal:
		if len(key) < 16 {
			return v, nil, false
		}
		hi, lo := binary.BigEndian.Uint64(key)^signBit, binary.BigEndian.Uint64(key[8:])
		return expr.DecimalOf(hi, lo, t.Scale), key[16:], true
	default:
		if len(key) < 8 {
			return v, nil, false
		}
		v, ok = keyWord(t.Kind, binary.BigEndian.Uint64(key))
		return v, key[8:], ok
	}
}

// keyWord reads the types that take eight bytes.
func keyWord(k expr.Kind, u uint64) (expr.Value, bool) {
	i := int64(u ^ signBit)
	switch k {
	case expr.SmallInt:
		return expr.IntOf(k, i), i == int64(int16(i))
	case expr.Integer, expr.Date:
		return expr.IntOf(k, i), i == int64(int32(i))
	case expr.BigInt, expr.Time, expr.Timestamp, expr.TimestampTZ:
		return expr.IntOf(k, i), true
	case expr.Real:
		f := floatOfOrdered(u)
		return expr.FloatOf(k, f), f != f || f == float64(float32(f))
	case expr.Double:
		return expr.FloatOf(k, floatOfOrdered(u)), true
	default:
		return expr.Value{}, false
	}
}

// keyText shows an encoded key to people: "(5, 'a')". Long keys are cut.
func keyText(s *Schema, key []byte) string {
	values, err := DecodeKey(s, key)
	if err != nil {
		return fmt.Sprintf("(%x)", key)
	}
	var b strings.Builder
	b.WriteByte('(')
	for i, v := range values {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(v.String())
	}
	const longest = 200
	text := b.String()
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "..."
	}
	return text + ")"
}
