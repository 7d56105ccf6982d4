package parse

import (
	"strings"
	"unicode/utf8"
)

// tokenKind is the lexical class of a token.
type tokenKind uint8

const (
	tokenEnd    tokenKind = iota
	tokenWord             // an unquoted identifier or key word
	tokenQuoted           // "an identifier"
	tokenString           // 'text', E'text', $$text$$
	tokenNumber
	tokenParam  // $1
	tokenSymbol // one character of punctuation, or // as a whole
)

// token is one lexical unit of SQL: text is src[start:end].
type token struct {
	kind       tokenKind
	start, end int
	text       string
}

// word returns the token as a folded identifier or key word: lower case, or as quoted.
func (t token) word() string {
	switch t.kind {
	case tokenWord:
		return strings.ToLower(t.text)
	case tokenQuoted:
		return strings.ReplaceAll(t.text[1:len(t.text)-1], `""`, `"`)
	default:
		return ""
	}
}

// is reports whether t is the unquoted key word w, given in lower case.
func (t token) is(w string) bool { return t.kind == tokenWord && strings.EqualFold(t.text, w) }

func (t token) isSymbol(s string) bool { return t.kind == tokenSymbol && t.text == s }

// lexer cuts SQL text into tokens. It knows as much of PostgreSQL's and DuckDB's lexical rules as is needed to tell
// strings, identifiers and comments from the rest, and never fails but on one of these that has no end.
type lexer struct {
	src string
	pos int
}

// unterminated is the error of a string, quoted identifier or comment without end.
type unterminated struct {
	start int
	what  string
}

func (u *unterminated) Error() string { return "unterminated " + u.what }

// next returns the next token, skipping white space and comments.
func (l *lexer) next() (token, error) {
	if err := l.skipSpace(); err != nil {
		return token{}, err
	}
	start := l.pos
	if start >= len(l.src) {
		return token{kind: tokenEnd, start: start, end: start}, nil
	}
	kind, err := l.scan()
	if err != nil {
		return token{}, err
	}
	return token{kind: kind, start: start, end: l.pos, text: l.src[start:l.pos]}, nil
}

func (l *lexer) skipSpace() error {
	for l.pos < len(l.src) {
		rest := l.src[l.pos:]
		switch {
		case isSpace(rest[0]):
			l.pos++
		case strings.HasPrefix(rest, "--"):
			l.skipLine()
		case strings.HasPrefix(rest, "/*"):
			if err := l.skipBlock(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

func (l *lexer) skipLine() {
	if end := strings.IndexAny(l.src[l.pos:], "\r\n"); end >= 0 {
		l.pos += end
		return
	}
	l.pos = len(l.src)
}

// skipBlock skips a block comment; they nest.
func (l *lexer) skipBlock() error {
	start, depth := l.pos, 0
	for l.pos < len(l.src) {
		switch {
		case strings.HasPrefix(l.src[l.pos:], "/*"):
			depth++
			l.pos += 2
		case strings.HasPrefix(l.src[l.pos:], "*/"):
			depth--
			l.pos += 2
			if depth == 0 {
				return nil
			}
		default:
			l.pos++
		}
	}
	return &unterminated{start, "comment"}
}

func (l *lexer) scan() (tokenKind, error) {
	c := l.src[l.pos]
	switch {
	case c == '\'':
		return tokenString, l.quoted('\'', false)
	case c == '"':
		return tokenQuoted, l.quoted('"', false)
	case c == '$':
		return l.dollar()
	case (c == 'e' || c == 'E') && l.at(1) == '\'':
		l.pos++
		return tokenString, l.quoted('\'', true)
	case isWordStart(c):
		l.run(isWordPart)
		return tokenWord, nil
	case isDigit(c) || c == '.' && isDigit(l.at(1)):
		l.number()
		return tokenNumber, nil
	case c == '/' && l.at(1) == '/':
		l.pos += 2
		return tokenSymbol, nil
	}
	_, size := utf8.DecodeRuneInString(l.src[l.pos:])
	l.pos += size
	return tokenSymbol, nil
}

// quoted skips a string or identifier whose opening quote is at pos. A doubled quote stands for itself; with
// backslash set, so does an escaped one.
func (l *lexer) quoted(quote byte, backslash bool) error {
	start := l.pos
	for l.pos++; l.pos < len(l.src); l.pos++ {
		switch c := l.src[l.pos]; {
		case c == '\\' && backslash:
			l.pos++
		case c == quote && l.at(1) == quote:
			l.pos++
		case c == quote:
			l.pos++
			return nil
		}
	}
	l.pos = len(l.src)
	if quote == '"' {
		return &unterminated{start, "quoted identifier"}
	}
	return &unterminated{start, "quoted string"}
}

// dollar scans $1, $name or $tag$text$tag$.
func (l *lexer) dollar() (tokenKind, error) {
	start := l.pos
	l.pos++
	if isDigit(l.at(0)) {
		l.run(isDigit)
		return tokenParam, nil
	}
	l.run(func(c byte) bool { return isWordPart(c) && c != '$' })
	if l.at(0) != '$' {
		return tokenSymbol, nil
	}
	l.pos++
	tag := l.src[start:l.pos]
	end := strings.Index(l.src[l.pos:], tag)
	if end < 0 {
		return tokenString, &unterminated{start, "dollar-quoted string"}
	}
	l.pos += end + len(tag)
	return tokenString, nil
}

// number scans digits, a point and an exponent; what follows is left to the real parser.
func (l *lexer) number() {
	l.run(isDigit)
	if l.at(0) == '.' {
		l.pos++
		l.run(isDigit)
	}
	if c := l.at(0); c == 'e' || c == 'E' {
		if d := l.at(1); isDigit(d) || (d == '-' || d == '+') && isDigit(l.at(2)) {
			l.pos += 2
			l.run(isDigit)
		}
	}
}

func (l *lexer) run(in func(byte) bool) {
	for l.pos < len(l.src) && in(l.src[l.pos]) {
		l.pos++
	}
}

// at returns the byte n after pos, 0 beyond the end.
func (l *lexer) at(n int) byte {
	if l.pos+n >= len(l.src) {
		return 0
	}
	return l.src[l.pos+n]
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWordStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= utf8.RuneSelf
}

func isWordPart(c byte) bool { return isWordStart(c) || isDigit(c) || c == '$' }
