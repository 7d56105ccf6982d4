package expr

import "kalamlog.dev/kalam/internal/problem"

// decimalArithmetic follows DuckDB's rules for the result's precision and scale.
func (c *compiler) decimalArithmetic(op string, a, b operand) (operand, error) {
	if x, ok := nullArgument(Type{}, a, b); ok {
		return x, nil
	}
	ap, as, _ := decimalProperties(a.typ)
	bp, bs, _ := decimalProperties(b.typ)
	if op == "*" {
		return c.decimalProduct(a, b, decimalType(ap, as), decimalType(bp, bs))
	}
	widest := max(ap, bp)
	t := decimalType(max(max(as, bs)+max(ap-as, bp-bs), widest), max(as, bs))
	checked := false
	if op != "%" {
		t.Precision++
		if t.Precision > 18 && widest <= 18 {
			t.Precision, checked = 18, true
		}
	}
	if t.Precision > maxPrecision {
		if op == "%" {
			return c.numericArithmetic(op, a, b, Double)
		}
		t.Precision, checked = maxPrecision, true
	}
	xs := []operand{a, b}
	for i := range xs {
		p, s, _ := decimalProperties(xs[i].typ)
		to := t
		if xs[i].typ.Kind == Decimal && s == t.Scale && storeWidth(p) == storeWidth(t.Precision) {
			to = xs[i].typ
		}
		var err error
		if xs[i], err = c.castTo(xs[i], to); err != nil {
			return operand{}, err
		}
	}
	return strict2(xs[0], xs[1], t, decimalOperation(op, t, checked)), nil
}

func decimalOperation(op string, t Type, checked bool) func(a, b Value) (Value, error) {
	return func(a, b Value) (Value, error) {
		x, y := a.int128(), b.int128()
		var r int128
		ok := true
		switch op {
		case "+":
			r, ok = x.add(y)
		case "-":
			r, ok = x.sub(y)
		default:
			if y.isZero() {
				return Value{}, nil
			}
			_, r = x.quoRem(y)
		}
		if !ok || checked && !fits(r, t.Precision) {
			return Value{}, overflow(op, a, b, t)
		}
		return decimalOf(r, t.Scale), nil
	}
}

func (c *compiler) decimalProduct(a, b operand, at, bt Type) (operand, error) {
	scale := at.Scale + bt.Scale
	if scale > maxPrecision {
		return operand{}, problem.New(problem.OutOfRange, "%s * %s needs %d digits after the point, more than %d",
			at, bt, scale, maxPrecision).WithHint("cast a side to DOUBLE or to a smaller scale")
	}
	t := decimalType(at.Precision+bt.Precision, scale)
	checked := false
	if t.Precision > 18 && max(at.Precision, bt.Precision) <= 18 && scale < 18 {
		t.Precision, checked = 18, true
	}
	if t.Precision > maxPrecision {
		t.Precision, checked = maxPrecision, true
	}
	a, err := c.castTo(a, factorType(a.typ, at, t))
	if err != nil {
		return operand{}, err
	}
	if b, err = c.castTo(b, factorType(b.typ, bt, t)); err != nil {
		return operand{}, err
	}
	return strict2(a, b, t, func(x, y Value) (Value, error) {
		r, ok := x.int128().mul(y.int128())
		if !ok || checked && !fits(r, t.Precision) {
			return Value{}, overflow("*", x, y, t)
		}
		return decimalOf(r, t.Scale), nil
	}), nil
}

// factorType is the type that a factor of a product of type t is cast to: it keeps its scale.
func factorType(from, as, t Type) Type {
	if from.Kind == Decimal && storeWidth(from.Precision) == storeWidth(t.Precision) {
		return from
	}
	return decimalType(t.Precision, as.Scale)
}
