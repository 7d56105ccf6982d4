package expr

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"kalamlog.dev/kalam/internal/problem"
)

// textPartCall binds functions that find or cut parts of a text; places and lengths count characters, from 1.
func (c *compiler) textPartCall(name string, xs []operand) (operand, bool, error) {
	text := typeOf(Text)
	switch name {
	case "substr", "substring":
		if len(xs) == 2 {
			return c.strict(name, xs, text, []Kind{Text, BigInt}, func(v arguments) (Value, error) {
				return substring(v[0].str, v[1].Int(), math.MaxUint32)
			})
		}
		return c.strict(name, xs, text, []Kind{Text, BigInt, BigInt}, func(v arguments) (Value, error) {
			return substring(v[0].str, v[1].Int(), v[2].Int())
		})
	case "left":
		return c.strict(name, xs, text, []Kind{Text, BigInt}, func(v arguments) (Value, error) {
			return leftPart(v[0].str, v[1].Int())
		})
	case "right":
		return c.strict(name, xs, text, []Kind{Text, BigInt}, func(v arguments) (Value, error) {
			return rightPart(v[0].str, v[1].Int())
		})
	case "strpos", "instr":
		return c.strict(name, xs, typeOf(BigInt), []Kind{Text, Text}, func(v arguments) (Value, error) {
			at := strings.Index(v[0].str, v[1].str)
			if at < 0 {
				return IntOf(BigInt, 0), nil
			}
			return IntOf(BigInt, int64(utf8.RuneCountInString(v[0].str[:at]))+1), nil
		})
	case "trim", "ltrim", "rtrim":
		return c.trim(name, xs)
	}
	return operand{}, false, nil
}

func (c *compiler) trim(name string, xs []operand) (operand, bool, error) {
	left, right := name != "rtrim", name != "ltrim"
	if len(xs) == 1 {
		return c.strict(name, xs, typeOf(Text), []Kind{Text}, func(v arguments) (Value, error) {
			return TextOf(trimText(v[0].str, left, right, func(r rune) bool { return unicode.Is(unicode.Zs, r) })), nil
		})
	}
	return c.strict(name, xs, typeOf(Text), []Kind{Text, Text}, func(v arguments) (Value, error) {
		set := v[1].str
		return TextOf(trimText(v[0].str, left, right, func(r rune) bool { return strings.ContainsRune(set, r) })), nil
	})
}

func trimText(s string, left, right bool, drop func(rune) bool) string {
	if left {
		s = strings.TrimLeftFunc(s, drop)
	}
	if right {
		s = strings.TrimRightFunc(s, drop)
	}
	return s
}

// substring cuts length characters from offset on: a negative offset counts from the end, a negative length goes
// backwards.
func substring(s string, offset, length int64) (Value, error) {
	const most = math.MaxUint32
	for _, n := range [...]int64{offset, length} {
		if n < -most-1 || n > most {
			return Value{}, problem.New(problem.OutOfRange, "substring to or from %d is out of range", n)
		}
	}
	if length == 0 {
		return TextOf(""), nil
	}
	size := int64(utf8.RuneCountInString(s))
	var start, end int64
	if offset < 0 {
		start = size + offset
		if length < 0 {
			start, end = start+length, start
		} else {
			end = start + length
		}
	} else {
		start = offset - 1
		if length < 0 {
			start, end = start+length, start
		} else {
			end = start + length
		}
	}
	start, end = max(start, 0), min(end, size)
	if start >= end {
		return TextOf(""), nil
	}
	return TextOf(s[byteOf(s, start):byteOf(s, end)]), nil
}

// byteOf returns where the n-th character of s begins, n at most the number of characters.
func byteOf(s string, n int64) int {
	if n <= 0 {
		return 0
	}
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

func leftPart(s string, n int64) (Value, error) {
	if n < 0 {
		n = max(0, int64(utf8.RuneCountInString(s))+n)
	}
	return substring(s, 1, n)
}

func rightPart(s string, n int64) (Value, error) {
	size := int64(utf8.RuneCountInString(s))
	length := min(size, n)
	if n < 0 {
		length = 0
		if n != math.MinInt64 {
			length = size - min(size, -n)
		}
	}
	return substring(s, size-length+1, length)
}
