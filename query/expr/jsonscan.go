package expr

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxJSONDepth bounds the nesting of JSON values.
const maxJSONDepth = 512

// jsonScan walks over JSON text, RFC 8259, without building a tree.
type jsonScan struct {
	s   string
	pos int
}

// ValidJSON reports whether s is one JSON value of valid UTF-8, with white space around it at most.
func ValidJSON(s string) bool {
	sc := jsonScan{s: s}
	if !sc.value(0) {
		return false
	}
	sc.space()
	return sc.pos == len(s) && utf8.ValidString(s)
}

func (sc *jsonScan) space() {
	for sc.pos < len(sc.s) {
		switch sc.s[sc.pos] {
		case ' ', '\t', '\n', '\r':
			sc.pos++
		default:
			return
		}
	}
}

// peek skips white space and returns the next character, 0 at the end.
func (sc *jsonScan) peek() byte {
	sc.space()
	if sc.pos == len(sc.s) {
		return 0
	}
	return sc.s[sc.pos]
}

// value moves over one value and reports whether it is well formed.
func (sc *jsonScan) value(depth int) bool {
	if depth > maxJSONDepth {
		return false
	}
	switch c := sc.peek(); {
	case c == '{':
		return sc.object(depth, nil)
	case c == '[':
		return sc.array(depth, nil)
	case c == '"':
		return sc.stringLit()
	case c == 't':
		return sc.word("true")
	case c == 'f':
		return sc.word("false")
	case c == 'n':
		return sc.word("null")
	case c == '-' || isDigit(c):
		return sc.number()
	}
	return false
}

func (sc *jsonScan) word(w string) bool {
	if len(sc.s)-sc.pos < len(w) || sc.s[sc.pos:sc.pos+len(w)] != w {
		return false
	}
	sc.pos += len(w)
	return true
}

func (sc *jsonScan) digits() bool {
	start := sc.pos
	for sc.pos < len(sc.s) && isDigit(sc.s[sc.pos]) {
		sc.pos++
	}
	return sc.pos > start
}

func (sc *jsonScan) accept(c byte) bool {
	if sc.pos < len(sc.s) && sc.s[sc.pos] == c {
		sc.pos++
		return true
	}
	return false
}

func (sc *jsonScan) number() bool {
	sc.accept('-')
	if sc.accept('0') {
		if sc.pos < len(sc.s) && isDigit(sc.s[sc.pos]) {
			return false
		}
	} else if !sc.digits() {
		return false
	}
	if sc.accept('.') && !sc.digits() {
		return false
	}
	if sc.accept('e') || sc.accept('E') {
		if !sc.accept('+') {
			sc.accept('-')
		}
		return sc.digits()
	}
	return true
}

func (sc *jsonScan) stringLit() bool {
	for sc.pos++; sc.pos < len(sc.s); sc.pos++ {
		switch c := sc.s[sc.pos]; {
		case c == '"':
			sc.pos++
			return true
		case c < 0x20:
			return false
		case c == '\\':
			if !sc.escape() {
				return false
			}
		}
	}
	return false
}

// escape checks the escape at pos and leaves pos on its last character.
func (sc *jsonScan) escape() bool {
	sc.pos++
	if sc.pos == len(sc.s) {
		return false
	}
	switch sc.s[sc.pos] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		r, ok := sc.hex4(sc.pos + 1)
		if !ok {
			return false
		}
		sc.pos += 4
		if !utf16.IsSurrogate(r) {
			return true
		}
		return sc.lowSurrogate(r)
	}
	return false
}

func (sc *jsonScan) lowSurrogate(high rune) bool {
	if sc.pos+2 >= len(sc.s) || sc.s[sc.pos+1] != '\\' || sc.s[sc.pos+2] != 'u' {
		return false
	}
	low, ok := sc.hex4(sc.pos + 3)
	if !ok || utf16.DecodeRune(high, low) == utf8.RuneError {
		return false
	}
	sc.pos += 6
	return true
}

func (sc *jsonScan) hex4(at int) (rune, bool) {
	if at+4 > len(sc.s) {
		return 0, false
	}
	var r int64
	for i := at; i < at+4; i++ {
		d, ok := radixDigit(sc.s[i], 16)
		if !ok {
			return 0, false
		}
		r = r<<4 | d
	}
	return rune(r), true
}

// array moves over an array at pos, calling each, if not nil, with every element's raw text until it returns false.
func (sc *jsonScan) array(depth int, each func(i int, raw string) bool) bool {
	sc.pos++
	if sc.peek() == ']' {
		sc.pos++
		return true
	}
	for i := 0; ; i++ {
		sc.space()
		start := sc.pos
		if !sc.value(depth + 1) {
			return false
		}
		if each != nil && !each(i, sc.s[start:sc.pos]) {
			return true
		}
		switch sc.peek() {
		case ',':
			sc.pos++
		case ']':
			sc.pos++
			return true
		default:
			return false
		}
	}
}

// object moves over an object at pos, calling each, if not nil, with every raw key (in quotes) and raw value until
// it returns false.
func (sc *jsonScan) object(depth int, each func(key, raw string) bool) bool {
	sc.pos++
	if sc.peek() == '}' {
		sc.pos++
		return true
	}
	for {
		if sc.peek() != '"' {
			return false
		}
		key := sc.pos
		if !sc.stringLit() {
			return false
		}
		keyEnd := sc.pos
		if sc.peek() != ':' {
			return false
		}
		sc.pos++
		sc.space()
		start := sc.pos
		if !sc.value(depth + 1) {
			return false
		}
		if each != nil && !each(sc.s[key:keyEnd], sc.s[start:sc.pos]) {
			return true
		}
		switch sc.peek() {
		case ',':
			sc.pos++
		case '}':
			sc.pos++
			return true
		default:
			return false
		}
	}
}

// unquoteJSON returns the text of a valid JSON string literal.
func unquoteJSON(raw string) string {
	body := raw[1 : len(raw)-1]
	i := 0
	for i < len(body) && body[i] != '\\' {
		i++
	}
	if i == len(body) {
		return body
	}
	out := append(make([]byte, 0, len(body)), body[:i]...)
	for ; i < len(body); i++ {
		if body[i] != '\\' {
			out = append(out, body[i])
			continue
		}
		i++
		switch body[i] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			var r rune
			r, i = unescapeRune(body, i)
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, body[i])
		}
	}
	return string(out)
}

// unescapeRune reads uXXXX, and its low surrogate, at i and returns the index of its last character.
func unescapeRune(body string, i int) (rune, int) {
	u, _ := strconv.ParseUint(body[i+1:i+5], 16, 32)
	i += 4
	r := rune(u)
	if utf16.IsSurrogate(r) {
		low, _ := strconv.ParseUint(body[i+3:i+7], 16, 32)
		return utf16.DecodeRune(r, rune(low)), i + 6
	}
	return r, i
}

// appendJSONString appends s as a JSON string literal. Bytes that are not UTF-8 become U+FFFD.
func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[start:i]...), "\ufffd"...)
				start = i + 1
			}
			i += n
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = appendJSONEscape(append(dst, s[start:i]...), c)
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

func appendJSONEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
