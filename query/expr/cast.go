package expr

import (
	"math"

	"kalamlog.dev/kalam/internal/problem"
)

// CastValue converts v to t with SQL's explicit-cast rules, in a session whose time zone is UTC. NULL stays NULL. The
// error is a *problem.Error (InvalidValue, OutOfRange, TypeMismatch).
func CastValue(v Value, t Type) (Value, error) {
	if v.kind == Null {
		return v, nil
	}
	if v.kind == List && t.Kind == List {
		return castEach(*v.list, *t.Elem)
	}
	from := TypeOf(v)
	if err := castable(from, t); err != nil {
		return Value{}, err
	}
	return cast(v, from, t)
}

// castEach casts the elements of a list, each from its own narrowest type.
func castEach(vs []Value, elem Type) (Value, error) {
	out := make([]Value, len(vs))
	for i, v := range vs {
		var err error
		if out[i], err = CastValue(v, elem); err != nil {
			return Value{}, err
		}
	}
	return ListOf(out), nil
}

// TypeOf returns the narrowest type that v is a value of; a list's element type is that of its first element that is
// not NULL.
func TypeOf(v Value) Type {
	switch v.kind {
	case Decimal:
		return decimalType(uint8(max(v.int128().digits10(), int(v.scale), 1)), v.scale)
	case List:
		elem := Type{}
		for _, e := range *v.list {
			if e.kind != Null {
				elem = TypeOf(e)
				break
			}
		}
		return listType(elem)
	}
	return typeOf(v.kind)
}

func isInteger(k Kind) bool {
	return k == SmallInt || k == Integer || k == BigInt || k == tinyInt || k == hugeInt
}

func isFloat(k Kind) bool { return k == Real || k == Double }

func isNumeric(k Kind) bool { return isInteger(k) || isFloat(k) || k == Decimal }

func isTimestamp(k Kind) bool { return k == Timestamp || k == TimestampTZ }

// castable returns nil if an explicit cast from one type to another exists, TypeMismatch if it does not and Unsupported
// if only DuckDB has it.
func castable(from, to Type) error {
	f, t := from.Kind, to.Kind
	ok := false
	switch {
	case f == Null || f == t && f != List:
		ok = true
	case f == interval || t == interval && f != Text:
		return problem.New(problem.Unsupported, "an interval has no use here").WithHint("add it to a date or time")
	case f == List && t == List:
		return castable(*from.Elem, *to.Elem)
	case t == Null:
	case f == Text || t == Text:
		ok = true
	case f == JSON || t == JSON:
		ok = true
	case isNumeric(f) || f == Bool:
		ok = isNumeric(t) || t == Bool
	case f == Date:
		ok = isTimestamp(t)
	case f == Timestamp:
		ok = t == TimestampTZ || t == Date || t == Time
	case f == TimestampTZ:
		ok = t == Timestamp || t == Date
	case f == UUID && t == Blob || f == Blob && t == UUID:
		return problem.New(problem.Unsupported, "casting %s to %s is not supported", from, to)
	}
	if !ok {
		return problem.New(problem.TypeMismatch, "cannot cast %s to %s", from, to)
	}
	return nil
}

// cast converts v, of the static type from, to a type it is castable to.
func cast(v Value, from, to Type) (Value, error) { return castMode(v, from, to, false) }

// tryCast is cast with NULL in place of an error, for elements of lists too.
func tryCast(v Value, from, to Type) Value {
	r, err := castMode(v, from, to, true)
	if err != nil {
		return Value{}
	}
	return r
}

// castMode is cast; try makes elements of a list that fail NULL.
func castMode(v Value, from, to Type, try bool) (Value, error) {
	if v.kind == Null || v.kind == to.Kind && v.kind != Decimal && v.kind != List {
		return v, nil
	}
	switch {
	case v.kind == JSON && to.Kind == Text:
		return TextOf(v.str), nil
	case v.kind == JSON:
		return castFromJSON(v.str, to, try)
	case to.Kind == Text:
		return TextOf(string(appendTextAs(nil, v, from))), nil
	case to.Kind == JSON:
		return castToJSON(v, from)
	case v.kind == Text && to.Kind == List:
		return castTextToList(v.str, to, try)
	case v.kind == Text:
		return castText(v, to)
	case v.kind == List:
		return castList(v, from, to, try)
	case isNumeric(v.kind) || v.kind == Bool:
		return castNumber(v, from, to)
	}
	return castTime(v, to)
}

// castElement casts an element of a list, to NULL if that fails and try is set.
func castElement(v Value, from, to Type, try bool) (Value, error) {
	r, err := castMode(v, from, to, try)
	if err != nil && try {
		return Value{}, nil
	}
	return r, err
}

func castList(v Value, from, to Type, try bool) (Value, error) {
	if from.Elem != nil && from.Elem.Equal(*to.Elem) {
		return v, nil
	}
	src := *v.list
	out := make([]Value, len(src))
	for i, e := range src {
		var err error
		if out[i], err = castElement(e, *from.Elem, *to.Elem, try); err != nil {
			return Value{}, err
		}
	}
	return ListOf(out), nil
}

func castNumber(v Value, from, to Type) (Value, error) {
	switch k := to.Kind; {
	case k == Bool:
		if isFloat(v.kind) {
			return BoolOf(v.float() != 0), nil
		}
		return BoolOf(v.lo != 0 || v.hi != 0), nil
	case k == hugeInt:
		return castHuge(v, to)
	case isInteger(k):
		return castInteger(v, to)
	case isFloat(k):
		return castFloat(v, from, to)
	}
	return castDecimal(v, to)
}

// wholeOf rounds a number to a 128-bit integer: floats to even, decimals away from zero.
func wholeOf(v Value) (int128, bool) {
	switch {
	case isFloat(v.kind):
		return int128OfFloat(math.RoundToEven(v.float()))
	case v.kind == Decimal:
		u, ok := rescale(v.int128(), v.scale, 0)
		return u, ok
	case v.kind == hugeInt:
		return v.int128(), true
	}
	return int128Of(int64(v.lo)), true
}

func castHuge(v Value, to Type) (Value, error) {
	u, ok := wholeOf(v)
	if !ok {
		return Value{}, outOfRange(v, to)
	}
	return hugeOf(u), nil
}

func castInteger(v Value, to Type) (Value, error) {
	low, high := intRange(to.Kind)
	if isFloat(v.kind) {
		// The range is checked before rounding and its upper end is open, as DuckDB does.
		f := v.float()
		if !(f >= float64(low) && f < -float64(low)) {
			return Value{}, outOfRange(v, to)
		}
		r := math.RoundToEven(f)
		if r > float64(high) && to.Kind != BigInt {
			return Value{}, outOfRange(v, to)
		}
		return IntOf(to.Kind, int64(r)), nil
	}
	u, ok := wholeOf(v)
	i, small := u.int64()
	if !ok || !small || i < low || i > high {
		return Value{}, outOfRange(v, to)
	}
	return IntOf(to.Kind, i), nil
}

func castFloat(v Value, from, to Type) (Value, error) {
	var f float64
	switch {
	case isFloat(v.kind):
		f = v.float()
		if to.Kind == Real && !math.IsInf(f, 0) && math.IsInf(float64(float32(f)), 0) {
			return Value{}, outOfRange(v, to)
		}
	case v.kind == Decimal:
		f = decimalToFloat(v.int128(), v.scale, from.Precision > 18, to.Kind)
	case v.kind == hugeInt:
		f = v.int128().floatAs(true, to.Kind)
	case to.Kind == Real:
		f = float64(float32(int64(v.lo)))
	default:
		f = float64(int64(v.lo))
	}
	return FloatOf(to.Kind, f), nil
}

func castDecimal(v Value, to Type) (Value, error) {
	var u int128
	var ok bool
	switch {
	case isFloat(v.kind):
		u, ok = floatToDecimal(v, to)
	case v.kind == Decimal:
		u, ok = rescale(v.int128(), v.scale, to.Scale)
	case v.kind == hugeInt:
		u, ok = v.int128().mul(pow10(int(to.Scale)))
	case v.kind == Bool && to.Precision == to.Scale:
		u, ok = int128Of(int64(v.lo)), true // DuckDB makes TRUE the least fraction, having no whole digit
	default:
		u, ok = int128Of(int64(v.lo)).mul(pow10(int(to.Scale)))
	}
	if !ok || !fits(u, to.Precision) {
		return Value{}, outOfRange(v, to)
	}
	return decimalOf(u, to.Scale), nil
}

func floatToDecimal(v Value, to Type) (int128, bool) {
	f := math.Round(v.float() * pow10Float(int(to.Scale)))
	limit := pow10Float(int(to.Precision))
	if !(f > -limit && f < limit) {
		return int128{}, false
	}
	if v.kind == Real {
		f = float64(float32(f))
	}
	return int128OfFloat(f)
}

// castTime converts among dates, times and timestamps.
func castTime(v Value, to Type) (Value, error) {
	i := int64(v.lo)
	switch to.Kind {
	case Date:
		if !finiteTimestamp(i) {
			return IntOf(Date, infinityAsDate(i)), nil
		}
		days, _ := splitTimestamp(i)
		return IntOf(Date, days), nil
	case Time:
		if !finiteTimestamp(i) {
			return Value{}, problem.New(problem.InvalidValue, "an infinite timestamp has no time of day")
		}
		_, us := splitTimestamp(i)
		return IntOf(Time, us), nil
	}
	if v.kind != Date {
		return IntOf(to.Kind, i), nil
	}
	us, ok := timestampOfDate(i)
	if !ok {
		return Value{}, outOfRange(v, to)
	}
	return IntOf(to.Kind, us), nil
}

func outOfRange(v Value, to Type) error {
	return problem.New(problem.OutOfRange, "%s is out of the range of %s", shorten(v.String()), to)
}

func invalidText(s string, to Type) *problem.Error {
	return problem.New(problem.InvalidValue, "%q is not a valid %s", shorten(s), to)
}
