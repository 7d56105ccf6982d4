package parse

import (
	"strings"

	"kalamlog.dev/kalam/internal/problem"
)

// isNative reports whether a statement that begins with word is read by this package's own small grammar.
func isNative(word string) bool {
	switch word {
	case "flush", "kill", "show", "describe", "desc", "subscribe", "explain", "compact":
		return true
	}
	return false
}

// native reads Kalam's own statements, token by token. The first error sticks.
type native struct {
	Piece
	lex *lexer
	tok token // the next token, not yet taken
	err error
}

func parseNative(p Piece, l *lexer, word string) (Statement, error) {
	n := &native{Piece: p, lex: l}
	n.advance()
	s := n.statement(word)
	if n.err == nil && s == nil {
		n.unexpected()
	}
	return s, n.err
}

func (n *native) statement(word string) Statement {
	switch word {
	case "flush":
		n.expect("table")
		return n.finish(FlushTable{Table: n.tableName()})
	case "compact":
		n.fail(problem.New(problem.Unsupported, "COMPACT TABLE is not supported").At(1))
		return nil
	case "kill":
		return n.kill()
	case "show":
		return n.show()
	case "subscribe":
		n.expect("to")
		return n.subscribe()
	case "explain":
		return n.explain()
	default:
		return n.describe()
	}
}

func (n *native) kill() Statement {
	if n.accept("job") {
		return n.finish(KillJob{ID: n.literal()})
	}
	n.expect("live")
	n.expect("query")
	return n.finish(KillLiveQuery{ID: n.literal()})
}

func (n *native) show() Statement {
	s := Show{}
	switch {
	case n.accept("tables"):
		s.What = "tables"
	case n.accept("schemas"), n.accept("namespaces"), n.accept("databases"):
		return n.finish(Show{What: "schemas"})
	default:
		return nil
	}
	if n.accept("from") || n.accept("in") {
		s.Namespace = n.identifier()
	}
	return n.finish(s)
}

// describe reads DESCRIBE t. DESCRIBE of a query is a query itself.
func (n *native) describe() Statement {
	if n.tok.is("select") || n.tok.is("with") || n.tok.is("from") || n.tok.isSymbol("(") {
		return parseSelect(n.Piece)
	}
	n.accept("table")
	return n.finish(Describe{Table: n.tableName()})
}

func (n *native) subscribe() Statement {
	if n.err != nil {
		return nil
	}
	return Subscribe{Select: parseSelect(n.rest())}
}

func (n *native) explain() Statement {
	e := Explain{Analyze: n.accept("analyze")}
	if n.err != nil || n.tok.kind == tokenEnd {
		return nil
	}
	rest := n.rest()
	inner, err := parseStatement(rest)
	if err != nil {
		n.fail(shift(err, -(charPosition(n.text, len(n.text)-len(rest.text)) - 1)))
		return nil
	}
	e.Of = inner
	return e
}

// rest returns what is left as a piece of its own.
func (n *native) rest() Piece {
	at := n.tok.start
	r := Piece{text: n.text[at:], offset: n.offset + at, params: n.params}
	for _, f := range n.floors {
		if f >= at {
			r.floors = append(r.floors, f-at)
		}
	}
	return r
}

func (n *native) finish(s Statement) Statement {
	if n.err == nil && n.tok.kind != tokenEnd {
		n.unexpected()
	}
	return s
}

func (n *native) advance() {
	t, err := n.lex.next()
	if err != nil {
		n.fail(n.lex.lexProblem(err, 0))
		t = token{kind: tokenEnd, start: len(n.text), end: len(n.text)}
	}
	n.tok = t
}

func (n *native) fail(err error) {
	if n.err == nil {
		n.err = err
	}
}

func (n *native) unexpected() {
	if n.tok.kind == tokenEnd {
		n.fail(problem.New(problem.SyntaxError, "syntax error at end of input").At(charPosition(n.text, len(n.text))))
		return
	}
	n.fail(problem.New(problem.SyntaxError, "syntax error at or near \"%s\"", n.tok.text).
		At(charPosition(n.text, n.tok.start)))
}

func (n *native) accept(word string) bool {
	if !n.tok.is(word) {
		return false
	}
	n.advance()
	return true
}

func (n *native) expect(word string) {
	if n.err == nil && !n.accept(word) {
		n.unexpected()
	}
}

func (n *native) identifier() string {
	if n.tok.kind != tokenWord && n.tok.kind != tokenQuoted {
		n.unexpected()
		return ""
	}
	w := n.tok.word()
	n.advance()
	return w
}

func (n *native) tableName() TableName {
	name := TableName{Position: charPosition(n.text, n.tok.start)}
	name.Name = n.identifier()
	if n.tok.isSymbol(".") {
		n.advance()
		name.Namespace, name.Name = name.Name, n.identifier()
	}
	return name
}

// literal reads 'text', or a bare word or number.
func (n *native) literal() string {
	t := n.tok
	switch {
	case t.kind == tokenString && strings.HasPrefix(t.text, "'"):
		n.advance()
		return strings.ReplaceAll(t.text[1:len(t.text)-1], "''", "'")
	case t.kind == tokenNumber:
		n.advance()
		return t.text
	}
	return n.identifier()
}
