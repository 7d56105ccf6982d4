package expr

import (
	"strings"

	"kalamlog.dev/kalam/internal/problem"
)

// jsonStep is one step of a path: a key of an object, or a place in an array.
type jsonStep struct {
	key      string
	index    int
	array    bool
	fromBack bool
}

// jsonPath is a constant path into a JSON value.
type jsonPath []jsonStep

// parseJSONPath reads what -> takes on its right: a place in an array, a key, "$.a.b[0]" or "/a/b".
func parseJSONPath(v Value) (jsonPath, error) {
	if v.kind != Text {
		return parsePath("$[" + v.String() + "]")
	}
	switch s := v.str; {
	case s == "":
		return nil, nil
	case s[0] == '$':
		return parsePath(s)
	case s[0] == '/' || strings.IndexByte(s, '"') >= 0:
		return nil, problem.New(problem.Unsupported, "JSON pointer %q is not supported here", shorten(s)).
			WithHint("write the path as $.a.b[0]")
	default:
		return jsonPath{{key: s}}, nil
	}
}

func parsePath(s string) (jsonPath, error) {
	var path jsonPath
	rest := s[1:]
	for rest != "" {
		var step jsonStep
		var ok bool
		switch {
		case strings.Contains(rest, "*") || strings.HasPrefix(rest, ".."):
			return nil, problem.New(problem.Unsupported, "wildcards in JSON path %q are not supported here", shorten(s))
		case rest[0] == '.':
			step, rest, ok = pathKey(rest[1:])
		case rest[0] == '[':
			step, rest, ok = pathIndex(rest[1:])
		}
		if !ok {
			return nil, problem.New(problem.InvalidValue, "%q is not a JSON path", shorten(s)).WithHint("write it as $.a.b[0]")
		}
		path = append(path, step)
	}
	return path, nil
}

func pathKey(s string) (step jsonStep, rest string, ok bool) {
	if s == "" {
		return step, "", false
	}
	if s[0] != '"' {
		end := strings.IndexAny(s, ".[")
		if end < 0 {
			end = len(s)
		}
		return jsonStep{key: s[:end]}, s[end:], end > 0
	}
	key := make([]byte, 0, len(s))
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return jsonStep{key: string(key)}, s[i+1:], true
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
		}
		key = append(key, s[i])
	}
	return step, "", false
}

func pathIndex(s string) (step jsonStep, rest string, ok bool) {
	body, rest, ok := strings.Cut(s, "]")
	if !ok || body == "" {
		return step, "", false
	}
	step.array = true
	if body == "#" {
		step.index = 1<<31 - 1
		return step, rest, true
	}
	if body[0] == '#' {
		if body = body[1:]; !strings.HasPrefix(body, "-") {
			return step, "", false
		}
	}
	if body[0] == '-' {
		body, step.fromBack = body[1:], true
	}
	if body == "" || len(body) > 9 {
		return step, "", false
	}
	for i := range len(body) {
		if !isDigit(body[i]) {
			return step, "", false
		}
		step.index = step.index*10 + int(body[i]-'0')
	}
	return step, rest, true
}

// find returns the raw text of the value at the path in valid JSON, or "" if there is none. Of equal keys the first
// counts.
func (p jsonPath) find(s string) string {
	for _, step := range p {
		if s = step.find(s); s == "" {
			return ""
		}
	}
	return strings.Trim(s, " \t\r\n")
}

func (step jsonStep) find(s string) (found string) {
	sc := jsonScan{s: s}
	switch c := sc.peek(); {
	case c == '{' && !step.array:
		sc.object(0, func(key, raw string) bool {
			if unquoteJSON(key) == step.key {
				found = raw
			}
			return found == ""
		})
	case c == '[' && step.array:
		index := step.index
		if step.fromBack && index != 0 {
			n := 0
			counter := sc
			counter.array(0, func(int, string) bool { n++; return true })
			index = n - index
		}
		sc.array(0, func(i int, raw string) bool {
			if i == index {
				found = raw
			}
			return i < index
		})
	}
	return found
}

// jsonArrow is -> or ->>, which are also json_extract and json_extract_string.
func (c *compiler) jsonArrow(op string, a, b operand) (operand, error) {
	a, path, err := c.jsonArguments(op, a, b)
	if err != nil {
		return operand{}, err
	}
	t := typeOf(JSON)
	if op == "->>" {
		t = typeOf(Text)
	}
	if path == nil {
		null := constantOf(Value{}, t)
		null.literal = t.Kind == Text
		return null, nil
	}
	return strict1(a, t, func(v Value) (Value, error) {
		if v.kind == Text && !ValidJSON(v.str) {
			return Value{}, problem.New(problem.InvalidValue, "%q is not valid JSON", shorten(v.str))
		}
		raw := path.find(v.str)
		switch {
		case raw == "":
			return Value{}, nil
		case op == "->":
			return JSONOf(string(appendCompact(nil, raw))), nil
		case raw[0] == 'n':
			return Value{}, nil
		}
		return TextOf(jsonText(raw)), nil
	}), nil
}

// jsonArguments checks the operands of a JSON function: JSON or text, and a constant path, nil if that is NULL.
func (c *compiler) jsonArguments(name string, a, b operand) (operand, *jsonPath, error) {
	if a.typ.Kind != JSON && a.typ.Kind != Text && a.typ.Kind != Null {
		return a, nil, problem.New(problem.TypeMismatch, "%s needs JSON, not %s", name, a.typ).WithHint("cast it to JSON")
	}
	if b.typ.Kind != Text && !isInteger(b.typ.Kind) && b.typ.Kind != Null {
		return a, nil, problem.New(problem.TypeMismatch, "%s needs a key or a place, not %s", name, b.typ)
	}
	if !b.constant {
		return a, nil, problem.New(problem.Unsupported, "%s needs a constant key or path", name)
	}
	if b.val.kind == Null || a.typ.Kind == Null {
		return a, nil, nil
	}
	path, err := parseJSONPath(b.val)
	if err != nil {
		return a, nil, err
	}
	return a, &path, nil
}

// jsonText is what ->> gives for a value that is not null: a string's text, or compact JSON.
func jsonText(raw string) string {
	if raw[0] == '"' {
		return unquoteJSON(raw)
	}
	return string(appendCompact(nil, raw))
}

// appendCompact writes valid JSON as DuckDB's JSON writer does: no white space, escapes only where needed, numbers in
// shortest form.
func appendCompact(dst []byte, raw string) []byte {
	sc := jsonScan{s: raw}
	switch c := sc.peek(); {
	case c == '{':
		dst = append(dst, '{')
		first := true
		sc.object(0, func(key, value string) bool {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(appendJSONString(dst, unquoteJSON(key)), ':')
			dst = appendCompact(dst, value)
			return true
		})
		return append(dst, '}')
	case c == '[':
		dst = append(dst, '[')
		sc.array(0, func(i int, value string) bool {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendCompact(dst, value)
			return true
		})
		return append(dst, ']')
	case c == '"':
		start := sc.pos
		sc.stringLit()
		return appendJSONString(dst, unquoteJSON(raw[start:sc.pos]))
	case c == '-' || isDigit(c):
		return appendCompactNumber(dst, strings.Trim(raw, " \t\r\n"))
	}
	return append(dst, strings.Trim(raw, " \t\r\n")...)
}

func appendCompactNumber(dst []byte, raw string) []byte {
	v, _ := jsonScalar(raw)
	switch v.kind {
	case Double:
		return appendReal(dst, v.float())
	case hugeInt:
		return appendInt128(dst, v.int128())
	}
	return append(dst, raw...)
}
