package parse

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"kalamlog.dev/kalam/internal/problem"
)

// maxDepth bounds the nesting of parentheses and brackets in a statement, and with it the stack that the parsers
// below need.
const maxDepth = 250

// maxTokens bounds the length of a statement in tokens, literals of a VALUES list included.
const maxTokens = 2_000_000

// piece is one statement's text with what its tokens told.
type piece struct {
	text   string
	offset int   // of text in the batch
	params int   // highest $n
	floors []int // offsets in text of the operator //
}

// split cuts a batch at the semicolons outside of strings, quoted identifiers and comments. It works on text that the
// parsers do not understand. Empty statements are dropped.
func split(sql string) ([]piece, error) {
	var pieces []piece
	l := &lexer{src: sql}
	for {
		p, more, err := l.statement()
		if err != nil {
			return pieces, inStatement(err, len(pieces)+1)
		}
		if p.text != "" {
			pieces = append(pieces, p)
		}
		if !more {
			return pieces, nil
		}
	}
}

// statement reads up to the next semicolon or the end. more is false at the end.
func (l *lexer) statement() (p piece, more bool, err error) {
	start, end, depth := -1, 0, 0
	for n := 0; ; n++ {
		t, err := l.next()
		if err != nil {
			return p, false, l.lexProblem(err, start)
		}
		if start < 0 {
			start, end = t.start, t.start
		}
		if t.kind == tokenEnd || t.isSymbol(";") {
			p.text, p.offset = l.src[start:end], start
			return p, t.kind != tokenEnd, nil
		}
		end = t.end
		if depth = nesting(t, depth); depth > maxDepth || n > maxTokens {
			return p, false, problem.New(problem.Unsupported, "statement is too deeply nested or too long").
				At(charPosition(l.src[start:], t.start-start))
		}
		p.note(t, start)
	}
}

func nesting(t token, depth int) int {
	switch {
	case t.isSymbol("("), t.isSymbol("["), t.isSymbol("{"):
		return depth + 1
	case t.isSymbol(")"), t.isSymbol("]"), t.isSymbol("}"):
		return depth - 1
	}
	return depth
}

func (p *piece) note(t token, start int) {
	switch {
	case t.kind == tokenParam:
		if n, err := strconv.Atoi(t.text[1:]); err == nil {
			p.params = max(p.params, n)
		}
	case t.isSymbol("//"):
		p.floors = append(p.floors, t.start-start)
	}
}

func (l *lexer) lexProblem(err error, start int) error {
	var u *unterminated
	if !errors.As(err, &u) {
		return err
	}
	if start < 0 {
		start = u.start
	}
	return problem.New(problem.SyntaxError, "%s at or near %q", u.Error(), near(l.src[u.start:])).
		At(charPosition(l.src[start:], u.start-start))
}

// near returns the beginning of s for a message.
func near(s string) string {
	const most = 24
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "..."
}

// charPosition turns a 0-based byte offset into a 1-based character position.
func charPosition(s string, offset int) int {
	offset = min(max(offset, 0), len(s))
	return utf8.RuneCountInString(s[:offset]) + 1
}

// inStatement sets the number of the statement in a problem that has none.
func inStatement(err error, n int) error {
	p := problem.As(err)
	if p == nil || p.Statement != 0 {
		return err
	}
	c := *p
	c.Statement = n
	return &c
}

// QuoteIdentifier returns name as SQL text that reads as exactly that identifier.
func QuoteIdentifier(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// QuoteString returns s as an SQL string literal.
func QuoteString(s string) string {
	return `'` + strings.ReplaceAll(s, `'`, `''`) + `'`
}
