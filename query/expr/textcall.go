package expr

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"kalamlog.dev/kalam/internal/problem"
)

// upperText maps each character by itself, as DuckDB does; ß, which Go leaves, becomes ẞ.
func upperText(s string) string { return strings.ReplaceAll(strings.ToUpper(s), "ß", "ẞ") }

// textCall binds functions that test or change whole texts.
func (c *compiler) textCall(name string, xs []operand) (operand, bool, error) {
	text, boolean, bigint := typeOf(Text), typeOf(Bool), typeOf(BigInt)
	one, two := []Kind{Text}, []Kind{Text, Text}
	switch name {
	case "lower", "lcase":
		return c.strict(name, xs, text, one, func(v arguments) (Value, error) { return TextOf(lowerText(v[0].str)), nil })
	case "upper", "ucase":
		return c.strict(name, xs, text, one, func(v arguments) (Value, error) { return TextOf(upperText(v[0].str)), nil })
	case "strlen":
		return c.strict(name, xs, bigint, one, func(v arguments) (Value, error) { return IntOf(BigInt, int64(len(v[0].str))), nil })
	case "length", "len", "char_length", "character_length":
		if len(xs) == 1 && xs[0].typ.Kind == List {
			return operand{}, false, nil
		}
		return c.strict(name, xs, bigint, one, func(v arguments) (Value, error) {
			return IntOf(BigInt, int64(utf8.RuneCountInString(v[0].str))), nil
		})
	case "ascii":
		return c.strict(name, xs, typeOf(Integer), one, firstRune)
	case "chr":
		return c.strict(name, xs, text, []Kind{Integer}, chr)
	case "starts_with", "prefix":
		return c.strict(name, xs, boolean, two, func(v arguments) (Value, error) {
			return BoolOf(strings.HasPrefix(v[0].str, v[1].str)), nil
		})
	case "ends_with", "suffix":
		return c.strict(name, xs, boolean, two, func(v arguments) (Value, error) {
			return BoolOf(strings.HasSuffix(v[0].str, v[1].str)), nil
		})
	case "contains":
		if len(xs) == 2 && xs[0].typ.Kind == List {
			return operand{}, false, nil
		}
		if len(xs) == 2 && xs[0].typ.Kind == Null {
			return constantOf(Value{}, boolean), true, nil
		}
		return c.strict(name, xs, boolean, two, func(v arguments) (Value, error) {
			return BoolOf(strings.Contains(v[0].str, v[1].str)), nil
		})
	case "replace":
		return c.strict(name, xs, text, []Kind{Text, Text, Text}, func(v arguments) (Value, error) {
			return replaceText(v[0].str, v[1].str, v[2].str)
		})
	case "concat":
		x, err := c.concatAll(xs)
		return x, true, err
	case "like_escape", "not_like_escape", "ilike_escape", "not_ilike_escape":
		return c.strict(name, xs, boolean, []Kind{Text, Text, Text}, likeEscape(name))
	}
	return operand{}, false, nil
}

func replaceText(s, old, replacement string) (Value, error) {
	if old == "" {
		return TextOf(s), nil
	}
	if grow := len(replacement) - len(old); grow > 0 {
		if err := checkTextSize(len(s) + grow*strings.Count(s, old)); err != nil {
			return Value{}, err
		}
	}
	return TextOf(strings.ReplaceAll(s, old, replacement)), nil
}

func firstRune(v arguments) (Value, error) {
	if v[0].str == "" {
		return IntOf(Integer, 0), nil
	}
	r, _ := utf8.DecodeRuneInString(v[0].str)
	return IntOf(Integer, int64(r)), nil
}

func chr(v arguments) (Value, error) {
	i := v[0].Int()
	if i < 0 || i > unicode.MaxRune || !utf8.ValidRune(rune(i)) {
		return Value{}, problem.New(problem.InvalidValue, "%d is not a Unicode code point", i)
	}
	return TextOf(string(rune(i))), nil
}

// likeEscape is LIKE or ILIKE with ESCAPE.
func likeEscape(name string) func(v arguments) (Value, error) {
	negated := strings.HasPrefix(name, "not_")
	fold := strings.HasSuffix(name, "ilike_escape")
	return func(v arguments) (Value, error) {
		s, pattern, escape := v[0].str, v[1].str, -1
		switch len(v[2].str) {
		case 0:
		case 1:
			escape = int(v[2].str[0])
		default:
			return Value{}, problem.New(problem.SyntaxError, "the ESCAPE text must be one ASCII character or empty")
		}
		if fold {
			s, pattern = lowerText(s), lowerText(pattern)
		}
		ok, dangling := likeMatch(s, pattern, escape)
		if dangling {
			return Value{}, problem.New(problem.SyntaxError, "the LIKE pattern ends with its escape character")
		}
		return BoolOf(ok != negated), nil
	}
}

// concatAll is concat(): NULLs are empty text; lists join lists.
func (c *compiler) concatAll(xs []operand) (operand, error) {
	if len(xs) == 0 {
		return operand{}, wrongArguments("concat", xs)
	}
	for _, x := range xs {
		if x.typ.Kind == List {
			return operand{}, problem.New(problem.Unsupported, "concat of lists is not supported").WithHint("use ||")
		}
	}
	for i := range xs {
		var err error
		if xs[i], err = c.castTo(xs[i], typeOf(Text)); err != nil {
			return operand{}, err
		}
	}
	return applyN(xs, typeOf(Text), func(vs []Value) (Value, error) {
		n := 0
		for _, v := range vs {
			n += len(v.str)
		}
		if err := checkTextSize(n); err != nil {
			return Value{}, err
		}
		out := make([]byte, 0, n)
		for _, v := range vs {
			out = append(out, v.str...)
		}
		return TextOf(string(out)), nil
	}), nil
}
