package query

import (
	"slices"

	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// maxFixedKeys bounds how many keys a WHERE may name for the rows to be addressed rather than searched.
const maxFixedKeys = 1000

// target is what a WHERE says about which rows of a table a statement concerns.
type target struct {
	fixed bool           // the rows are those of keys, or fewer
	keys  [][]expr.Value // one value for each key column, in key order, of the columns' types
	rest  bool           // the condition says more than the keys do
}

// targetOf looks for conjuncts column = constant and column IN (constants) that together fix the whole key. The
// leading column of a user table is fixed for ordinary callers anyway; user is then the caller's name. where has its
// parameters bound and has been compiled.
func targetOf(t *materializer.Table, where expr.Node, user string) target {
	s := t.Schema()
	if t.Kind == materializer.Stream || len(s.Key) == 0 {
		return target{}
	}
	fixed := make([][]expr.Value, len(s.Key))
	has := make([]bool, len(s.Key))
	if t.Kind == materializer.User && user != "" {
		fixed[0], has[0] = []expr.Value{expr.TextOf(user)}, true
	}
	out := target{}
	for _, c := range conjuncts(where, nil) {
		place, values, ok := fixesKey(s, c)
		if !ok || has[place] {
			out.rest = true
			continue
		}
		fixed[place], has[place] = values, true
	}
	for _, ok := range has {
		if !ok {
			return target{rest: true}
		}
	}
	out.keys, out.fixed = product(fixed)
	return out
}

// conjuncts appends the operands of a tree of ANDs.
func conjuncts(n expr.Node, to []expr.Node) []expr.Node {
	if n == nil {
		return to
	}
	if b, ok := n.(expr.Binary); ok && b.Op == "AND" {
		return conjuncts(b.R, conjuncts(b.L, to))
	}
	return append(to, n)
}

// fixesKey reports which key column a conjunct fixes, and to which values.
func fixesKey(s *materializer.Schema, n expr.Node) (place int, values []expr.Value, ok bool) {
	var column expr.Node
	var constants []expr.Node
	switch n := n.(type) {
	case expr.Binary:
		if n.Op != "=" {
			return 0, nil, false
		}
		column, constants = n.L, []expr.Node{n.R}
		if _, isColumn := column.(expr.Column); !isColumn {
			column, constants = n.R, []expr.Node{n.L}
		}
	case expr.In:
		if n.Not {
			return 0, nil, false
		}
		column, constants = n.X, n.List
	default:
		return 0, nil, false
	}
	name, isColumn := column.(expr.Column)
	if !isColumn {
		return 0, nil, false
	}
	for i, k := range s.Key {
		if s.Columns[k].Name == name.Name {
			values, ok = keyValues(s.Columns[k], constants)
			return i, values, ok
		}
	}
	return 0, nil, false
}

// keyValues evaluates the constants that a key column is compared with. ok is false if one of them could equal other
// values than the one it is cast to.
func keyValues(c materializer.Column, constants []expr.Node) (values []expr.Value, ok bool) {
	for _, n := range constants {
		v, err := evaluate(n)
		if err != nil {
			return nil, false
		}
		if v.IsNull() {
			continue
		}
		if v, ok = keyValue(c, v); !ok {
			return nil, false
		}
		if !contains(values, v) {
			values = append(values, v)
		}
	}
	return values, true
}

func contains(values []expr.Value, v expr.Value) bool {
	for _, w := range values {
		if expr.Compare(v, w) == 0 {
			return true
		}
	}
	return false
}

// keyValue returns the one value of the column that equals v, if that is certain.
func keyValue(c materializer.Column, v expr.Value) (expr.Value, bool) {
	k := c.Type.Kind
	if k == expr.Real || k == expr.Double || v.Kind() == expr.Real || v.Kind() == expr.Double {
		return v, false // several values may compare equal
	}
	if k == expr.Text && v.Kind() != expr.Text {
		return v, false
	}
	w, err := expr.CastValue(v, c.Type)
	if err != nil {
		return v, false
	}
	if v.Kind() == expr.Text || v.Kind() == k && k != expr.Decimal {
		return w, true
	}
	same, err := evaluate(expr.Binary{Op: "=", L: expr.Literal{Value: w}, R: expr.Literal{Value: v}})
	return w, err == nil && same.Kind() == expr.Bool && same.Bool()
}

// product combines the values of the key columns. ok is false if there are too many.
func product(columns [][]expr.Value) (keys [][]expr.Value, ok bool) {
	keys = [][]expr.Value{{}}
	for _, values := range columns {
		if len(keys)*len(values) > maxFixedKeys {
			return nil, false
		}
		var next [][]expr.Value
		for _, k := range keys {
			for _, v := range values {
				next = append(next, append(slices.Clip(k), v))
			}
		}
		keys = next
	}
	return keys, true
}
