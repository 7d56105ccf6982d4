package expr

import (
	"math"

	"kalamlog.dev/kalam/internal/problem"
)

// negate is unary minus; a minus before a number as written is part of it.
func (c *compiler) negate(x operand) (operand, error) {
	k := x.typ.Kind
	switch {
	case k == Null:
		return constantOf(Value{}, typeOf(BigInt)), nil
	case !isNumeric(k) || x.static().lit == stringLit:
		return operand{}, problem.New(problem.TypeMismatch, "no operator - for %s", x.typ)
	case x.literal:
		return negateLiteral(x), nil
	}
	if null, ok := nullNumber(x); ok {
		return null, nil
	}
	low, _ := intRange(k)
	return strict1(x, x.typ, func(v Value) (Value, error) {
		switch {
		case isFloat(k):
			return FloatOf(k, -v.float()), nil
		case k == Decimal:
			return decimalOf(v.int128().neg(), v.scale), nil
		case k == hugeInt && v.int128() != minInt128():
			return hugeOf(v.int128().neg()), nil
		case k != hugeInt && int64(v.lo) != low:
			return Value{kind: k, lo: -v.lo}, nil
		}
		return Value{}, problem.New(problem.OutOfRange, "-(%s) is out of the range of %s", v, x.typ)
	}), nil
}

// negateLiteral negates a number as written.
func negateLiteral(x operand) operand {
	switch k := x.typ.Kind; {
	case isFloat(k):
		x.val = FloatOf(k, -x.val.float())
	case k == Decimal:
		x.val = decimalOf(x.val.int128().neg(), x.val.scale)
	default:
		x.val = integerLiteral(x.static().val.neg())
		x.typ = typeOf(x.val.kind)
	}
	return x
}

// integerLiteral gives a whole number the type that DuckDB gives its digits: the sign, an operator before them, does
// not count, so -2147483648 is a BIGINT.
func integerLiteral(u int128) Value {
	i, ok := u.int64()
	switch {
	case !ok:
		return hugeOf(u)
	case i < -math.MaxInt32 || i > math.MaxInt32:
		return IntOf(BigInt, i)
	}
	return IntOf(Integer, i)
}

func (c *compiler) plus(x operand) (operand, error) {
	if x.typ.Kind != Null && (!isNumeric(x.typ.Kind) || x.static().lit == stringLit) {
		return operand{}, problem.New(problem.TypeMismatch, "no operator + for %s", x.typ)
	}
	if x.typ.Kind == Null {
		return constantOf(Value{}, typeOf(BigInt)), nil
	}
	if null, ok := nullNumber(x); ok {
		return null, nil
	}
	x.literal = false
	return x, nil
}
