package expr

import "kalamlog.dev/kalam/internal/problem"

func (c *compiler) bindCase(n Case) (operand, error) {
	conds := make([]operand, len(n.Whens))
	results := make([]operand, 1, len(n.Whens)+1)
	var err error
	for i, w := range n.Whens {
		cond := w.Cond
		if n.Operand != nil {
			cond = Binary{Op: "=", L: n.Operand, R: w.Cond}
		}
		if conds[i], err = c.bindFilter(cond); err != nil {
			return operand{}, err
		}
		then, err := c.bind(w.Then)
		if err != nil {
			return operand{}, err
		}
		results = append(results, then)
	}
	results[0] = constantOf(Value{}, Type{})
	if n.Else != nil {
		if results[0], err = c.bind(n.Else); err != nil {
			return operand{}, err
		}
	}
	t, err := c.unify(results, "CASE")
	if err != nil {
		return operand{}, err
	}
	return choose(conds, results[1:], results[0], t), nil
}

// unify casts operands to their common type, found from the first on.
func (c *compiler) unify(xs []operand, what string) (Type, error) {
	t := xs[0].static()
	for _, x := range xs[1:] {
		next, ok := maxType(t, x.static(), false)
		if !ok {
			return Type{}, problem.New(problem.TypeMismatch, "cannot mix %s and %s in %s", t.Type, x.typ, what).
				WithHint("add an explicit cast")
		}
		t = staticType{Type: next}
	}
	if t.Kind == interval {
		return Type{}, problem.New(problem.Unsupported, "intervals in %s are not supported", what)
	}
	return t.Type, c.castAll(xs, t.Type)
}

// choose evaluates conditions until one is true, then its result alone.
func choose(conds, results []operand, otherwise operand, t Type) operand {
	type arm struct{ cond, then evalFn }
	arms := make([]arm, 0, len(conds))
	partial := !otherwise.constant || otherwise.partial
	for i := range conds {
		for _, x := range [...]operand{conds[i], results[i]} {
			partial = partial || !x.constant || x.partial
		}
	}
	for i := range conds {
		if conds[i].constant && (conds[i].val.kind == Null || conds[i].val.lo == 0) {
			continue
		}
		if conds[i].constant {
			otherwise = results[i]
			break
		}
		arms = append(arms, arm{conds[i].run(), results[i].run()})
	}
	if len(arms) == 0 {
		otherwise.typ, otherwise.literal, otherwise.partial, otherwise.column = t, false, partial, -1
		return otherwise
	}
	last := otherwise.run()
	return computed(t, func(row Row) (Value, error) {
		for i := range arms {
			v, err := arms[i].cond(row)
			if err != nil {
				return Value{}, err
			}
			if v.kind == Bool && v.lo != 0 {
				return arms[i].then(row)
			}
		}
		return last(row)
	})
}

// coalesce evaluates its operands until one is not NULL.
func (c *compiler) coalesce(xs []operand) (operand, error) {
	if len(xs) == 1 {
		return xs[0], nil
	}
	t, err := c.unify(xs, "COALESCE")
	if err != nil {
		return operand{}, err
	}
	if xs[0].constant && xs[0].val.kind != Null {
		x := folded(xs[0].val, t, xs...)
		for _, y := range xs {
			x.partial = x.partial || !y.constant
		}
		return x, nil
	}
	evals := make([]evalFn, len(xs))
	for i, x := range xs {
		evals[i] = x.run()
	}
	return computed(t, func(row Row) (Value, error) {
		for _, eval := range evals {
			if v, err := eval(row); err != nil || v.kind != Null {
				return v, err
			}
		}
		return Value{}, nil
	}), nil
}

// nullif is CASE WHEN a = b THEN NULL ELSE a END.
func (c *compiler) nullif(a, b operand) (operand, error) {
	equal, err := c.compare(2, a, b)
	if err != nil {
		return operand{}, err
	}
	null := constantOf(Value{}, a.typ)
	return choose([]operand{equal}, []operand{null}, a, a.typ), nil
}
