package expr

import (
	"strings"
	"unicode/utf8"

	"kalamlog.dev/kalam/internal/problem"
)

// textArgument casts x to TEXT if that is implicit: literals and JSON.
func (c *compiler) textArgument(x operand, what string) (operand, error) {
	if implicitCost(x.static(), Text) < 0 {
		return operand{}, problem.New(problem.TypeMismatch, "%s needs TEXT, not %s", what, x.typ).
			WithHint("cast it to TEXT")
	}
	return c.castTo(x, typeOf(Text))
}

// escapedPattern returns the parts of a pattern with ESCAPE, which PostgreSQL's grammar makes like_escape(pattern, escape).
func escapedPattern(n Binary) (pattern, escape Node, ok bool) {
	call, isCall := n.R.(Call)
	if !isCall || call.Name != "like_escape" || len(call.Args) != 2 || !strings.HasSuffix(n.Op, "LIKE") {
		return nil, nil, false
	}
	return call.Args[0], call.Args[1], true
}

// likeEscaped binds LIKE with ESCAPE as DuckDB does: as a function.
func (c *compiler) likeEscaped(op string, x, pattern, escape Node) (operand, error) {
	name := strings.ToLower(strings.Replace(op, "NOT ", "not_", 1)) + "_escape"
	return c.bindCall(Call{Name: name, Args: []Node{x, pattern, escape}})
}

func (c *compiler) like(op string, a, b operand) (operand, error) {
	a, err := c.textArgument(a, "LIKE")
	if err != nil {
		return operand{}, err
	}
	if b, err = c.textArgument(b, "LIKE"); err != nil {
		return operand{}, err
	}
	fold := strings.Contains(op, "ILIKE") || strings.HasSuffix(op, "*")
	negated := strings.HasPrefix(op, "NOT") || strings.HasPrefix(op, "!")
	if b.constant && b.val.kind == Text {
		match := likeMatcher(b.val.str, fold)
		return strict1(a, typeOf(Bool), func(v Value) (Value, error) { return BoolOf(match(v.str) != negated), nil }), nil
	}
	return strict2(a, b, typeOf(Bool), func(x, y Value) (Value, error) {
		s, pattern := x.str, y.str
		if fold {
			s, pattern = lowerText(s), lowerText(pattern)
		}
		ok, _ := likeMatch(s, pattern, -1)
		return BoolOf(ok != negated), nil
	}), nil
}

// likeMatcher prepares a constant pattern; the frequent shapes need no general matching.
func likeMatcher(pattern string, fold bool) func(string) bool {
	if fold {
		pattern = lowerText(pattern)
		return func(s string) bool { ok, _ := likeMatch(lowerText(s), pattern, -1); return ok }
	}
	body := strings.Trim(pattern, "%")
	front, back := strings.HasPrefix(pattern, "%"), strings.HasSuffix(pattern, "%")
	switch {
	case strings.ContainsAny(body, "%_"):
		return func(s string) bool { ok, _ := likeMatch(s, pattern, -1); return ok }
	case body == "" && pattern != "":
		return func(string) bool { return true }
	case front && back:
		return func(s string) bool { return strings.Contains(s, body) }
	case front:
		return func(s string) bool { return strings.HasSuffix(s, body) }
	case back:
		return func(s string) bool { return strings.HasPrefix(s, body) }
	}
	return func(s string) bool { return s == body }
}

// likeMatch matches s with a LIKE pattern: % is any text, _ one character. escape, if not -1, takes the next byte
// literally; dangling reports that matching came to one at the end of the pattern, where it has no meaning. It goes back
// to the last % only, so its time is at most len(s)*len(pattern).
func likeMatch(s, pattern string, escape int) (matched, dangling bool) {
	i, p := 0, 0
	starAt, starFrom := -1, 0
	for i < len(s) || p < len(pattern) {
		if p < len(pattern) {
			switch c := pattern[p]; {
			case escape >= 0 && int(c) == escape:
				if p+1 == len(pattern) && i < len(s) {
					return false, true
				}
				if i < len(s) && s[i] == pattern[p+1] {
					i, p = i+1, p+2
					continue
				}
			case c == '%':
				p++
				starAt, starFrom = p, i
				continue
			case c == '_' && i < len(s):
				_, n := utf8.DecodeRuneInString(s[i:])
				i, p = i+n, p+1
				continue
			case i < len(s) && s[i] == c:
				i, p = i+1, p+1
				continue
			}
		}
		if starAt < 0 || starFrom >= len(s) {
			return false, false
		}
		_, n := utf8.DecodeRuneInString(s[starFrom:])
		starFrom += n
		i, p = starFrom, starAt
	}
	return true, false
}
