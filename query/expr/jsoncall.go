package expr

import "kalamlog.dev/kalam/internal/problem"

// jsonCall binds functions of JSON.
func (c *compiler) jsonCall(name string, xs []operand) (operand, bool, error) {
	var x operand
	var err error
	switch {
	case name == "json_extract" && len(xs) == 2:
		x, err = c.jsonArrow("->", xs[0], xs[1])
	case (name == "json_extract_string" || name == "json_extract_path_text") && len(xs) == 2:
		x, err = c.jsonArrow("->>", xs[0], xs[1])
	case name == "json_exists" && len(xs) == 2:
		x, err = c.jsonExists(xs)
	case name == "json_type" && len(xs) == 1 && (xs[0].typ.Kind == JSON || xs[0].typ.Kind == Text):
		x = strict1(xs[0], typeOf(Text), jsonTypeOf)
	case name == "json_extract", name == "json_extract_string", name == "json_extract_path_text", name == "json_exists",
		name == "json_type":
		err = wrongArguments(name, xs)
	default:
		return operand{}, false, nil
	}
	return x, true, err
}

func (c *compiler) jsonExists(xs []operand) (operand, error) {
	a, path, err := c.jsonArguments("json_exists", xs[0], xs[1])
	if err != nil {
		return operand{}, err
	}
	if path == nil {
		return constantOf(Value{}, typeOf(Bool)), nil
	}
	if xs[1].typ.Kind != Text {
		return operand{}, wrongArguments("json_exists", xs)
	}
	return strict1(a, typeOf(Bool), func(v Value) (Value, error) {
		if v.kind == Text && !ValidJSON(v.str) {
			return Value{}, problem.New(problem.InvalidValue, "%q is not valid JSON", shorten(v.str))
		}
		return BoolOf(path.find(v.str) != ""), nil
	}), nil
}

// jsonTypeOf names the type of a JSON value as DuckDB does.
func jsonTypeOf(v Value) (Value, error) {
	if v.kind == Text && !ValidJSON(v.str) {
		return Value{}, problem.New(problem.InvalidValue, "%q is not valid JSON", shorten(v.str))
	}
	sc := jsonScan{s: v.str}
	switch c := sc.peek(); c {
	case '{':
		return TextOf("OBJECT"), nil
	case '[':
		return TextOf("ARRAY"), nil
	case '"':
		return TextOf("VARCHAR"), nil
	case 't', 'f':
		return TextOf("BOOLEAN"), nil
	case 'n':
		return TextOf("NULL"), nil
	}
	start := sc.pos
	sc.number()
	n, _ := jsonScalar(v.str[start:sc.pos])
	switch {
	case n.kind != hugeInt:
		return TextOf("DOUBLE"), nil
	case n.int128().negative():
		return TextOf("BIGINT"), nil
	}
	return TextOf("UBIGINT"), nil
}
