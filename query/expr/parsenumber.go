package expr

import "math"

// numberState collects a number's text as DuckDB's integer casts do: the whole part, then the digits after the
// point, of which only the first matters for rounding.
type numberState struct {
	result  int64
	decimal int64
	digits  uint16 // of decimal
	low     int64  // the kind's range
	high    int64
}

func intRange(k Kind) (low, high int64) {
	switch k {
	case tinyInt:
		return math.MinInt8, math.MaxInt8
	case SmallInt:
		return math.MinInt16, math.MaxInt16
	case Integer:
		return math.MinInt32, math.MaxInt32
	}
	return math.MinInt64, math.MaxInt64
}

// parseInteger reads text as CAST(s AS k) does: spaces around, underscores between digits, a fraction (rounded half
// away from zero), an exponent, 0x and 0b.
func parseInteger(s string, k Kind) (int64, bool) {
	for len(s) > 0 && isSpace(s[0]) {
		s = s[1:]
	}
	if s == "" {
		return 0, false
	}
	if len(s) > 1 && s[0] == '0' {
		switch s[1] {
		case 'x', 'X':
			return parseRadix(s[2:], 16, k)
		case 'b', 'B':
			return parseRadix(s[2:], 2, k)
		}
	}
	st := numberState{}
	st.low, st.high = intRange(k)
	if !scanNumber(s, &st, true) {
		return 0, false
	}
	return st.result, true
}

func parseRadix(s string, base int64, k Kind) (int64, bool) {
	_, high := intRange(k)
	var r int64
	for i := 0; i < len(s); i++ {
		d, ok := radixDigit(s[i], base)
		if !ok || r > (high-d)/base {
			return 0, false
		}
		r = r*base + d
		if i+1 < len(s) && s[i+1] == '_' {
			i++
			if i+1 == len(s) {
				return 0, false
			}
		}
	}
	return r, len(s) > 0
}

func radixDigit(c byte, base int64) (int64, bool) {
	c = lowerASCII(c)
	var d int64
	switch {
	case isDigit(c):
		d = int64(c - '0')
	case c >= 'a' && c <= 'f':
		d = int64(c-'a') + 10
	default:
		return 0, false
	}
	return d, d < base
}

// numberSink receives the parts of a number's text in order.
type numberSink interface {
	digit(d int64, negative bool) bool
	fraction(d int64, negative bool) bool
	exponent(e int16, negative bool) bool // finishes too
	finish(negative bool) bool
}

// scanNumber feeds the text of a number, without leading spaces, to sink. It is DuckDB's IntegerCastLoop.
func scanNumber(s string, sink numberSink, allowExponent bool) bool {
	negative := s[0] == '-'
	start := 0
	if negative || s[0] == '+' {
		start = 1
	}
	pos := start
	for pos < len(s) {
		if !isDigit(s[pos]) {
			done, ok := scanTail(s, &pos, start, negative, sink, allowExponent)
			if done || !ok {
				return ok
			}
			break
		}
		if !sink.digit(int64(s[pos]-'0'), negative) {
			return false
		}
		pos++
		if !skipUnderscore(s, &pos) {
			return false
		}
	}
	return sink.finish(negative) && pos > start
}

func skipUnderscore(s string, pos *int) bool {
	if *pos == len(s) || s[*pos] != '_' {
		return true
	}
	*pos++
	return *pos < len(s) && isDigit(s[*pos])
}

// scanTail reads what follows the whole digits. done reports that the number is finished in full.
func scanTail(s string, pos *int, start int, negative bool, sink numberSink, allowExponent bool) (done, ok bool) {
	if s[*pos] == '.' {
		if !scanFraction(s, pos, start, negative, sink) {
			return true, false
		}
		if *pos >= len(s) {
			return false, true
		}
	}
	if isSpace(s[*pos]) {
		for *pos < len(s) && isSpace(s[*pos]) {
			*pos++
		}
		return false, *pos == len(s)
	}
	if !allowExponent || lowerASCII(s[*pos]) != 'e' || *pos == start {
		return true, false
	}
	rest := s[*pos+1:]
	if rest == "" {
		return true, false
	}
	var exp exponentState
	if !scanNumber(rest, &exp, false) {
		return true, false
	}
	return true, sink.exponent(int16(exp), negative)
}

func scanFraction(s string, pos *int, start int, negative bool, sink numberSink) bool {
	whole := *pos > start
	*pos++
	first := *pos
	for *pos < len(s) && isDigit(s[*pos]) {
		if !sink.fraction(int64(s[*pos]-'0'), negative) {
			return false
		}
		*pos++
		if !skipUnderscore(s, pos) {
			return false
		}
	}
	return whole || *pos > first
}

// exponentState reads a 16-bit exponent.
type exponentState int16

func (e *exponentState) digit(d int64, negative bool) bool {
	next := int64(*e)*10 + d
	if negative {
		next = int64(*e)*10 - d
	}
	*e = exponentState(next)
	return next >= math.MinInt16 && next <= math.MaxInt16
}
func (e *exponentState) fraction(int64, bool) bool { return false }
func (e *exponentState) exponent(int16, bool) bool { return false }
func (e *exponentState) finish(bool) bool          { return true }

func (st *numberState) digit(d int64, negative bool) bool {
	if negative {
		if st.result < (math.MinInt64+d)/10 {
			return false
		}
		st.result = st.result*10 - d
		return true
	}
	if st.result > (math.MaxInt64-d)/10 {
		return false
	}
	st.result = st.result*10 + d
	return true
}

func (st *numberState) fraction(d int64, _ bool) bool {
	if st.decimal > (math.MaxInt64-d)/10 {
		return true
	}
	st.digits++
	st.decimal = st.decimal*10 + d
	return true
}

func (st *numberState) exponent(e int16, negative bool) bool {
	if e < 0 {
		for ; e < 0; e++ {
			st.decimal = st.result % 10
			st.result /= 10
			if st.result == 0 && st.decimal == 0 {
				break
			}
		}
		if st.decimal < 0 {
			st.decimal = -st.decimal
		}
		st.digits = 1
		return st.finish(negative)
	}
	for n := e; st.result != 0 && n > 0; n-- {
		var ok bool
		if st.result, ok = mulInt64(st.result, 10); !ok {
			return false
		}
	}
	if st.decimal == 0 {
		return st.finish(negative)
	}
	return st.shiftFraction(e, negative)
}

// shiftFraction moves the digits after the point into the whole part by a positive exponent.
func (st *numberState) shiftFraction(exp int16, negative bool) bool {
	e := int(exp) - int(st.digits)
	var remainder int64
	switch {
	case e < 0 && -e <= 18:
		power := int64(pow10Small(-e))
		remainder = st.decimal % power
		st.decimal /= power
	case e < 0:
		st.decimal = 0
	default:
		for ; e > 0; e-- {
			var ok bool
			if st.decimal, ok = mulInt64(st.decimal, 10); !ok {
				return false
			}
		}
	}
	st.digits -= uint16(exp)
	var ok bool
	if negative {
		st.result, ok = subInt64(st.result, st.decimal)
	} else {
		st.result, ok = addInt64(st.result, st.decimal)
	}
	st.decimal = remainder
	return ok && st.finish(negative)
}

func (st *numberState) finish(negative bool) bool {
	if st.result < st.low || st.result > st.high {
		return false
	}
	for st.decimal > 10 {
		st.decimal /= 10
		st.digits--
	}
	if st.digits != 1 || st.decimal < 5 {
		return true
	}
	if negative {
		st.result--
		return st.result >= st.low && st.result < 0
	}
	st.result++
	return st.result <= st.high && st.result > 0
}

func addInt64(a, b int64) (int64, bool) {
	c := a + b
	return c, (c > a) == (b > 0)
}

func subInt64(a, b int64) (int64, bool) {
	c := a - b
	return c, (c < a) == (b > 0)
}

func mulInt64(a, b int64) (int64, bool) {
	if a == 0 || b == 0 {
		return 0, true
	}
	c := a * b
	if (c < 0) == ((a < 0) != (b < 0)) && c/b == a && (a != math.MinInt64 || b != -1) && (b != math.MinInt64 || a != -1) {
		return c, true
	}
	return 0, false
}
