package expr

import (
	"strings"

	"kalamlog.dev/kalam/internal/problem"
)

// bindCall binds a function by name. Names are DuckDB's.
func (c *compiler) bindCall(n Call) (operand, error) {
	xs, err := c.bindAll(n.Args)
	if err != nil {
		return operand{}, err
	}
	name := callName(n.Name)
	if name == "interval" {
		return c.intervalCall(xs)
	}
	for _, bind := range [...]func(string, []operand) (operand, bool, error){
		c.conditionalCall, c.textCall, c.textPartCall, c.mathCall, c.timeCall, c.listCall, c.jsonCall,
	} {
		if x, found, err := bind(name, xs); found {
			return x, err
		}
	}
	p := problem.New(problem.UnknownFunction, "function %s is not supported here", shorten(n.Name))
	if near := nearest(n.Name, functionNames()); near != "" {
		return operand{}, p.WithHint("did you mean %s?", near)
	}
	return operand{}, p
}

// callName gives DuckDB's name to what PostgreSQL's grammar makes of EXTRACT(… FROM …), TRIM(…) and POSITION(… IN …).
func callName(name string) string {
	switch name {
	case "extract":
		return "date_part"
	case "btrim":
		return "trim"
	case "position":
		return "strpos"
	}
	return name
}

// functionNames lists what bindCall knows.
func functionNames() []string {
	return strings.Fields(`coalesce ifnull nullif greatest least
		lower lcase upper ucase length len strlen char_length character_length concat substr substring left right trim ltrim rtrim
		replace starts_with prefix ends_with suffix contains strpos instr like_escape not_like_escape ilike_escape
		not_ilike_escape ascii chr
		abs round trunc floor ceil ceiling sign mod sqrt isnan isinf isfinite
		date_part datepart date_trunc datetrunc year month day hour minute second millisecond microsecond quarter week weekofyear
		dayofweek weekday isodow dayofyear dayofmonth decade century millennium isoyear yearweek era epoch epoch_ms epoch_us date_diff
		datediff last_day interval
		list_contains array_contains list_has array_length list_extract array_extract list_element
		json_extract json_extract_string json_extract_path_text json_exists json_type`)
}

func wrongArguments(name string, xs []operand) error {
	types := make([]string, len(xs))
	for i, x := range xs {
		types[i] = x.typ.String()
	}
	return problem.New(problem.TypeMismatch, "no function %s(%s)", name, strings.Join(types, ", ")).
		WithHint("check the number and types of the arguments, or cast them")
}

// parameters casts arguments to the kinds of a function that has one overload of this many parameters.
func (c *compiler) parameters(name string, xs []operand, kinds ...Kind) error {
	if len(xs) != len(kinds) {
		return wrongArguments(name, xs)
	}
	for i, x := range xs {
		if implicitCost(x.static(), kinds[i]) < 0 {
			return wrongArguments(name, xs)
		}
	}
	for i := range xs {
		var err error
		if xs[i], err = c.castTo(xs[i], typeOf(kinds[i])); err != nil {
			return err
		}
	}
	return nil
}

// unaryKind returns the overload of least cost of a function of one parameter.
func unaryKind(x operand, kinds []Kind) (Kind, bool) {
	var buf [40]signature
	overloads := buf[:0]
	for _, k := range kinds {
		overloads = append(overloads, signature{k, Null})
	}
	s, ok := chooseOverload(x.static(), staticType{Type: typeOf(tinyInt)}, withAnySecond(overloads))
	return s.a, ok
}

// withAnySecond makes the second parameter of each overload one that costs nothing.
func withAnySecond(overloads []signature) []signature {
	for i := range overloads {
		overloads[i].b = tinyInt
	}
	return overloads
}

// arguments are a call's values, the first of them.
type arguments [3]Value

// strict binds a function of fixed parameters that is NULL if an argument is.
func (c *compiler) strict(name string, xs []operand, t Type, kinds []Kind, fn func(arguments) (Value, error)) (operand, bool, error) {
	if err := c.parameters(name, xs, kinds...); err != nil {
		return operand{}, true, err
	}
	if x, ok := nullArgument(t, xs...); ok {
		return x, true, nil
	}
	switch len(xs) {
	case 1:
		return strict1(xs[0], t, func(v Value) (Value, error) { return fn(arguments{v}) }), true, nil
	case 2:
		return strict2(xs[0], xs[1], t, func(a, b Value) (Value, error) { return fn(arguments{a, b}) }), true, nil
	}
	return strictN(xs, t, func(vs []Value) (Value, error) { return fn(arguments{vs[0], vs[1], vs[2]}) }), true, nil
}

func (c *compiler) conditionalCall(name string, xs []operand) (operand, bool, error) {
	var x operand
	var err error
	switch {
	case name == "coalesce" && len(xs) > 0, name == "ifnull" && len(xs) == 2:
		x, err = c.coalesce(xs)
	case name == "nullif" && len(xs) == 2:
		x, err = c.nullif(xs[0], xs[1])
	case (name == "greatest" || name == "least") && len(xs) > 0:
		x, err = c.extreme(xs, name == "greatest")
	case name == "coalesce", name == "ifnull", name == "nullif", name == "greatest", name == "least":
		err = wrongArguments(name, xs)
	default:
		return operand{}, false, nil
	}
	return x, true, err
}

// extreme is greatest or least; NULLs do not count.
func (c *compiler) extreme(xs []operand, greatest bool) (operand, error) {
	t, err := c.unify(xs, "GREATEST or LEAST")
	if err != nil {
		return operand{}, err
	}
	if len(xs) == 1 {
		xs[0].literal = false
		return xs[0], nil
	}
	want := -1
	if greatest {
		want = 1
	}
	return applyN(xs, t, func(vs []Value) (Value, error) {
		best := Value{}
		for _, v := range vs {
			if v.kind != Null && (best.kind == Null || compareSame(v, best) == want) {
				best = v
			}
		}
		if best.kind == Real && best.float() == 0 {
			best.lo = 0 // DuckDB compares REALs by sort keys, which lose the sign of -0
		}
		return best, nil
	}), nil
}
