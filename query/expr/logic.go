package expr

import "kalamlog.dev/kalam/internal/problem"

func (c *compiler) bindUnary(n Unary) (operand, error) {
	x, err := c.bind(n.X)
	if err != nil {
		return operand{}, err
	}
	switch n.Op {
	case "-":
		return c.negate(x)
	case "+":
		return c.plus(x)
	case "NOT":
		if x, err = c.castTo(x, typeOf(Bool)); err != nil {
			return operand{}, err
		}
		return not(x), nil
	case "IS NULL":
		return fold1(x, typeOf(Bool), func(v Value) (Value, error) { return BoolOf(v.kind == Null), nil }), nil
	case "IS NOT NULL":
		return fold1(x, typeOf(Bool), func(v Value) (Value, error) { return BoolOf(v.kind != Null), nil }), nil
	case "IS TRUE", "IS NOT TRUE":
		return c.isBool(x, 1, n.Op == "IS TRUE")
	case "IS FALSE", "IS NOT FALSE":
		return c.isBool(x, 0, n.Op == "IS FALSE")
	}
	return operand{}, unknownOperator(n.Op)
}

func unknownOperator(op string) error {
	return problem.New(problem.UnknownFunction, "operator %s is not supported", shorten(op))
}

// isBool is x IS [NOT] TRUE or FALSE, which is never NULL.
func (c *compiler) isBool(x operand, want uint64, is bool) (operand, error) {
	x, err := c.castTo(x, typeOf(Bool))
	if err != nil {
		return operand{}, err
	}
	return fold1(x, typeOf(Bool), func(v Value) (Value, error) {
		return BoolOf((v.kind != Null && v.lo == want) == is), nil
	}), nil
}

func not(x operand) operand {
	return fold1(x, typeOf(Bool), func(v Value) (Value, error) {
		v.lo ^= uint64(v.kind) & uint64(Bool) // NULL has kind 0 and stays as it is
		return v, nil
	})
}

func (c *compiler) bindBinary(n Binary) (operand, error) {
	switch n.Op {
	case "AND", "OR":
		return c.bindLogic(n)
	}
	if pattern, escape, ok := escapedPattern(n); ok {
		return c.likeEscaped(n.Op, n.L, pattern, escape)
	}
	a, b, err := c.bindTwo(n.L, n.R)
	if err != nil {
		return operand{}, err
	}
	if m, ok := comparisonOf(n.Op); ok {
		return c.compare(m, a, b)
	}
	switch n.Op {
	case "+", "-", "*", "/", "//", "%":
		return c.arithmetic(n.Op, a, b)
	case "||":
		return c.concat(a, b)
	case "IS DISTINCT FROM":
		return c.distinct(a, b, false)
	case "IS NOT DISTINCT FROM":
		return c.distinct(a, b, true)
	case "LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE", "~~", "!~~", "~~*", "!~~*":
		return c.like(n.Op, a, b)
	case "->", "->>":
		return c.jsonArrow(n.Op, a, b)
	}
	return operand{}, unknownOperator(n.Op)
}

func (c *compiler) bindLogic(n Binary) (operand, error) {
	a, b, err := c.bindTwo(n.L, n.R)
	if err == nil {
		a, err = c.castTo(a, typeOf(Bool))
	}
	if err == nil {
		b, err = c.castTo(b, typeOf(Bool))
	}
	if err != nil {
		return operand{}, err
	}
	if n.Op == "AND" {
		return and(a, b), nil
	}
	return or(a, b), nil
}

// bindFilter binds a condition of which only TRUE counts, as that of WHERE or of WHEN: in its ANDs nothing is evaluated
// after what is not true, be it NULL.
func (c *compiler) bindFilter(n Node) (operand, error) {
	x, ok := n.(Binary)
	if b, between := n.(Between); between && !b.Not {
		return c.between(b, both)
	}
	if !ok || x.Op != "AND" && x.Op != "OR" {
		cond, err := c.bind(n)
		if err != nil {
			return operand{}, err
		}
		return c.castTo(cond, typeOf(Bool))
	}
	if c.depth++; c.depth > maxDepth {
		return operand{}, tooDeep()
	}
	defer func() { c.depth-- }()
	a, err := c.bindFilter(x.L)
	if err != nil {
		return operand{}, err
	}
	b, err := c.bindFilter(x.R)
	if err != nil {
		return operand{}, err
	}
	if x.Op == "OR" {
		return or(a, b), nil
	}
	return both(a, b), nil
}

func tooDeep() error {
	return problem.New(problem.Unsupported, "the expression is nested more than %d deep", maxDepth)
}

// both is AND that does not evaluate b where a is not true.
func both(a, b operand) operand {
	if a.constant {
		if a.val.kind == Null || a.val.lo == 0 {
			return decided(a.val, a, b)
		}
		return b
	}
	f, g := a.run(), b.run()
	return computed(typeOf(Bool), func(row Row) (Value, error) {
		x, err := f(row)
		if err != nil || x.kind == Null || x.lo == 0 {
			return x, err
		}
		return g(row)
	})
}

// and does not evaluate b where a is false.
func and(a, b operand) operand {
	if a.constant && (b.constant || a.val.kind == Bool) {
		return constantSide(a, b, 0)
	}
	f, g := a.run(), b.run()
	return computed(typeOf(Bool), func(row Row) (Value, error) {
		x, err := f(row)
		if err != nil || x.kind == Bool && x.lo == 0 {
			return x, err
		}
		y, err := g(row)
		if err != nil || y.kind == Bool && y.lo == 0 || x.kind == Bool {
			return y, err
		}
		return Value{}, nil
	})
}

// or does not evaluate b where a is true.
func or(a, b operand) operand {
	if a.constant && (b.constant || a.val.kind == Bool) {
		return constantSide(a, b, 1)
	}
	f, g := a.run(), b.run()
	return computed(typeOf(Bool), func(row Row) (Value, error) {
		x, err := f(row)
		if err != nil || x.kind == Bool && x.lo == 1 {
			return x, err
		}
		y, err := g(row)
		if err != nil || y.kind == Bool && y.lo == 1 || x.kind == Bool {
			return y, err
		}
		return Value{}, nil
	})
}

// constantSide folds AND (decisive 0) or OR (decisive 1) with a constant left side.
func constantSide(a, b operand, decisive uint64) operand {
	switch {
	case a.val.kind == Bool && a.val.lo == decisive:
		return decided(a.val, a, b)
	case a.val.kind == Bool:
		return b
	case b.val.kind == Bool && b.val.lo == decisive:
		return decided(b.val, a, b)
	}
	return decided(Value{}, a, b)
}

// decided is a constant that does not depend on b if b is not constant.
func decided(v Value, a, b operand) operand {
	x := folded(v, typeOf(Bool), a, b)
	x.partial = x.partial || !b.constant
	return x
}
