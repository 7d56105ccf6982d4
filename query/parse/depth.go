package parse

import "strings"

// maxDepth bounds how deep a statement's syntax tree can be. The parsers below recurse over it on C stacks, where an
// overflow ends the process, and DuckDB's binder takes time that grows with the cube of the depth: half a second at 250.
const maxDepth = 250

// maxNesting bounds how deep parentheses and brackets nest.
const maxNesting = 250

// depthMeter bounds the depth of a statement's syntax tree from its tokens alone: every operator of an uninterrupted
// chain may stand below the one before it, and what is in parentheses below all of the chain around it. Commas, AND, OR
// and the words that begin a clause end a chain; set operations and joins stand below each other.
type depthMeter struct {
	levels []level // one for each open parenthesis, and the statement
}

// level is one pair of parentheses.
type level struct {
	chain   int // operators since the last comma
	inner   int // depth of the deepest parentheses since then
	deepest int // of the chains before
	stacked int // set operations and joins
}

func (l *level) depth() int { return l.stacked + max(l.deepest, l.chain+l.inner) }

func (l *level) endChain() {
	l.deepest = max(l.deepest, l.chain+l.inner)
	l.chain, l.inner = 0, 0
}

// add counts a token and reports whether the statement is still shallow enough.
func (m *depthMeter) add(t token) bool {
	if len(m.levels) == 0 {
		m.levels = append(m.levels, level{})
	}
	top := &m.levels[len(m.levels)-1]
	switch {
	case t.isSymbol("("), t.isSymbol("["), t.isSymbol("{"):
		m.levels = append(m.levels, level{})
		return len(m.levels) <= maxNesting
	case t.isSymbol(")"), t.isSymbol("]"), t.isSymbol("}"):
		if len(m.levels) > 1 {
			m.levels = m.levels[:len(m.levels)-1]
			outer := &m.levels[len(m.levels)-1]
			outer.inner = max(outer.inner, top.depth()+1)
			top = outer
		}
		// A call, a subscript or parentheses behind it stand above what was before.
		top.chain++
	case t.isSymbol(","):
		top.endChain()
	case t.kind == tokenSymbol && !t.isSymbol("."):
		top.chain++
	case t.kind == tokenWord:
		top.word(strings.ToLower(t.text))
	}
	return top.depth() <= maxDepth
}

func (l *level) word(w string) {
	switch w {
	case "and", "or", "select", "from", "where", "group", "having", "order", "limit", "on", "set", "values", "returning", "qualify":
		l.endChain()
	case "union", "intersect", "except", "join":
		l.endChain()
		l.stacked++
	case "not", "case", "when", "then", "else", "is", "isnull", "notnull", "like", "ilike", "similar", "between", "in",
		"collate", "at", "array", "cast", "exists", "any", "all", "glob", "filter", "over", "operator", "lambda":
		l.chain++
	}
}
