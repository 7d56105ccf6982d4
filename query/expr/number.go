package expr

import (
	"strings"

	"kalamlog.dev/kalam/internal/problem"
)

// NumberOf gives a numeric literal's text (no sign, underscores allowed) the value and type that DuckDB gives it:
// INTEGER, BIGINT or, beyond, a whole DECIMAL; DECIMAL with a point; DOUBLE with an exponent or more than 38 digits.
func NumberOf(text string) (Value, error) {
	s := strings.ReplaceAll(text, "_", "")
	if !plainFloat(s) {
		return Value{}, problem.New(problem.SyntaxError, "%q is not a number", shorten(text))
	}
	if !strings.ContainsAny(s, "eE") {
		whole, frac, point := strings.Cut(s, ".")
		if v, ok := exactLiteral(whole, frac, point); ok {
			return v, nil
		}
	}
	f, _ := parseFloat(s, Double)
	return FloatOf(Double, f), nil
}

func exactLiteral(whole, frac string, point bool) (Value, bool) {
	digits := strings.TrimLeft(whole, "0") + frac
	if len(digits) > maxPrecision || len(frac) > maxPrecision {
		return Value{}, false
	}
	var u int128
	for i := range len(digits) {
		u, _ = u.mul(int128{lo: 10})
		u, _ = u.add(int128{lo: uint64(digits[i] - '0')})
	}
	if point {
		return decimalOf(u, uint8(len(frac))), true
	}
	v := integerLiteral(u)
	if v.kind == hugeInt {
		v = decimalOf(u, 0)
	}
	return v, true
}
