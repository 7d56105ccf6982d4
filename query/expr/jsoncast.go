package expr

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"kalamlog.dev/kalam/internal/problem"
)

// castTextToJSON checks that text is JSON and keeps it as it is.
func castTextToJSON(s string) (Value, error) {
	if !ValidJSON(s) {
		return Value{}, problem.New(problem.InvalidValue, "%q is not valid JSON", shorten(s))
	}
	return JSONOf(s), nil
}

// castToJSON is to_json(v) of a value of type from, except that text must be JSON already.
func castToJSON(v Value, from Type) (Value, error) {
	if v.kind == Text {
		return castTextToJSON(v.str)
	}
	b, err := appendToJSON(nil, v, from)
	if err != nil {
		return Value{}, err
	}
	return JSONOf(string(b)), nil
}

// appendToJSON writes v as DuckDB's to_json does: numbers as numbers, decimals of up to 15 digits as doubles, what has no
// JSON form as its text.
func appendToJSON(dst []byte, v Value, from Type) ([]byte, error) {
	switch v.kind {
	case Null:
		return append(dst, "null"...), nil
	case Bool, SmallInt, Integer, BigInt, tinyInt, hugeInt:
		return appendText(dst, v), nil
	case Decimal:
		if from.Precision > 15 {
			return appendText(dst, v), nil
		}
		return appendNumberJSON(dst, decimalToFloat(v.int128(), v.scale, false, Double))
	case Real, Double:
		return appendNumberJSON(dst, v.float())
	case JSON:
		return append(dst, v.str...), nil
	case List:
		var err error
		dst = append(dst, '[')
		for i, e := range *v.list {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendToJSON(dst, e, *from.Elem); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case Text:
		return appendJSONString(dst, v.str), nil
	}
	return appendJSONString(dst, v.String()), nil
}

func appendNumberJSON(dst []byte, f float64) ([]byte, error) {
	if f != f || math.IsInf(f, 0) {
		return nil, problem.New(problem.InvalidValue, "JSON has no number %s", FloatOf(Double, f))
	}
	return appendReal(dst, f), nil
}

// appendReal writes a number that is not whole in JSON as DuckDB's JSON writer does: plain from 1e-6 to 1e21, with
// ".0" if it is whole, else with an exponent.
func appendReal(dst []byte, f float64) []byte {
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		s := strconv.FormatFloat(f, 'e', -1, 64)
		mantissa, exp, _ := strings.Cut(s, "e")
		n, _ := strconv.Atoi(exp)
		return strconv.AppendInt(append(append(dst, mantissa...), 'e'), int64(n), 10)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if slices.Contains(dst[start:], '.') {
		return dst
	}
	return append(dst, ".0"...)
}

// castFromJSON reads a JSON value as type to: null is NULL, strings are read strictly as numbers and leniently as
// other types, arrays become lists.
func castFromJSON(s string, to Type, try bool) (Value, error) {
	sc := jsonScan{s: s}
	c := sc.peek()
	start := sc.pos
	if !sc.value(0) {
		return Value{}, problem.New(problem.InvalidValue, "%q is not valid JSON", shorten(s))
	}
	raw := s[start:sc.pos]
	switch {
	case c == 'n':
		return Value{}, nil
	case to.Kind == Text:
		return TextOf(jsonText(raw)), nil
	case to.Kind == List && c == '[':
		return castFromArray(raw, to, try)
	case c == '"' && (isNumeric(to.Kind) && to.Kind != Decimal || to.Kind == Bool):
		return castStrict(unquoteJSON(raw), to)
	case c == '"' && to.Kind != List:
		return castText(TextOf(unquoteJSON(raw)), to)
	case isNumeric(to.Kind) || to.Kind == Bool:
		if v, ok := jsonScalar(raw); ok {
			if v.kind == Text {
				return castText(v, to)
			}
			return castNumber(v, typeOf(v.kind), to)
		}
	}
	return Value{}, problem.New(problem.InvalidValue, "JSON %s is not a %s", shorten(raw), to)
}

func castFromArray(raw string, to Type, try bool) (Value, error) {
	var out []Value
	var err error
	sc := jsonScan{s: raw}
	sc.array(0, func(_ int, elem string) bool {
		var v Value
		if v, err = castFromJSON(elem, *to.Elem, try); err != nil && try {
			v, err = Value{}, nil
		}
		out = append(out, v)
		return err == nil
	})
	if err != nil {
		return Value{}, err
	}
	return ListOf(out), nil
}

// jsonScalar reads true, false or a number: a whole one of 64 bits, one too large for a double's exact range as text,
// else a double.
func jsonScalar(raw string) (Value, bool) {
	switch c := raw[0]; {
	case c == 't' || c == 'f':
		return BoolOf(c == 't'), true
	case c != '-' && !isDigit(c):
		return Value{}, false
	}
	if wholeJSON(raw) {
		if u, _, ok := parseExact(raw); ok && fits64(u) {
			return hugeOf(u), true
		}
		return TextOf(raw), true
	}
	f, _ := strconv.ParseFloat(raw, 64)
	if math.IsInf(f, 0) {
		return TextOf(raw), true
	}
	return FloatOf(Double, f), true
}

func wholeJSON(raw string) bool { return !strings.ContainsAny(raw, ".eE") }

// castStrict reads a JSON string as a number or BOOLEAN: no sign +, no leading zeros, and integers without point,
// exponent or underscore.
func castStrict(s string, to Type) (Value, error) {
	body := strings.TrimLeft(s, " \t\n\v\f\r")
	bad := strings.HasPrefix(body, "+") || len(body) > 1 && body[0] == '0' && isDigit(body[1])
	switch {
	case to.Kind == Bool:
		bad = len(s) == 1 && strings.ContainsAny(s, "yYnN01")
	case isInteger(to.Kind) && !strings.HasPrefix(strings.ToLower(body), "0x"):
		bad = bad || strings.ContainsAny(body, ".eE_")
	case isFloat(to.Kind):
		bad = bad || body != "" && isSpace(body[len(body)-1])
	}
	if bad {
		return Value{}, invalidText(s, to)
	}
	return castText(TextOf(s), to)
}

// fits64 reports whether u is what a JSON number of 64 bits, signed or not, can be.
func fits64(u int128) bool {
	_, signed := u.int64()
	return signed || u.hi == 0
}
