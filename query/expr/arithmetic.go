package expr

import (
	"math"

	"kalamlog.dev/kalam/internal/problem"
)

// signature is the parameter kinds of one overload.
type signature struct{ a, b Kind }

// numericKinds are the kinds that arithmetic has overloads for, those that values never have too: they take part in
// the choice.
func numericKinds() [13]Kind {
	return [...]Kind{
		tinyInt, SmallInt, Integer, BigInt, hugeInt, Real, Double, Decimal,
		utinyInt, usmallInt, uinteger, ubigInt, uhugeInt,
	}
}

// chooseOverload returns the overload of least cost. It fails if none fits or several do equally well.
func chooseOverload(a, b staticType, overloads []signature) (signature, bool) {
	best, lowest, ties := signature{}, math.MaxInt, 0
	for _, s := range overloads {
		x := implicitCost(a, s.a)
		if x < 0 {
			continue
		}
		y := implicitCost(b, s.b)
		if y < 0 {
			continue
		}
		switch cost := x + y; {
		case cost < lowest:
			best, lowest, ties = s, cost, 0
		case cost == lowest:
			ties++
		}
	}
	return best, lowest < math.MaxInt && ties == 0
}

// overloads returns the signatures of a binary operator.
func overloads(op string, buf []signature) []signature {
	if op == "/" {
		return append(buf, signature{Real, Real}, signature{Double, Double}, signature{interval, Double})
	}
	for _, k := range numericKinds() {
		if k != Decimal || op != "//" {
			buf = append(buf, signature{k, k})
		}
	}
	switch op {
	case "+":
		buf = append(buf, signature{Date, Integer}, signature{Integer, Date}, signature{interval, interval},
			signature{Date, interval}, signature{interval, Date}, signature{Time, interval}, signature{interval, Time},
			signature{Timestamp, interval}, signature{interval, Timestamp}, signature{timeTZ, interval},
			signature{interval, timeTZ}, signature{Time, Date}, signature{Date, Time}, signature{timeTZ, Date},
			signature{Date, timeTZ}, signature{anyList, anyList}, signature{bigNum, bigNum},
			signature{TimestampTZ, interval}, signature{interval, TimestampTZ})
	case "-":
		buf = append(buf, signature{bigNum, bigNum}, signature{Date, Date}, signature{Date, Integer},
			signature{Timestamp, Timestamp}, signature{interval, interval}, signature{Date, interval},
			signature{Time, interval}, signature{Timestamp, interval}, signature{timeTZ, interval},
			signature{TimestampTZ, interval}, signature{TimestampTZ, TimestampTZ})
	case "*":
		buf = append(buf, signature{interval, Double}, signature{Double, interval}, signature{BigInt, interval},
			signature{interval, BigInt})
	}
	return buf
}

func (c *compiler) arithmetic(op string, a, b operand) (operand, error) {
	var buf [40]signature
	s, ok := chooseOverload(a.static(), b.static(), overloads(op, buf[:0]))
	if !ok {
		return operand{}, problem.New(problem.TypeMismatch, "no operator %s for %s and %s", op, a.typ, b.typ).
			WithHint("add an explicit cast")
	}
	switch {
	case s.a == s.b && s.a == Decimal:
		return c.decimalArithmetic(op, a, b)
	case s.a == s.b && isNumeric(s.a):
		return c.numericArithmetic(op, a, b, s.a)
	case s == signature{Date, Integer}, s == signature{Integer, Date}, s == signature{Date, Date}:
		return c.dateArithmetic(op, a, b, s)
	case (s.a == interval) != (s.b == interval) && (op == "+" || op == "-") && s.a != timeTZ && s.b != timeTZ:
		return c.intervalArithmetic(op, a, b, s)
	}
	return operand{}, problem.New(problem.Unsupported, "%s %s %s is not supported", a.typ, op, b.typ)
}

// nullArgument returns the NULL that DuckDB puts in place of a call with a constant NULL argument.
func nullArgument(t Type, xs ...operand) (operand, bool) {
	for _, x := range xs {
		if x.typ.Kind == Null || x.constant && x.val.kind == Null && !x.partial {
			null := constantOf(Value{}, t)
			null.literal = t.Kind == Text // a text constant adapts, even if NULL
			return null, true
		}
	}
	return operand{}, false
}

// nullNumber is nullArgument for a function of one number that gives the number's type: that of a DECIMAL is not
// known until it is bound, so its NULL has no type.
func nullNumber(x operand) (operand, bool) {
	if x.typ.Kind == Decimal {
		return nullArgument(Type{}, x)
	}
	return nullArgument(x.typ, x)
}

func (c *compiler) numericArithmetic(op string, a, b operand, k Kind) (operand, error) {
	t := typeOf(k)
	if x, ok := nullArgument(t, a, b); ok {
		return x, nil
	}
	a, err := c.castTo(a, t)
	if err != nil {
		return operand{}, err
	}
	if b, err = c.castTo(b, t); err != nil {
		return operand{}, err
	}
	switch {
	case isFloat(k):
		return strict2(a, b, t, floatOperation(op, k)), nil
	case k == hugeInt:
		return strict2(a, b, t, hugeOperation(op)), nil
	}
	return strict2(a, b, t, integerOperation(op, k)), nil
}

func overflow(op string, a, b Value, t Type) error {
	return problem.New(problem.OutOfRange, "%s %s %s is out of the range of %s", a, op, b, t)
}

func integerOperation(op string, k Kind) func(a, b Value) (Value, error) {
	low, high := intRange(k)
	var compute func(a, b int64) (int64, bool)
	switch op {
	case "+":
		compute = addInt64
	case "-":
		compute = subInt64
	case "*":
		compute = mulInt64
	default:
		return integerDivision(op, k, low)
	}
	return func(a, b Value) (Value, error) {
		r, ok := compute(int64(a.lo), int64(b.lo))
		if !ok || r < low || r > high {
			return Value{}, overflow(op, a, b, typeOf(k))
		}
		return Value{kind: k, lo: uint64(r)}, nil
	}
}

// integerDivision is // or %: NULL for a zero divisor, an error for the least value by -1.
func integerDivision(op string, k Kind, low int64) func(a, b Value) (Value, error) {
	return func(a, b Value) (Value, error) {
		x, y := int64(a.lo), int64(b.lo)
		switch {
		case y == 0:
			return Value{}, nil
		case y == -1 && x == low:
			return Value{}, overflow(op, a, b, typeOf(k))
		case op == "%":
			return Value{kind: k, lo: uint64(x % y)}, nil
		}
		return Value{kind: k, lo: uint64(x / y)}, nil
	}
}

func floatOperation(op string, k Kind) func(a, b Value) (Value, error) {
	compute := func(a, b float64) float64 { return a + b }
	switch op {
	case "-":
		compute = func(a, b float64) float64 { return a - b }
	case "*":
		compute = func(a, b float64) float64 { return a * b }
	case "/":
		compute = func(a, b float64) float64 { return a / b }
	case "%":
		compute = math.Mod
	case "//":
		return func(a, b Value) (Value, error) {
			if b.float() == 0 {
				return Value{}, nil
			}
			return FloatOf(k, a.float()/b.float()), nil
		}
	}
	// Double arithmetic on float32 operands, rounded once, equals float32 arithmetic.
	return func(a, b Value) (Value, error) { return FloatOf(k, compute(a.float(), b.float())), nil }
}

func hugeOperation(op string) func(a, b Value) (Value, error) {
	return func(a, b Value) (Value, error) {
		x, y := a.int128(), b.int128()
		var r int128
		var ok bool
		switch op {
		case "+":
			r, ok = x.add(y)
		case "-":
			r, ok = x.sub(y)
		case "*":
			r, ok = x.mul(y)
		default:
			if y.isZero() {
				return Value{}, nil
			}
			var rem int128
			r, rem = x.quoRem(y)
			ok = x != minInt128() || y != int128Of(-1)
			if op == "%" {
				r = rem
			}
		}
		if !ok {
			return Value{}, overflow(op, a, b, typeOf(hugeInt))
		}
		return hugeOf(r), nil
	}
}

// dateArithmetic adds days to a date or subtracts days or a date from it.
func (c *compiler) dateArithmetic(op string, a, b operand, s signature) (operand, error) {
	t := typeOf(Date)
	if s.a == Date && s.b == Date {
		t = typeOf(BigInt)
	}
	if x, ok := nullArgument(t, a, b); ok {
		return x, nil
	}
	a, err := c.castTo(a, typeOf(s.a))
	if err != nil {
		return operand{}, err
	}
	if b, err = c.castTo(b, typeOf(s.b)); err != nil {
		return operand{}, err
	}
	if s.a == Integer {
		a, b = b, a
	}
	return strict2(a, b, t, dateOperation(op, t)), nil
}

func dateOperation(op string, t Type) func(a, b Value) (Value, error) {
	return func(a, b Value) (Value, error) {
		x, y := int64(a.lo), int64(b.lo)
		if t.Kind == BigInt {
			return IntOf(BigInt, x-y), nil
		}
		if !finiteDate(x) {
			return a, nil
		}
		if op == "-" {
			y = -y
		}
		r := x + y
		if r < -infinityDate+1 || r > infinityDate-1 {
			return Value{}, overflow(op, a, b, t)
		}
		return IntOf(Date, r), nil
	}
}
