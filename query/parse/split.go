package parse

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"kalamlog.dev/kalam/internal/problem"
)

// maxTokens bounds the length of a statement in tokens, literals of a VALUES list included.
const maxTokens = 2_000_000

// Piece is one statement's text with what its tokens told.
type Piece struct {
	text   string
	offset int   // of the statement in the batch
	params int   // highest $n
	floors []int // offsets in text of the operator //
	quoted []int // offsets in text of words that were quoted, ascending
}

// Text returns the statement's text, with the reserved word default quoted where it stands for the schema.
func (p Piece) Text() string { return p.text }

// Place turns the position of a problem from one in Text into one in the statement as it was sent.
func (p Piece) Place(err error) error {
	q := problem.As(err)
	if q == nil || q.Position == 0 || len(p.quoted) == 0 {
		return err
	}
	back := 0
	for _, at := range p.quoted {
		word := charPosition(p.text, at)
		if q.Position > word {
			back++
		}
		if q.Position > word+len(defaultWord) {
			back++
		}
	}
	return q.At(q.Position - back)
}

const defaultWord = "default"

// quoteDefault quotes the word default before each of the dots at the given offsets: it names a schema that always
// exists, but both grammars reserve the word.
func (p *Piece) quoteDefault(words []int) {
	for i, at := range words {
		at += 2 * i
		p.text = p.text[:at] + `"` + defaultWord + `"` + p.text[at+len(defaultWord):]
		p.quoted = append(p.quoted, at)
		for j, f := range p.floors {
			if f > at {
				p.floors[j] += 2
			}
		}
	}
}

// Split cuts a batch into its statements without parsing them. Comments are the same as white space; empty statements
// are dropped. The error is a *problem.Error SyntaxError.
func Split(sql string) ([]Piece, error) {
	if err := checkText(sql); err != nil {
		return nil, err
	}
	return split(sql)
}

// split cuts a batch at the semicolons outside of strings, quoted identifiers and comments. It works on text that the
// parsers do not understand. Empty statements are dropped.
func split(sql string) ([]Piece, error) {
	var pieces []Piece
	l := &lexer{src: sql}
	for {
		p, more, err := l.statement()
		if err != nil {
			return pieces, InStatement(err, len(pieces)+1)
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
func (l *lexer) statement() (p Piece, more bool, err error) {
	start, end := -1, 0
	var depth depthMeter
	var last token
	var words []int
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
			p.quoteDefault(words)
			return p, t.kind != tokenEnd, nil
		}
		end = t.end
		if !depth.add(t) || n > maxTokens {
			return p, false, problem.New(problem.Unsupported, "statement is too deeply nested or too long").
				At(charPosition(l.src[start:], t.start-start))
		}
		if t.isSymbol(".") && last.is(defaultWord) {
			words = append(words, last.start-start)
		}
		p.note(t, start)
		last = t
	}
}

func (p *Piece) note(t token, start int) {
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

// InStatement sets the number of the statement in a problem that has none.
func InStatement(err error, n int) error {
	p := problem.As(err)
	if p == nil || p.Statement != 0 {
		return err
	}
	c := *p
	c.Statement = n
	return &c
}

// Locate returns the 1-based character position of the first identifier called name in an SQL text, 0 if there is none.
func Locate(text, name string) int {
	l := &lexer{src: text}
	for {
		t, err := l.next()
		if err != nil || t.kind == tokenEnd {
			return 0
		}
		if (t.kind == tokenWord || t.kind == tokenQuoted) && t.word() == name {
			return charPosition(text, t.start)
		}
	}
}

// Chain reads the dotted identifiers that begin at a byte offset of text: ns.t, "a b".t.*. It returns the folded names,
// the offset at which each begins, and the end of the last one. A star at the end is returned as "*".
func Chain(text string, at int) (names []string, starts []int, end int) {
	if at < 0 || at >= len(text) {
		return nil, nil, at
	}
	l := &lexer{src: text, pos: at}
	for {
		t, err := l.next()
		if err != nil {
			return names, starts, end
		}
		switch {
		case t.kind == tokenWord, t.kind == tokenQuoted:
			names = append(names, t.word())
		case t.isSymbol("*"):
			return append(names, "*"), append(starts, t.start), t.end
		default:
			return names, starts, end
		}
		starts, end = append(starts, t.start), t.end
		if dot, err := l.next(); err != nil || !dot.isSymbol(".") {
			return names, starts, end
		}
	}
}

// Word returns the next token at a byte offset if it is a bare word or one symbol, in lower case, with its extent.
func Word(text string, at int) (word string, start, end int) {
	l := &lexer{src: text, pos: min(max(at, 0), len(text))}
	t, err := l.next()
	if err != nil || t.kind != tokenWord && t.kind != tokenSymbol {
		return "", at, at
	}
	return strings.ToLower(t.text), t.start, t.end
}

// CharPosition turns a 0-based byte offset into text into a 1-based character position.
func CharPosition(text string, offset int) int { return charPosition(text, offset) }
