package expr

import (
	"kalamlog.dev/kalam/internal/problem"
)

// castTextToJSON checks that text is JSON and keeps it as it is.
func castTextToJSON(s string) (Value, error) {
	if !ValidJSON(s) {
		return Value{}, problem.New(problem.InvalidValue, "%q is not valid JSON", shorten(s))
	}
	return JSONOf(s), nil
}

// castToJSON is to_json(v).
func castToJSON(v Value) (Value, error) {
	switch v.kind {
	case Text:
		return castTextToJSON(v.str)
	case Bool, SmallInt, Integer, BigInt, tinyInt, hugeInt:
		return JSONOf(v.String()), nil
	}
	return Value{}, problem.New(problem.Unsupported, "cannot cast %s to JSON", v.kind).WithHint("cast it to TEXT")
}

// castFromJSON reads the scalar in a JSON value as type to: null is NULL, a string is read as text.
func castFromJSON(v Value, to Type) (Value, error) {
	sc := jsonScan{s: v.str}
	switch c := sc.peek(); {
	case c == 'n':
		return Value{}, nil
	case c == '"':
		start := sc.pos
		sc.stringLit()
		return castText(TextOf(unquoteJSON(v.str[start:sc.pos])), to)
	case c == 't' || c == 'f':
		return castNumber(BoolOf(c == 't'), to)
	case c == '-' || isDigit(c):
		start := sc.pos
		sc.number()
		return castText(TextOf(v.str[start:sc.pos]), to)
	}
	return Value{}, problem.New(problem.InvalidValue, "JSON %s is not a %s", shorten(v.str), to)
}
