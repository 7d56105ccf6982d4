package expr

// boolean makes a random condition.
func (g *generator) boolean(depth int) Node {
	if depth <= 0 {
		switch g.IntN(4) {
		case 0:
			return g.anyColumn(ofKinds(Bool))
		case 1:
			return Literal{Value: g.value(typeOf(Bool))}
		}
		return g.comparison(0)
	}
	switch g.IntN(16) {
	case 0, 1:
		return Binary{Op: "AND", L: g.boolean(depth - 1), R: g.boolean(depth - 1)}
	case 2, 3:
		return Binary{Op: "OR", L: g.boolean(depth - 1), R: g.boolean(depth - 1)}
	case 4:
		return Unary{Op: "NOT", X: g.boolean(depth - 1)}
	case 5:
		return Unary{Op: pick(g, "IS NULL", "IS NOT NULL"), X: g.any(depth - 1)}
	case 6:
		return Unary{Op: pick(g, "IS TRUE", "IS NOT TRUE", "IS FALSE", "IS NOT FALSE"), X: g.boolean(depth - 1)}
	case 7:
		return g.membership(depth)
	case 8:
		return g.between(depth)
	case 9:
		return Binary{Op: pick(g, "LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE"), L: g.textual(depth - 1), R: g.pattern()}
	case 10:
		return Case{Whens: []When{{g.boolean(depth - 1), g.boolean(depth - 1)}}, Else: pick(g, nil, g.boolean(depth-1))}
	case 11:
		return g.booleanCall(depth)
	}
	return g.comparison(depth)
}

func (g *generator) pattern() Node {
	if g.IntN(8) == 0 {
		pattern := Literal{Value: TextOf(pick(g, "a!%", "!_%", "%!", "a!!b", "%a!_b%", "%", "é!%"))}
		return Call{Name: "like_escape", Args: []Node{pattern, Literal{Value: TextOf("!")}}}
	}
	if g.IntN(6) == 0 {
		return g.anyColumn(ofKinds(Text))
	}
	return Literal{Value: TextOf(pick(g, "a%", "%a", "%a%", "a", "", "%", "_", "__", "%_%", "a_c", "A%", "%é%", "É%", "日%", "_本%", "%\\%", "%b%c", "%%", "a%b%", "%ß%", "%😀_"))}
}

func (g *generator) comparisonOp() string {
	return pick(g, "=", "=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM")
}

// pair makes two operands that can mostly be compared.
func (g *generator) pair(depth int) (Node, Node) {
	switch g.IntN(14) {
	case 0, 1, 2, 3:
		return g.numeric(depth - 1), g.numeric(depth - 1)
	case 4, 5, 6:
		return g.textual(depth - 1), g.textual(depth - 1)
	case 7, 8:
		return g.temporal(depth - 1), g.temporal(depth - 1)
	case 9:
		k := pick(g, SmallInt, Integer, BigInt, Double, Real, Date, Time, Timestamp, TimestampTZ, UUID, Bool, Blob)
		return g.anyColumn(ofKinds(k)), g.textLiteral(k)
	case 10:
		k := pick(g, Blob, UUID, Bool, Time, JSON)
		return g.anyColumn(ofKinds(k)), g.literal(g.value(typeOf(k)))
	case 11:
		return g.list(depth - 1), g.list(depth - 1)
	case 12:
		return g.json1(depth - 1), g.textual(depth - 1)
	}
	if g.IntN(3) > 0 {
		f := g.fields[g.IntN(len(g.fields))]
		return Column{Name: f.Name}, g.literal(g.value(f.Type))
	}
	return g.any(depth - 1), g.any(depth - 1)
}

func (g *generator) comparison(depth int) Node {
	a, b := g.pair(depth)
	if g.IntN(2) == 0 {
		a, b = b, a
	}
	return Binary{Op: g.comparisonOp(), L: a, R: b}
}

func (g *generator) membership(depth int) Node {
	a, b := g.pair(depth)
	n := In{X: a, List: []Node{b}, Not: g.IntN(3) == 0}
	for range g.IntN(12) {
		_, c := g.pairLike(a, depth)
		n.List = append(n.List, c)
	}
	return n
}

// pairLike makes an operand of the family of a.
func (g *generator) pairLike(a Node, depth int) (Node, Node) {
	if c, ok := a.(Column); ok {
		for _, f := range g.fields {
			if f.Name == c.Name {
				if g.IntN(4) == 0 {
					return a, g.textLiteralOf(f.Type)
				}
				return a, g.literal(g.value(f.Type))
			}
		}
	}
	_, b := g.pair(depth)
	return a, b
}

func (g *generator) textLiteralOf(t Type) Node {
	if t.Kind == List || t.Kind == Decimal {
		return g.literal(g.value(t))
	}
	return g.textLiteral(t.Kind)
}

func (g *generator) between(depth int) Node {
	a, b := g.pair(depth)
	_, c := g.pairLike(a, depth)
	return Between{X: a, Low: b, High: c, Not: g.IntN(3) == 0}
}

// any makes an expression of any type.
func (g *generator) any(depth int) Node {
	switch g.IntN(9) {
	case 0, 1:
		return g.numeric(depth)
	case 2, 3:
		return g.textual(depth)
	case 4:
		return g.temporal(depth)
	case 5:
		if depth > 0 && g.IntN(4) == 0 {
			return g.call(pick(g, "list_extract", "list_element", "array_extract"), g.list(depth-1), g.smallInt())
		}
		return g.anyColumn(func(Type) bool { return true })
	case 6:
		return g.list(depth)
	case 7:
		return g.json1(depth)
	}
	if depth <= 0 {
		return Literal{}
	}
	return g.boolean(depth)
}

func (g *generator) numeric(depth int) Node {
	if depth <= 0 {
		if g.IntN(3) == 0 {
			return g.numberLiteral()
		}
		return g.anyColumn(isNumber)
	}
	switch g.IntN(12) {
	case 0, 1, 2, 3:
		return Binary{Op: pick(g, "+", "-", "*", "/", "//", "%"), L: g.numeric(depth - 1), R: g.numeric(depth - 1)}
	case 4:
		return Unary{Op: pick(g, "-", "-", "+"), X: g.numeric(depth - 1)}
	case 5, 6:
		return g.castNode(depth, g.numericType())
	case 7:
		return Case{Whens: []When{{g.boolean(depth - 1), g.numeric(depth - 1)}, {g.boolean(depth - 1), g.numeric(depth - 1)}}, Else: g.numeric(depth - 1)}
	case 8:
		return Call{Name: pick(g, "coalesce", "nullif"), Args: []Node{g.numeric(depth - 1), g.numeric(depth - 1)}}
	case 9, 10:
		return g.numericCall(depth)
	}
	return g.numeric(0)
}

func (g *generator) numericType() Type {
	return pick(g, typeOf(SmallInt), typeOf(Integer), typeOf(BigInt), typeOf(Real), typeOf(Double), decimalType(4, 1), decimalType(9, 2),
		decimalType(18, 3), decimalType(38, 5), decimalType(20, 0), decimalType(5, 5))
}

func (g *generator) castNode(depth int, t Type) Node {
	x := g.numeric(depth - 1)
	if g.IntN(3) == 0 {
		x = g.any(depth - 1)
	}
	return Cast{X: x, Type: t, Try: g.IntN(5) != 0}
}

func (g *generator) textual(depth int) Node {
	if depth <= 0 {
		if g.IntN(3) == 0 {
			return Literal{Value: TextOf(g.text())}
		}
		return g.anyColumn(ofKinds(Text))
	}
	switch g.IntN(9) {
	case 0:
		return Binary{Op: "||", L: g.any(depth - 1), R: g.textual(depth - 1)}
	case 1, 2:
		return Cast{X: g.any(depth - 1), Type: typeOf(Text), Try: g.IntN(3) == 0}
	case 3:
		return Case{Operand: g.textual(depth - 1), Whens: []When{{g.textual(depth - 1), g.textual(depth - 1)}}, Else: pick(g, nil, g.textual(depth-1))}
	case 4:
		return Call{Name: pick(g, "coalesce", "nullif"), Args: []Node{g.textual(depth - 1), g.textual(depth - 1)}}
	case 5, 6, 7:
		return g.textCall(depth)
	}
	return g.textual(0)
}

func (g *generator) temporal(depth int) Node {
	if depth <= 0 {
		k := pick(g, Date, Timestamp, TimestampTZ, Time)
		switch g.IntN(6) {
		case 0:
			return g.literal(g.value(typeOf(k)))
		case 1:
			return g.textLiteral(k)
		}
		return g.anyColumn(ofKinds(Date, Timestamp, TimestampTZ))
	}
	switch g.IntN(7) {
	case 0, 1:
		return Cast{X: g.any(depth - 1), Type: typeOf(pick(g, Date, Timestamp, TimestampTZ, Time)), Try: g.IntN(5) != 0}
	case 2:
		return Binary{Op: pick(g, "+", "-"), L: g.anyColumn(ofKinds(Date)), R: pick(g, g.numberLiteral(), g.anyColumn(ofKinds(Date, Integer, SmallInt)))}
	case 3:
		return Call{Name: "coalesce", Args: []Node{g.temporal(depth - 1), g.temporal(depth - 1)}}
	case 5:
		return g.shifted(depth)
	case 4:
		return g.timeCall(depth)
	}
	return g.temporal(0)
}

// shifted adds an interval to a date or time.
func (g *generator) shifted(depth int) Node {
	x := g.temporal(0)
	if depth > 1 && g.IntN(3) == 0 {
		x = g.shifted(depth - 1)
	}
	text := pick(g, "1 day", "2 hours 30 minutes", "1 month", "-1 month", "1 year 2 months 3 days", "90 minutes", "1.5 days", "-3 weeks", "0.5 months", "5", "1:30:00",
		"1 day ago", "13 months", "36 hours", "1 day -2 hours", "250 ms", "1.5 quarters", "2 decades", "7 us")
	y := g.call("interval", Literal{Value: TextOf(text)})
	if g.IntN(3) == 0 {
		return Binary{Op: "+", L: y, R: x}
	}
	return Binary{Op: pick(g, "+", "-"), L: x, R: y}
}

func (g *generator) list(depth int) Node {
	if depth <= 0 || g.IntN(2) == 0 {
		return g.anyColumn(ofKinds(List))
	}
	switch g.IntN(4) {
	case 0:
		return Binary{Op: "||", L: g.list(depth - 1), R: g.list(depth - 1)}
	case 1:
		return Array{Elems: []Node{g.numeric(depth - 1), g.numeric(depth - 1)}}
	case 2:
		return Array{Elems: []Node{g.textual(depth - 1), g.textual(depth - 1), g.textual(0)}}
	}
	return Cast{X: g.any(depth - 1), Type: listType(typeOf(pick(g, Integer, Text, Double))), Try: true}
}

func (g *generator) json1(depth int) Node {
	j := g.anyColumn(ofKinds(JSON))
	if depth <= 0 || g.IntN(4) == 0 {
		return j
	}
	path := pick(g, "a", "b", "$.a", "$.a.b", "$.b.a", "$.a.b[0]", "$.a.b[2].c", "$[1]", "$[#-1]", "c.d", `$."c.d"`, "a b", "$", "", "$.a[0][0]")
	var key Node = Literal{Value: TextOf(path)}
	if g.IntN(5) == 0 {
		key = Literal{Value: IntOf(Integer, g.Int64N(3))}
	}
	return Binary{Op: pick(g, "->", "->>"), L: j, R: key}
}

func (g *generator) call(name string, args ...Node) Node { return Call{Name: name, Args: args} }

func (g *generator) smallInt() Node {
	return Literal{Value: IntOf(Integer, g.Int64N(9)-4)}
}

// offset is where a substring starts. Further from the end than the text is long, and beyond the end with a negative
// length, DuckDB gives one result for texts it knows to be ASCII and another for others.
func (g *generator) offset() Node { return Literal{Value: IntOf(Integer, g.Int64N(6)-1)} }

func (g *generator) numericCall(depth int) Node {
	x := g.numeric(depth - 1)
	switch g.IntN(14) {
	case 0:
		return g.call("abs", x)
	case 1:
		return g.call("sign", x)
	case 2:
		return g.call(pick(g, "floor", "ceil", "ceiling"), x)
	case 3:
		return g.call(pick(g, "round", "trunc"), x)
	case 4:
		digits := g.Int64N(9) - 4
		if digits < 0 { // near its limits DuckDB rounds an integer type to nonsense
			x = Cast{X: x, Type: pick(g, decimalType(9, 2), decimalType(18, 3), typeOf(Double)), Try: true}
		}
		return g.call(pick(g, "round", "trunc"), x, Literal{Value: IntOf(Integer, digits)})
	case 5:
		return g.call(pick(g, "greatest", "least"), x, g.numeric(depth-1), g.numeric(0))
	case 6:
		return g.call("mod", x, g.numeric(depth-1))
	case 7:
		return g.call(pick(g, "length", "strlen", "char_length"), g.textual(depth-1))
	case 8:
		return g.call(pick(g, "strpos", "instr", "position"), g.textual(depth-1), g.textual(0))
	case 9:
		return g.call("date_part", Literal{Value: TextOf(g.part())}, g.temporal(depth-1))
	case 10:
		return g.call(pick(g, "year", "month", "day", "hour", "minute", "second", "quarter", "week", "dayofweek", "dayofyear", "isodow"), g.temporal(depth-1))
	case 11:
		return g.call(pick(g, "epoch", "epoch_ms", "epoch_us"), g.temporal(depth-1))
	case 12:
		return g.call(pick(g, "len", "length", "array_length"), g.list(depth-1))
	}
	// Of a distant TIMESTAMPTZ date_diff is an internal error of DuckDB that shuts the database.
	a, b := g.anyColumn(ofKinds(Date, Timestamp)), pick(g, g.anyColumn(ofKinds(Date, Timestamp)), g.textLiteral(Date), Node(Literal{}))
	return g.call(pick(g, "date_diff", "datediff"), Literal{Value: TextOf(pick(g, "year", "month", "quarter", "week", "day", "hour", "minute", "second", "decade", "century"))}, a, b)
}

func (g *generator) part() string {
	return pick(g, "year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond", "microsecond", "dow", "isodow", "doy", "decade",
		"century", "millennium", "isoyear", "yearweek", "era", "epoch", "YEAR", "days")
}

func (g *generator) textCall(depth int) Node {
	x := g.textual(depth - 1)
	switch g.IntN(9) {
	case 0:
		return g.call(pick(g, "lower", "upper", "lcase", "ucase"), x)
	case 1:
		return g.call(pick(g, "substr", "substring"), x, g.offset())
	case 2:
		if g.IntN(2) == 0 {
			return g.call(pick(g, "substr", "substring"), x, g.offset(), Literal{Value: IntOf(Integer, g.Int64N(5))})
		}
		start := Literal{Value: IntOf(Integer, g.Int64N(3)-1)}
		return g.call(pick(g, "substr", "substring"), x, start, pick(g, g.smallInt(), g.anyColumn(ofKinds(SmallInt, Integer))))
	case 3:
		return g.call(pick(g, "left", "right"), x, g.smallInt())
	case 4:
		return g.call(pick(g, "trim", "ltrim", "rtrim"), x)
	case 5:
		return g.call(pick(g, "trim", "ltrim", "rtrim"), x, g.textual(0))
	case 6:
		return g.call("replace", x, g.textual(0), g.textual(0))
	case 7:
		return g.call("concat", x, g.any(depth-1), g.textual(0))
	}
	return g.call(pick(g, "greatest", "least"), x, g.textual(depth-1))
}

func (g *generator) booleanCall(depth int) Node {
	switch g.IntN(7) {
	case 0, 1:
		return g.call(pick(g, "starts_with", "prefix", "ends_with", "suffix", "contains"), g.textual(depth-1), g.textual(0))
	case 2:
		return g.call(pick(g, "like_escape", "not_like_escape", "ilike_escape"), g.textual(depth-1), g.textual(0), Literal{Value: TextOf("\\")})
	case 3:
		return g.call(pick(g, "list_contains", "list_has", "array_contains", "contains"), g.list(depth-1), pick(g, g.numeric(0), g.textual(0)))
	case 4:
		return g.call(pick(g, "isnan", "isinf", "isfinite"), g.numeric(depth-1))
	case 5:
		return g.call("json_exists", g.json1(0), Literal{Value: TextOf(pick(g, "a", "$.a.b", "zz"))})
	}
	return g.call("isfinite", g.temporal(depth-1))
}

func (g *generator) timeCall(depth int) Node {
	x := g.temporal(depth - 1)
	switch g.IntN(4) {
	case 0:
		return g.call("last_day", x)
	case 1:
		return g.call(pick(g, "greatest", "least"), x, g.temporal(0))
	}
	return g.call("date_trunc", Literal{Value: TextOf(pick(g, "year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond", "decade", "century", "isoyear"))}, x)
}
