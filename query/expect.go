package query

import (
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// offsetColumn is the system column that holds a row's version: the offset of its last change.
const offsetColumn = "_offset"

// expectation is the version that a statement expects of the one row it names: WHERE key = ... AND _offset = version.
type expectation struct {
	given   bool
	version int64
}

// expected takes the conjunct _offset = version out of an UPDATE's or DELETE's condition; rest is the condition without it.
// Unlike other conditions, which select rows, it is about one row: if that has another version, does not exist or does not
// fulfil the rest, the statement is refused with VersionConflict.
func (s *session) expected(where expr.Node) (rest expr.Node, e expectation, err error) {
	if !mentionsOffset(where) {
		return where, e, nil
	}
	bound, err := s.fix(where)
	if err != nil {
		return nil, e, err
	}
	for _, c := range conjuncts(bound, nil) {
		version, ok := versionIn(c)
		switch {
		case ok && e.given:
			return nil, e, problem.New(problem.Unsupported, "%s is compared twice", offsetColumn)
		case ok:
			e = expectation{given: true, version: version}
		case rest == nil:
			rest = c
		default:
			rest = expr.Binary{Op: "AND", L: rest, R: c}
		}
	}
	if mentionsOffset(rest) {
		return nil, e, problem.New(problem.Unsupported, "in UPDATE and DELETE %s is compared with one constant by =, beside a condition for the key", offsetColumn).
			WithHint("WHERE id = 5 AND %s = 17 expects that version of the row", offsetColumn)
	}
	return rest, e, nil
}

// versionIn reads _offset = constant, either way round.
func versionIn(n expr.Node) (int64, bool) {
	b, ok := n.(expr.Binary)
	if !ok || b.Op != "=" {
		return 0, false
	}
	constant := b.R
	if !isOffset(b.L) {
		if constant = b.L; !isOffset(b.R) {
			return 0, false
		}
	}
	v, err := evaluate(constant)
	if err != nil || v.IsNull() {
		return 0, false
	}
	v, err = expr.CastValue(v, expr.Type{Kind: expr.BigInt})
	if err != nil || v.Int() < 0 {
		return 0, false
	}
	return v.Int(), true
}

func isOffset(n expr.Node) bool {
	c, ok := n.(expr.Column)
	return ok && c.Name == offsetColumn
}

func mentionsOffset(n expr.Node) bool {
	found := false
	mapNode(n, func(n expr.Node) expr.Node {
		found = found || isOffset(n)
		return n
	})
	return found
}

// expect gives the mutation of the one row that a statement names its expected version.
func (e expectation) expect(m materializer.Mutation) materializer.Mutation {
	if e.given {
		m.Version, m.Miss = e.version, materializer.Refuse
	}
	return m
}

// check refuses an expected version of anything but one row.
func (e expectation) check(t target) error {
	if !e.given || t.fixed && len(t.keys) <= 1 {
		return nil
	}
	return problem.New(problem.Unsupported, "an expected version (%s = ...) is for a statement whose condition names one key", offsetColumn).
		WithHint("name every key column with =, as in WHERE id = 5 AND %s = 17", offsetColumn)
}
