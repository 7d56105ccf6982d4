package expr

import (
	"strings"

	"kalamlog.dev/kalam/internal/problem"
)

// castText reads text as a value of type to.
func castText(v Value, to Type) (Value, error) {
	r, ok := parseScalar(v.str, to, false)
	if ok {
		return r, nil
	}
	if to.Kind == JSON {
		return castTextToJSON(v.str)
	}
	return Value{}, textError(v.str, to)
}

// parseScalar reads text as an explicit cast does; strict refuses text after a date or time.
func parseScalar(s string, to Type, strict bool) (Value, bool) {
	var i int64
	var ok bool
	switch to.Kind {
	case Bool:
		b, ok := parseBool(s)
		return BoolOf(b), ok
	case SmallInt, Integer, BigInt, tinyInt:
		i, ok = parseInteger(s, to.Kind)
	case hugeInt:
		u, ok := parseDecimal(s, decimalType(maxPrecision, 0))
		return hugeOf(u), ok
	case Real, Double:
		f, ok := parseFloat(s, to.Kind)
		return FloatOf(to.Kind, f), ok
	case Decimal:
		u, ok := parseDecimal(s, to)
		return decimalOf(u, to.Scale), ok
	case Blob:
		return parseBlob(s)
	case interval:
		return parseInterval(s)
	case Date:
		i, ok = parseDate(s, strict)
	case Time:
		i, ok = parseTime(s, strict)
	case Timestamp:
		i, ok = parseTimestamp(s, false)
	case TimestampTZ:
		i, ok = parseTimestamp(s, true)
	case UUID:
		hi, lo, ok := parseUUID(s)
		return Value{kind: UUID, hi: hi, lo: lo}, ok
	}
	if !ok {
		return Value{}, false
	}
	return IntOf(to.Kind, i), true
}

func textError(s string, to Type) error {
	p := invalidText(s, to)
	switch to.Kind {
	case Date:
		return p.WithHint("write it as YYYY-MM-DD")
	case Time:
		return p.WithHint("write it as HH:MM:SS[.ffffff]")
	case Timestamp:
		return p.WithHint("write it as YYYY-MM-DD HH:MM:SS[.ffffff]")
	case TimestampTZ:
		return p.WithHint("write it as YYYY-MM-DD HH:MM:SS[.ffffff] with Z or an offset such as +02:00")
	case Blob:
		return p.WithHint(`write bytes that are not printable ASCII as \x41`)
	}
	if to.Kind == interval {
		return p.WithHint("write it as 1 day 2 hours")
	}
	if isNumeric(to.Kind) {
		if _, ok := parseFloat(s, Double); ok {
			return problem.New(problem.OutOfRange, "%q is out of the range of %s", shorten(s), to)
		}
	}
	return p
}

func parseBool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "t", "true", "y", "yes", "1":
		return true, true
	case "f", "false", "n", "no", "0":
		return false, true
	}
	return false, false
}

// parseBlob reads ASCII text with \xNN escapes.
func parseBlob(s string) (Value, bool) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c > 127 {
			return Value{}, false
		}
		if c != '\\' {
			out = append(out, c)
			continue
		}
		if i+3 >= len(s) || s[i+1] != 'x' {
			return Value{}, false
		}
		high, ok1 := radixDigit(s[i+2], 16)
		low, ok2 := radixDigit(s[i+3], 16)
		if !ok1 || !ok2 {
			return Value{}, false
		}
		out = append(out, byte(high<<4|low))
		i += 3
	}
	return Value{kind: Blob, str: string(out)}, true
}

// parseUUID reads 32 hexadecimal digits with hyphens anywhere, in braces or not.
func parseUUID(s string) (hi, lo uint64, ok bool) {
	if s != "" && s[0] == '{' {
		if s[len(s)-1] != '}' || len(s) < 2 {
			return 0, 0, false
		}
		s = s[1 : len(s)-1]
	}
	n := 0
	for i := range len(s) {
		if s[i] == '-' {
			continue
		}
		d, ok := radixDigit(s[i], 16)
		if !ok || n == 32 {
			return 0, 0, false
		}
		if n < 16 {
			hi = hi<<4 | uint64(d)
		} else {
			lo = lo<<4 | uint64(d)
		}
		n++
	}
	return hi, lo, n == 32
}

// castTextToList reads [a, b, NULL]; elements may be quoted with ' or " and escaped with a backslash.
func castTextToList(s string, to Type, try bool) (Value, error) {
	parts, ok := splitList(s)
	if !ok {
		return Value{}, invalidText(s, to).WithHint("write it as [a, b, c]")
	}
	out := make([]Value, len(parts))
	for i, p := range parts {
		if equalFold(p.raw, "null") {
			continue
		}
		var err error
		if out[i], err = castElement(TextOf(p.text()), typeOf(Text), *to.Elem, try); err != nil {
			return Value{}, err
		}
	}
	return ListOf(out), nil
}

type listPart struct{ raw string }

// text removes the quotes and escapes of an element; what is in brackets stays as it is.
func (p listPart) text() string {
	out := make([]byte, 0, len(p.raw))
	var closers []byte
	var quote byte
	for i := 0; i < len(p.raw); i++ {
		c := p.raw[i]
		if len(closers) == 0 && c == '\\' && i+1 < len(p.raw) &&
			(quote != 0 || p.raw[i+1] == '\'' || p.raw[i+1] == '"') {
			i++
			out = append(out, p.raw[i])
			continue
		}
		if len(closers) == 0 && (c == '\'' || c == '"') {
			if quote == c {
				quote = 0
				continue
			}
			if quote == 0 {
				quote = c
				continue
			}
		}
		if quote == 0 {
			closers = trackBrackets(closers, c)
		}
		out = append(out, c)
	}
	return string(out)
}

func trackBrackets(closers []byte, c byte) []byte {
	if n := len(closers); n > 0 && c == closers[n-1] {
		closers = closers[:n-1]
	}
	switch c {
	case '[':
		return append(closers, ']')
	case '{':
		return append(closers, '}')
	case '(':
		return append(closers, ')')
	}
	return closers
}

// splitList parts the text of a list into its elements, trimmed.
func splitList(s string) ([]listPart, bool) {
	sc := listScan{s: s}
	sc.skipSpace()
	if sc.pos == len(s) || s[sc.pos] != '[' {
		return nil, false
	}
	sc.pos++
	sc.skipSpace()
	var parts []listPart
	for sc.pos < len(s) {
		start, end := -1, 0
		for sc.pos < len(s) && s[sc.pos] != ',' && s[sc.pos] != ']' {
			if !sc.step(&start, &end) {
				return nil, false
			}
		}
		if sc.pos == len(s) {
			return nil, false
		}
		last := s[sc.pos] == ']'
		switch {
		case start >= 0:
			parts = append(parts, listPart{raw: s[start : end+1]})
		case !last || len(parts) > 0:
			parts = append(parts, listPart{})
		}
		if last {
			break
		}
		sc.pos++
		sc.skipSpace()
	}
	sc.pos++
	sc.skipSpace()
	return parts, sc.pos == len(s)
}

type listScan struct {
	s       string
	pos     int
	escaped bool
}

func (sc *listScan) skipSpace() {
	for sc.pos < len(sc.s) && isSpace(sc.s[sc.pos]) {
		sc.pos++
		sc.escaped = false
	}
}

// step moves over one character, quoted text or bracketed text of an element.
func (sc *listScan) step(start, end *int) bool {
	c := sc.s[sc.pos]
	if !isSpace(c) && *start < 0 {
		*start = sc.pos
	}
	escape := false
	switch {
	case c == '"' || c == '\'':
		if !sc.escaped && !sc.closeQuote() {
			return false
		}
		*end = sc.pos
	case c == '[' || c == '{' || c == '(':
		if !sc.closeBracket() {
			return false
		}
		*end = sc.pos
	case c == '\\':
		escape = true
		*end = sc.pos
	case !isSpace(c):
		*end = sc.pos
	}
	sc.escaped = escape
	sc.pos++
	return true
}

func (sc *listScan) closeQuote() bool {
	quote := sc.s[sc.pos]
	for sc.pos++; sc.pos < len(sc.s); sc.pos++ {
		switch c := sc.s[sc.pos]; {
		case c == '\\' && !sc.escaped:
			sc.escaped = true
			continue
		case c == quote && !sc.escaped:
			return true
		}
		sc.escaped = false
	}
	return false
}

func (sc *listScan) closeBracket() bool {
	var closers []byte
	for ; sc.pos < len(sc.s); sc.pos++ {
		c := sc.s[sc.pos]
		if (c == '"' || c == '\'') && !sc.escaped {
			if !sc.closeQuote() {
				return false
			}
			continue
		}
		before := len(closers)
		if closers = trackBrackets(closers, c); len(closers) < before && len(closers) == 0 {
			return true
		}
		sc.escaped = c == '\\'
	}
	return false
}
