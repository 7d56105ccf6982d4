package expr

import (
	"math"
	"strconv"
	"strings"
)

// parseFloat reads text as CAST(s AS REAL or DOUBLE) does. Beyond the range it gives an infinity.
func parseFloat(s string, k Kind) (float64, bool) {
	s = strings.TrimFunc(s, func(r rune) bool { return r < 128 && isSpace(byte(r)) })
	if s == "" {
		return 0, false
	}
	body := s
	if body[0] == '+' {
		body, s = body[1:], s[1:]
	}
	negative := strings.HasPrefix(body, "-")
	if negative {
		body = body[1:]
	}
	if f, ok := specialFloat(body, negative); ok {
		return f, true
	}
	if !plainFloat(body) {
		return 0, false
	}
	width := 64
	if k == Real {
		width = 32
	}
	if strings.IndexByte(s, '_') >= 0 {
		s = strings.ReplaceAll(s, "_", "")
	}
	f, err := strconv.ParseFloat(s, width)
	return f, err == nil || math.IsInf(f, 0)
}

func specialFloat(body string, negative bool) (float64, bool) {
	switch {
	case equalFold(body, "inf"), equalFold(body, "infinity"):
		if negative {
			return math.Inf(-1), true
		}
		return math.Inf(1), true
	case equalFold(body, "nan"):
		return math.NaN(), true
	}
	return 0, false
}

// plainFloat checks digits[.digits][e[+-]digits] with single underscores between digits.
func plainFloat(s string) bool {
	digits := func() (n int) {
		for len(s) > 0 && (isDigit(s[0]) || s[0] == '_' && n > 0 && len(s) > 1 && isDigit(s[1])) {
			s, n = s[1:], n+1
		}
		return n
	}
	n := digits()
	if len(s) > 0 && s[0] == '.' {
		s = s[1:]
		n += digits()
	}
	if n == 0 {
		return false
	}
	if len(s) > 0 && lowerASCII(s[0]) == 'e' {
		s = s[1:]
		if len(s) > 0 && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		if digits() == 0 {
			return false
		}
	}
	return s == ""
}
