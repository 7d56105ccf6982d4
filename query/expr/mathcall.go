package expr

import (
	"math"
	"strconv"

	"kalamlog.dev/kalam/internal/problem"
)

// mathCall binds numeric functions.
func (c *compiler) mathCall(name string, xs []operand) (operand, bool, error) {
	var x operand
	var err error
	switch {
	case name == "mod" && len(xs) == 2:
		x, err = c.arithmetic("%", xs[0], xs[1])
	case name == "mod":
		err = wrongArguments(name, xs)
	case name == "sqrt":
		return c.strict(name, xs, typeOf(Double), []Kind{Double}, squareRoot)
	case name == "abs":
		x, err = c.abs(xs)
	case name == "sign":
		x, err = c.sign(xs)
	case name == "floor" || name == "ceil" || name == "ceiling":
		x, err = c.whole(name, xs)
	case name == "round" || name == "trunc":
		x, err = c.round(name, xs)
	case name == "isnan" || name == "isinf" || name == "isfinite":
		x, err = c.finite(name, xs)
	default:
		return operand{}, false, nil
	}
	return x, true, err
}

func squareRoot(v arguments) (Value, error) {
	f := v[0].float()
	if f < 0 {
		return Value{}, problem.New(problem.OutOfRange, "the square root of a negative number does not exist")
	}
	return FloatOf(Double, math.Sqrt(f)), nil
}

// numericArgument picks the overload for the one or first argument and casts it, unless it is a Decimal, which keeps
// its type.
func (c *compiler) numericArgument(name string, xs []operand, kinds []Kind) (operand, error) {
	k, ok := unaryKind(xs[0], kinds)
	switch {
	case !ok:
		return operand{}, wrongArguments(name, xs)
	case !isNumeric(k):
		return operand{}, problem.New(problem.Unsupported, "%s of %s is not supported", name, xs[0].typ)
	case k == Decimal:
		return xs[0], nil
	}
	return c.castTo(xs[0], typeOf(k))
}

func (c *compiler) abs(xs []operand) (operand, error) {
	if len(xs) != 1 {
		return operand{}, wrongArguments("abs", xs)
	}
	kinds := numericKinds()
	x, err := c.numericArgument("abs", xs, kinds[:])
	if err != nil {
		return operand{}, err
	}
	if null, ok := nullNumber(x); ok {
		return null, nil
	}
	t := x.typ
	low, _ := intRange(t.Kind)
	return strict1(x, t, func(v Value) (Value, error) {
		switch {
		case isFloat(t.Kind):
			return FloatOf(t.Kind, math.Abs(v.float())), nil
		case t.Kind == Decimal || t.Kind == hugeInt:
			if u := v.int128(); u.negative() {
				n := u.neg()
				v.hi, v.lo = uint64(n.hi), n.lo
			}
			return v, nil
		case int64(v.lo) == low:
			return Value{}, problem.New(problem.OutOfRange, "abs(%s) is out of the range of %s", v, t)
		case int64(v.lo) < 0:
			v.lo = -v.lo
		}
		return v, nil
	}), nil
}

func (c *compiler) sign(xs []operand) (operand, error) {
	if len(xs) != 1 {
		return operand{}, wrongArguments("sign", xs)
	}
	var buf [13]Kind
	kinds := buf[:0]
	for _, k := range numericKinds() {
		if k != Decimal {
			kinds = append(kinds, k)
		}
	}
	x, err := c.numericArgument("sign", xs, kinds)
	if err != nil {
		return operand{}, err
	}
	if null, ok := nullArgument(typeOf(tinyInt), x); ok {
		return null, nil
	}
	return strict1(x, typeOf(tinyInt), func(v Value) (Value, error) {
		switch {
		case !isFloat(v.kind) && v.kind != hugeInt:
			return IntOf(tinyInt, int64(compareInt(int64(v.lo), 0))), nil
		case v.kind == hugeInt:
			return IntOf(tinyInt, int64(v.int128().cmp(int128{}))), nil
		case v.float() != v.float():
			return IntOf(tinyInt, 0), nil
		}
		return IntOf(tinyInt, int64(compareFloat(v.float(), 0))), nil
	}), nil
}

// whole is floor or ceil.
func (c *compiler) whole(name string, xs []operand) (operand, error) {
	if len(xs) != 1 {
		return operand{}, wrongArguments(name, xs)
	}
	x, err := c.numericArgument(name, xs, []Kind{Real, Double, Decimal})
	if err != nil {
		return operand{}, err
	}
	if null, ok := nullNumber(x); ok {
		return null, nil
	}
	up := name != "floor"
	if x.typ.Kind == Decimal {
		scale := x.typ.Scale
		return strict1(x, decimalType(x.typ.Precision, 0), func(v Value) (Value, error) {
			return decimalOf(wholeDecimal(v.int128(), scale, up), 0), nil
		}), nil
	}
	k := x.typ.Kind
	return strict1(x, x.typ, func(v Value) (Value, error) {
		if up {
			return FloatOf(k, math.Ceil(v.float())), nil
		}
		return FloatOf(k, math.Floor(v.float())), nil
	}), nil
}

func wholeDecimal(u int128, scale uint8, up bool) int128 {
	quo, rem := u.quoRem(pow10(int(scale)))
	switch {
	case rem.isZero():
	case up && !u.negative():
		quo, _ = quo.add(int128{lo: 1})
	case !up && u.negative():
		quo, _ = quo.sub(int128{lo: 1})
	}
	return quo
}

// round is round or trunc, with or without digits after the point.
func (c *compiler) round(name string, xs []operand) (operand, error) {
	if len(xs) == 0 || len(xs) > 2 {
		return operand{}, wrongArguments(name, xs)
	}
	var buf [13]Kind
	kinds := buf[:0]
	for _, k := range numericKinds() {
		if name == "trunc" || k < utinyInt {
			kinds = append(kinds, k)
		}
	}
	x, err := c.numericArgument(name, xs, kinds)
	if err != nil {
		return operand{}, err
	}
	if null, ok := nullNumber(x); ok {
		return null, nil
	}
	half := name == "round"
	if len(xs) == 1 {
		return roundWhole(x, half), nil
	}
	if implicitCost(xs[1].static(), Integer) < 0 {
		return operand{}, wrongArguments(name, xs)
	}
	digits, err := c.castTo(xs[1], typeOf(Integer))
	if err != nil {
		return operand{}, err
	}
	if null, ok := nullArgument(x.typ, digits); ok && x.typ.Kind != Decimal {
		return null, nil
	}
	switch {
	case x.typ.Kind == Decimal:
		return roundDecimal(name, x, digits, half)
	case isFloat(x.typ.Kind):
		k := x.typ.Kind
		return strict2(x, digits, x.typ, func(v, n Value) (Value, error) {
			return FloatOf(k, roundFloat(v.float(), n.Int(), half)), nil
		}), nil
	}
	return strict2(x, digits, x.typ, func(v, n Value) (Value, error) { return roundInteger(v, n.Int(), half) }), nil
}

func roundWhole(x operand, half bool) operand {
	switch k := x.typ.Kind; {
	case k == Decimal:
		scale := x.typ.Scale
		return strict1(x, decimalType(x.typ.Precision, 0), func(v Value) (Value, error) {
			return decimalOf(dropDigits(v.int128(), int(scale), half), 0), nil
		})
	case isFloat(k):
		return strict1(x, x.typ, func(v Value) (Value, error) {
			if half {
				return FloatOf(k, math.Round(v.float())), nil
			}
			return FloatOf(k, math.Trunc(v.float())), nil
		})
	}
	x.literal = false
	return x
}

// dropDigits divides by 10^n, rounding half away from zero or cutting.
func dropDigits(u int128, n int, half bool) int128 {
	if half {
		r, _ := rescale(u, uint8(n), 0)
		return r
	}
	quo, _ := u.quoRem(pow10(n))
	return quo
}

// roundDecimal needs a constant number of digits, as DuckDB does: it decides the result's type.
func roundDecimal(name string, x, digits operand, half bool) (operand, error) {
	if !digits.constant || digits.val.kind == Null {
		return operand{}, problem.New(problem.Unsupported, "%s of a DECIMAL needs a constant number of digits", name)
	}
	n := digits.val.Int()
	p, s := x.typ.Precision, x.typ.Scale
	if n >= int64(s) {
		x.literal = false
		return x, nil
	}
	if n >= 0 {
		return strict1(x, decimalType(p, uint8(n)), func(v Value) (Value, error) {
			return decimalOf(dropDigits(v.int128(), int(s)-int(n), half), uint8(n)), nil
		}), nil
	}
	t := decimalType(p, 0)
	if n <= -int64(p-s) {
		return fold1(x, t, func(Value) (Value, error) { return decimalOf(int128{}, 0), nil }), nil
	}
	return strict1(x, t, func(v Value) (Value, error) {
		r, _ := dropDigits(v.int128(), int(s)-int(n), half).mul(pow10(int(-n)))
		return decimalOf(r, 0), nil
	}), nil
}

// roundFloat rounds in double precision whatever the kind.
func roundFloat(f float64, digits int64, half bool) float64 {
	whole := math.Trunc
	if half {
		whole = math.Round
	}
	if digits < 0 {
		m := tenTo(-digits)
		r := whole(f/m) * m
		if math.IsInf(r, 0) || r != r {
			if half {
				return 0
			}
			return f
		}
		return r
	}
	m := tenTo(digits)
	r := whole(f*m) / m
	if math.IsInf(r, 0) || r != r {
		return f
	}
	return r
}

func tenTo(n int64) float64 {
	f, _ := strconv.ParseFloat("1e"+strconv.FormatInt(n, 10), 64)
	return f
}

// roundInteger rounds to a power of ten; it does nothing for digits after the point.
func roundInteger(v Value, digits int64, half bool) (Value, error) {
	if digits >= 0 {
		return v, nil
	}
	u, cached := int128Of(int64(v.lo)), int64(19)
	if v.kind == hugeInt {
		u, cached = v.int128(), 39
	}
	if digits <= -cached {
		u = int128{}
	} else {
		u, _ = dropDigits(u, int(-digits), half).mul(pow10(int(-digits)))
	}
	if v.kind == hugeInt {
		return hugeOf(u), nil
	}
	i, ok := u.int64()
	if low, high := intRange(v.kind); !ok || i < low || i > high {
		return Value{}, problem.New(problem.OutOfRange, "%s rounded is out of the range of %s", v, v.kind)
	}
	return IntOf(v.kind, i), nil
}

// finite is isnan, isinf or isfinite, of floats, dates and timestamps.
func (c *compiler) finite(name string, xs []operand) (operand, error) {
	if len(xs) != 1 {
		return operand{}, wrongArguments(name, xs)
	}
	kinds := []Kind{Real, Double, Date, Timestamp, TimestampTZ}
	if name == "isnan" {
		kinds = kinds[:2]
	}
	k, ok := unaryKind(xs[0], kinds)
	if !ok {
		return operand{}, wrongArguments(name, xs)
	}
	x, err := c.castTo(xs[0], typeOf(k))
	if err != nil {
		return operand{}, err
	}
	if null, ok := nullArgument(typeOf(Bool), x); ok {
		return null, nil
	}
	return strict1(x, typeOf(Bool), func(v Value) (Value, error) {
		var nan, inf bool
		switch {
		case isFloat(k):
			nan, inf = math.IsNaN(v.float()), math.IsInf(v.float(), 0)
		case k == Date:
			inf = !finiteDate(v.Int())
		default:
			inf = !finiteTimestamp(v.Int())
		}
		switch name {
		case "isnan":
			return BoolOf(nan), nil
		case "isinf":
			return BoolOf(inf), nil
		}
		return BoolOf(!nan && !inf), nil
	}), nil
}
