package expr

import "kalamlog.dev/kalam/internal/problem"

// comparison is the set of orderings that satisfy an operator: bit 0 less, bit 1 equal, bit 2 greater.
type comparison uint8

func comparisonOf(op string) (comparison, bool) {
	switch op {
	case "=", "==":
		return 2, true
	case "<>", "!=":
		return 5, true
	case "<":
		return 1, true
	case "<=":
		return 3, true
	case ">":
		return 4, true
	case ">=":
		return 6, true
	}
	return 0, false
}

// of returns whether an ordering of -1, 0 or 1 satisfies it, as a BOOLEAN.
func (m comparison) of(order int) Value { return Value{kind: Bool, lo: uint64(m >> (order + 1) & 1)} }

func (m comparison) equality() bool { return m == 2 || m == 5 }

// mirrored is the operator with its sides exchanged.
func (m comparison) mirrored() comparison { return m&2 | m>>2&1 | m&1<<2 }

// align casts both sides of a comparison to their common type.
func (c *compiler) align(a, b operand, equality bool) (operand, operand, error) {
	t, ok := comparisonType(a.static(), b.static(), equality)
	if !ok || t.Kind == interval {
		return a, b, problem.New(problem.TypeMismatch, "cannot compare %s with %s", a.typ, b.typ).
			WithHint("add an explicit cast")
	}
	x, err := c.castTo(a, t)
	if err != nil {
		return a, b, err
	}
	y, err := c.castTo(b, t)
	return x, y, err
}

func (c *compiler) compare(m comparison, a, b operand) (operand, error) {
	a, b, err := c.align(a, b, m.equality())
	if err != nil {
		return operand{}, err
	}
	return compareOperands(m, a, b), nil
}

func compareOperands(m comparison, a, b operand) operand {
	t := typeOf(Bool)
	if a.constant && !b.constant {
		a, b, m = b, a, m.mirrored()
	}
	if b.constant && b.val.kind != Null && !a.constant && a.column >= 0 {
		return computed(t, compareColumn(m, a.column, b.val))
	}
	return strict2(a, b, t, func(x, y Value) (Value, error) { return m.of(compareSame(x, y)), nil })
}

// compareColumn compares a column with a constant, by kind.
func compareColumn(m comparison, col int, k Value) evalFn {
	switch k.kind {
	case Text, JSON, Blob:
		return compareStringColumn(m, col, k.str)
	case Real, Double:
		f := k.float()
		return func(row Row) (Value, error) {
			v := row.Column(col)
			if v.kind == Null {
				return Value{}, nil
			}
			return m.of(compareFloat(v.float(), f)), nil
		}
	case Decimal, hugeInt, UUID, List:
		return func(row Row) (Value, error) {
			v := row.Column(col)
			if v.kind == Null {
				return Value{}, nil
			}
			return m.of(compareSame(v, k)), nil
		}
	}
	i := int64(k.lo)
	return func(row Row) (Value, error) {
		v := row.Column(col)
		if v.kind == Null {
			return Value{}, nil
		}
		return m.of(compareInt(int64(v.lo), i)), nil
	}
}

func compareStringColumn(m comparison, col int, s string) evalFn {
	if !m.equality() {
		return func(row Row) (Value, error) {
			v := row.Column(col)
			if v.kind == Null {
				return Value{}, nil
			}
			return m.of(compareString(v.str, s)), nil
		}
	}
	want := m == 2
	return func(row Row) (Value, error) {
		v := row.Column(col)
		if v.kind == Null {
			return Value{}, nil
		}
		return BoolOf((v.str == s) == want), nil
	}
}

// distinct is IS [NOT] DISTINCT FROM.
func (c *compiler) distinct(a, b operand, not bool) (operand, error) {
	a, b, err := c.align(a, b, true)
	if err != nil {
		return operand{}, err
	}
	return applyTwo(a, b, typeOf(Bool), func(x, y Value) (Value, error) {
		if x.kind == Null || y.kind == Null {
			return BoolOf((x.kind == y.kind) == not), nil
		}
		return BoolOf((compareSame(x, y) == 0) == not), nil
	}), nil
}

// applyTwo applies fn to two operands, NULLs too.
func applyTwo(a, b operand, t Type, fn func(a, b Value) (Value, error)) operand {
	if a.constant && b.constant {
		if v, err := fn(a.val, b.val); err == nil {
			return folded(v, t, a, b)
		}
	}
	f, g := a.run(), b.run()
	return computed(t, func(row Row) (Value, error) {
		x, err := f(row)
		if err != nil {
			return Value{}, err
		}
		y, err := g(row)
		if err != nil {
			return Value{}, err
		}
		return fn(x, y)
	})
}

func (c *compiler) bindBetween(n Between) (operand, error) {
	r, err := c.between(n, and)
	if err != nil || !n.Not {
		return r, err
	}
	return not(r), nil
}

// between is X >= Low joined with X <= High.
func (c *compiler) between(n Between, join func(a, b operand) operand) (operand, error) {
	x, err := c.bind(n.X)
	if err != nil {
		return operand{}, err
	}
	low, high, err := c.bindTwo(n.Low, n.High)
	if err != nil {
		return operand{}, err
	}
	t, ok := comparisonType(x.static(), low.static(), false)
	if ok {
		t, ok = comparisonType(staticType{Type: t}, high.static(), false)
	}
	if !ok || t.Kind == interval {
		return operand{}, problem.New(problem.TypeMismatch, "cannot compare %s with %s and %s", x.typ, low.typ, high.typ).
			WithHint("add an explicit cast")
	}
	xs := []operand{x, low, high}
	if t.Kind == List {
		return operand{}, problem.New(problem.Unsupported, "BETWEEN of lists is not supported").WithHint("use >= and <=")
	}
	if err := c.castAll(xs, t); err != nil {
		return operand{}, err
	}
	return join(compareOperands(6, xs[0], xs[1]), compareOperands(3, xs[0], xs[2])), nil
}

func (c *compiler) bindIn(n In) (operand, error) {
	if len(n.List) == 0 {
		return operand{}, problem.New(problem.SyntaxError, "IN needs at least one value")
	}
	xs, err := c.bindAll(append([]Node{n.X}, n.List...))
	if err != nil {
		return operand{}, err
	}
	t := xs[0].static()
	for _, x := range xs[1:] {
		next, ok := comparisonType(t, x.static(), true)
		if !ok || next.Kind == interval {
			return operand{}, problem.New(problem.TypeMismatch, "cannot compare %s with %s", t.Type, x.typ).
				WithHint("add an explicit cast")
		}
		t = staticType{Type: next}
	}
	if err := c.castAll(xs, t.Type); err != nil {
		return operand{}, err
	}
	r := member(xs[0], xs[1:])
	if n.Not {
		return not(r), nil
	}
	return r, nil
}

// member is x IN (list): true if an element equals x, else NULL if x or an element is NULL, else false. As in DuckDB
// all elements are evaluated.
func member(x operand, list []operand) operand {
	constants, null := make([]Value, 0, len(list)), false
	for _, e := range list {
		if !e.constant {
			return memberOf(x, list)
		}
		if e.val.kind == Null {
			null = true
		} else {
			constants = append(constants, e.val)
		}
	}
	absent := BoolOf(false)
	if null {
		absent = Value{}
	}
	find := finder(constants)
	return strict1(x, typeOf(Bool), func(v Value) (Value, error) {
		if find(v) {
			return BoolOf(true), nil
		}
		return absent, nil
	})
}

func memberOf(x operand, list []operand) operand {
	xs := append([]operand{x}, list...)
	return applyN(xs, typeOf(Bool), func(vs []Value) (Value, error) {
		if vs[0].kind == Null {
			return Value{}, nil
		}
		absent := BoolOf(false)
		for _, v := range vs[1:] {
			if v.kind == Null {
				absent = Value{}
			} else if compareSame(vs[0], v) == 0 {
				return BoolOf(true), nil
			}
		}
		return absent, nil
	})
}

// finder returns a test for membership in vs, which are of one kind and not NULL.
func finder(vs []Value) func(Value) bool {
	const few = 8
	if len(vs) > few {
		switch k := vs[0].kind; {
		case k == Text || k == JSON || k == Blob:
			set := make(map[string]struct{}, len(vs))
			for _, v := range vs {
				set[v.str] = struct{}{}
			}
			return func(v Value) bool { _, ok := set[v.str]; return ok }
		case k != List && k != Decimal && !isFloat(k) && k != UUID && k != hugeInt:
			set := make(map[uint64]struct{}, len(vs))
			for _, v := range vs {
				set[v.lo] = struct{}{}
			}
			return func(v Value) bool { _, ok := set[v.lo]; return ok }
		}
	}
	return func(v Value) bool {
		for i := range vs {
			if compareSame(v, vs[i]) == 0 {
				return true
			}
		}
		return false
	}
}
