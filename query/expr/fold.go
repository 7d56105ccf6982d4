package expr

// fold1 applies fn to x, at once if x is constant and fn does not fail. fn is also called for NULL.
func fold1(x operand, t Type, fn func(Value) (Value, error)) operand {
	if x.constant {
		if v, err := fn(x.val); err == nil {
			return folded(v, t, x)
		}
		v := x.val
		return computed(t, func(Row) (Value, error) { return fn(v) })
	}
	eval := x.eval
	return computed(t, func(row Row) (Value, error) {
		v, err := eval(row)
		if err != nil {
			return Value{}, err
		}
		return fn(v)
	})
}

// strict1 is fold1 for a function that is NULL for NULL.
func strict1(x operand, t Type, fn func(Value) (Value, error)) operand {
	return fold1(x, t, func(v Value) (Value, error) {
		if v.kind == Null {
			return Value{}, nil
		}
		return fn(v)
	})
}

// strict2 applies fn to two operands; it is NULL if either is NULL.
func strict2(a, b operand, t Type, fn func(a, b Value) (Value, error)) operand {
	both := func(x, y Value) (Value, error) {
		if x.kind == Null || y.kind == Null {
			return Value{}, nil
		}
		return fn(x, y)
	}
	switch {
	case a.constant && b.constant:
		if v, err := both(a.val, b.val); err == nil {
			return folded(v, t, a, b)
		}
	case b.constant && b.val.kind != Null:
		return rightConstant(a.eval, b.val, t, fn)
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
		return both(x, y)
	})
}

func rightConstant(eval evalFn, y Value, t Type, fn func(a, b Value) (Value, error)) operand {
	return computed(t, func(row Row) (Value, error) {
		x, err := eval(row)
		if err != nil || x.kind == Null {
			return Value{}, err
		}
		return fn(x, y)
	})
}

// strictN applies fn to all operands; it is NULL if any is NULL.
func strictN(xs []operand, t Type, fn func([]Value) (Value, error)) operand {
	return applyN(xs, t, func(vs []Value) (Value, error) {
		for _, v := range vs {
			if v.kind == Null {
				return Value{}, nil
			}
		}
		return fn(vs)
	})
}

// applyN applies fn to all operands, NULLs too. fn must not keep the slice.
func applyN(xs []operand, t Type, fn func([]Value) (Value, error)) operand {
	if v, ok := foldN(xs, fn); ok {
		return folded(v, t, xs...)
	}
	evals := make([]evalFn, len(xs))
	for i, x := range xs {
		evals[i] = x.run()
	}
	return computed(t, func(row Row) (Value, error) {
		var buf [4]Value
		vs := buf[:0]
		for _, eval := range evals {
			v, err := eval(row)
			if err != nil {
				return Value{}, err
			}
			vs = append(vs, v)
		}
		return fn(vs)
	})
}

func foldN(xs []operand, fn func([]Value) (Value, error)) (Value, bool) {
	vs := make([]Value, len(xs))
	for i, x := range xs {
		if !x.constant {
			return Value{}, false
		}
		vs[i] = x.val
	}
	v, err := fn(vs)
	return v, err == nil
}
