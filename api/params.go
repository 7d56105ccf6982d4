package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

// maxDigits is how many a DECIMAL holds.
const maxDigits = 38

// sqlParams reads the JSON values of $1, $2, ... A whole number is a BIGINT, or an exact DECIMAL beyond its range; a
// number with a point is an exact DECIMAL, one with an exponent or too many digits a DOUBLE. Objects are JSON, arrays
// are lists of one type.
func sqlParams(raw []json.RawMessage) ([]expr.Value, error) {
	params := make([]expr.Value, len(raw))
	for i, r := range raw {
		v, err := param(r)
		if err != nil {
			p := *problemOf(err)
			p.Message = fmt.Sprintf("parameter $%d: %s", i+1, p.Message)
			return nil, &p
		}
		params[i] = v
	}
	return params, nil
}

func param(raw []byte) (expr.Value, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return expr.Value{}, problem.New(problem.BadJSON, "a value is missing")
	}
	switch raw[0] {
	case 'n':
		return expr.FromJSON(raw, expr.Type{Kind: expr.Text})
	case 't', 'f':
		return expr.FromJSON(raw, expr.Type{Kind: expr.Bool})
	case '"':
		return expr.FromJSON(raw, expr.Type{Kind: expr.Text})
	case '{':
		return expr.FromJSON(raw, expr.Type{Kind: expr.JSON})
	case '[':
		return listParam(raw)
	}
	return expr.FromJSON(raw, numberType(string(raw)))
}

// numberType is the type that holds the JSON number text exactly, if there is one.
func numberType(text string) expr.Type {
	if strings.ContainsAny(text, "eE") {
		return expr.Type{Kind: expr.Double}
	}
	whole, fraction, pointed := strings.Cut(strings.TrimPrefix(text, "-"), ".")
	switch digits := len(whole) + len(fraction); {
	case digits > maxDigits:
		return expr.Type{Kind: expr.Double}
	case pointed:
		return expr.Type{Kind: expr.Decimal, Precision: maxDigits, Scale: uint8(len(fraction))}
	}
	if _, err := expr.FromJSON([]byte(text), expr.Type{Kind: expr.BigInt}); problem.Is(err, problem.OutOfRange) {
		return expr.Type{Kind: expr.Decimal, Precision: maxDigits}
	}
	return expr.Type{Kind: expr.BigInt}
}

func listParam(raw []byte) (expr.Value, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return expr.Value{}, problem.New(problem.BadJSON, "the array is not valid JSON").Because(err)
	}
	values := make([]expr.Value, len(items))
	for i, item := range items {
		v, err := param(item)
		if err != nil {
			return expr.Value{}, err
		}
		values[i] = v
	}
	return oneType(values)
}

// oneType makes a list of values: numbers become the widest kind among them, everything else must agree.
func oneType(values []expr.Value) (expr.Value, error) {
	var t expr.Type
	for _, v := range values {
		var ok bool
		if t, ok = widest(t, typeOf(v)); !ok {
			return expr.Value{}, problem.New(problem.TypeMismatch, "the elements of an array must be of one type")
		}
	}
	for i, v := range values {
		if v.IsNull() || typeOf(v).Equal(t) {
			continue
		}
		cast, err := expr.CastValue(v, t)
		if err != nil {
			return expr.Value{}, err
		}
		values[i] = cast
	}
	return expr.ListOf(values), nil
}

// typeOf is the type of a value that param gave.
func typeOf(v expr.Value) expr.Type {
	t := expr.Type{Kind: v.Kind()}
	switch t.Kind {
	case expr.Decimal:
		_, _, t.Scale = v.DecimalParts()
		t.Precision = maxDigits
	case expr.List:
		var elem expr.Type
		for _, e := range v.List() {
			elem, _ = widest(elem, typeOf(e))
		}
		t.Elem = &elem
	default:
	}
	return t
}

// widest returns the type that holds values of both.
func widest(a, b expr.Type) (expr.Type, bool) {
	switch {
	case a.Kind == expr.Null || a.Equal(b):
		return b, true
	case b.Kind == expr.Null:
		return a, true
	case a.Kind == expr.List && b.Kind == expr.List:
		elem, ok := widest(*a.Elem, *b.Elem)
		return expr.Type{Kind: expr.List, Elem: &elem}, ok
	case !numeric(a.Kind) || !numeric(b.Kind):
		return a, false
	case a.Kind == expr.Double || b.Kind == expr.Double:
		return expr.Type{Kind: expr.Double}, true
	}
	return expr.Type{Kind: expr.Decimal, Precision: maxDigits, Scale: max(a.Scale, b.Scale)}, true
}

func numeric(k expr.Kind) bool { return k == expr.BigInt || k == expr.Decimal || k == expr.Double }

// boolParam reads a query parameter that is true or false; empty is def.
func boolParam(text, name string, def bool) (bool, error) {
	if text == "" {
		return def, nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		return def, problem.New(problem.BadRequest, "%s must be true or false", name)
	}
	return on, nil
}
