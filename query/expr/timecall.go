package expr

import "kalamlog.dev/kalam/internal/problem"

// timeCall binds functions of dates and times. Time zones are UTC.
func (c *compiler) timeCall(name string, xs []operand) (operand, bool, error) {
	var x operand
	var err error
	switch name {
	case "date_part", "datepart":
		if len(xs) != 2 {
			return operand{}, true, wrongArguments(name, xs)
		}
		var part datePart
		if part, err = constantPart(name, xs[0]); err == nil {
			x, err = c.datePart(name, part, xs[1], Time)
		}
	case "date_trunc", "datetrunc":
		x, err = c.dateTrunc(name, xs)
	case "date_diff", "datediff":
		x, err = c.dateDiff(name, xs)
	case "epoch":
		x, err = c.oneTime(name, "epoch", xs)
	case "epoch_ms", "epoch_us":
		x, err = c.epochUnits(name, xs)
	case "last_day":
		x, err = c.lastDay(xs)
	case "year", "month", "day", "hour", "minute", "second", "millisecond", "microsecond", "quarter", "week", "weekofyear", "dayofweek",
		"weekday", "isodow", "dayofyear", "dayofmonth", "decade", "century", "millennium", "isoyear", "yearweek", "era":
		part, _ := parseDatePart(name)
		x, err = c.oneTime(name, part, xs)
	default:
		return operand{}, false, nil
	}
	return x, true, err
}

func constantPart(name string, x operand) (datePart, error) {
	if !x.constant || x.typ.Kind != Text || x.val.kind == Null {
		return "", problem.New(problem.Unsupported, "%s needs the name of a part as a constant", name)
	}
	part, ok := parseDatePart(x.val.str)
	if !ok {
		return "", problem.New(problem.InvalidValue, "%q is not a part of a date or time", shorten(x.val.str)).
			WithHint("parts are year, quarter, month, week, day, dow, isodow, doy, hour, minute, second, epoch and others")
	}
	return part, nil
}

// timeArgument picks the overload for a date or time.
func (c *compiler) timeArgument(name string, x operand, kinds ...Kind) (operand, error) {
	k, ok := unaryKind(x, kinds)
	if !ok {
		return operand{}, wrongArguments(name, []operand{x})
	}
	if k == interval || k == timeTZ {
		return operand{}, problem.New(problem.Unsupported, "%s of %s is not supported", name, x.typ)
	}
	return c.castTo(x, typeOf(k))
}

func (c *compiler) oneTime(name string, part datePart, xs []operand) (operand, error) {
	if len(xs) != 1 {
		return operand{}, wrongArguments(name, xs)
	}
	if part.clock() || part == "epoch" {
		return c.datePart(name, part, xs[0], Time)
	}
	return c.datePart(name, part, xs[0])
}

// datePart extracts a part of a DATE or TIMESTAMP, or of other kinds that the function takes.
func (c *compiler) datePart(name string, part datePart, x operand, other ...Kind) (operand, error) {
	t := typeOf(BigInt)
	if part == "epoch" {
		t = typeOf(Double)
	}
	kinds := []Kind{Date, Timestamp, TimestampTZ, interval}
	if len(other) > 0 {
		kinds = append(append(kinds, other...), timeTZ)
	}
	x, err := c.timeArgument(name, x, kinds...)
	if err != nil {
		return operand{}, err
	}
	if null, ok := nullArgument(t, x); ok {
		return null, nil
	}
	if x.typ.Kind == Time && !part.clock() && part != "epoch" {
		return operand{}, problem.New(problem.Unsupported, "a TIME has no %s", part)
	}
	if part == "epoch" {
		return strict1(x, t, epochSeconds), nil
	}
	zoned := x.typ.Kind == TimestampTZ
	if zoned && (part == "isoyear" || part == "yearweek") {
		return operand{}, problem.New(problem.Unsupported, "%s of TIMESTAMPTZ is not supported", part).
			WithHint("cast it to TIMESTAMP")
	}
	return strict1(x, t, func(v Value) (Value, error) {
		days, us, finite := dayAndClock(v)
		switch {
		case !finite:
			return Value{}, nil
		case part.clock():
			return IntOf(BigInt, part.ofClock(us)), nil
		case part.iso() && !isoWeekExists(days):
			return Value{}, problem.New(problem.OutOfRange, "the %s of %s is out of range", part, v)
		}
		return IntOf(BigInt, part.ofDate(days, zoned)), nil
	}), nil
}

// dayAndClock parts a value of a date or time kind.
func dayAndClock(v Value) (days, us int64, finite bool) {
	i := v.Int()
	switch v.kind {
	case Date:
		return i, 0, finiteDate(i)
	case Time:
		return 0, i, true
	}
	days, us = splitTimestamp(i)
	return days, us, finiteTimestamp(i)
}

// epochSeconds is computed by milliseconds for TIMESTAMPTZ, as DuckDB does, which rounds differently.
func epochSeconds(v Value) (Value, error) {
	i := v.Int()
	switch v.kind {
	case Date:
		if !finiteDate(i) {
			return Value{}, nil
		}
		return FloatOf(Double, float64(i*86400)), nil
	case Time:
		return FloatOf(Double, float64(i)/microsPerSecond), nil
	}
	if !finiteTimestamp(i) {
		return Value{}, nil
	}
	if v.kind == TimestampTZ {
		ms := floorDiv(i, 1000)
		seconds := float64(ms) / 1000
		return FloatOf(Double, seconds+float64(float64(i-ms*1000)/microsPerSecond)), nil
	}
	return FloatOf(Double, float64(i)/microsPerSecond), nil
}

// epochUnits is epoch_ms or epoch_us.
func (c *compiler) epochUnits(name string, xs []operand) (operand, error) {
	if len(xs) != 1 {
		return operand{}, wrongArguments(name, xs)
	}
	kinds := []Kind{Date, Time, Timestamp, TimestampTZ, interval, timeTZ}
	unit := int64(1)
	if name == "epoch_ms" {
		kinds, unit = append(kinds, BigInt), 1000
	}
	x, err := c.timeArgument(name, xs[0], kinds...)
	if err != nil {
		return operand{}, err
	}
	t := typeOf(BigInt)
	if x.typ.Kind == BigInt {
		t = typeOf(Timestamp)
	}
	if null, ok := nullArgument(t, x); ok {
		return null, nil
	}
	if x.typ.Kind == BigInt {
		return strict1(x, t, timestampOfMillis), nil
	}
	return strict1(x, typeOf(BigInt), func(v Value) (Value, error) {
		i := v.Int()
		_, _, finite := dayAndClock(v)
		switch {
		case !finite:
			return Value{}, nil
		case v.kind != Date:
			return IntOf(BigInt, i/unit), nil
		}
		r, ok := mulInt64(i, microsPerDay/unit)
		if !ok {
			return Value{}, problem.New(problem.OutOfRange, "%s of %s is out of the range of BIGINT", name, v)
		}
		return IntOf(BigInt, r), nil
	}), nil
}

func timestampOfMillis(v Value) (Value, error) {
	us, ok := mulInt64(v.Int(), 1000)
	if !ok {
		return Value{}, problem.New(problem.OutOfRange, "%s milliseconds are out of the range of TIMESTAMP", v)
	}
	return IntOf(Timestamp, us), nil
}

func (c *compiler) dateTrunc(name string, xs []operand) (operand, error) {
	if len(xs) != 2 {
		return operand{}, wrongArguments(name, xs)
	}
	part, err := constantPart(name, xs[0])
	if err != nil {
		return operand{}, err
	}
	if part == "era" {
		return operand{}, problem.New(problem.Unsupported, "%s to an era is not supported", name)
	}
	x, err := c.timeArgument(name, xs[1], Date, interval, Timestamp, TimestampTZ)
	if err != nil {
		return operand{}, err
	}
	t := x.typ
	if t.Kind == Date {
		t = typeOf(Timestamp)
	}
	if null, ok := nullArgument(t, x); ok {
		return null, nil
	}
	zoned := t.Kind == TimestampTZ
	return strict1(x, t, func(v Value) (Value, error) {
		days, us, finite := dayAndClock(v)
		if !finite {
			return cast(v, x.typ, t)
		}
		days, err := part.truncateDate(days, zoned)
		if err != nil {
			return Value{}, err
		}
		r, ok := timestampOf(days, part.truncateClock(us))
		if !ok {
			return Value{}, problem.New(problem.OutOfRange, "%s of %s is out of the range of TIMESTAMP", name, v)
		}
		return IntOf(t.Kind, r), nil
	}), nil
}

// dateDiff counts the boundaries of a part between two dates or timestamps.
func (c *compiler) dateDiff(name string, xs []operand) (operand, error) {
	if len(xs) != 3 {
		return operand{}, wrongArguments(name, xs)
	}
	part, err := constantPart(name, xs[0])
	if err != nil {
		return operand{}, err
	}
	kinds := []signature{{Date, Date}, {Time, Time}, {Timestamp, Timestamp}, {TimestampTZ, TimestampTZ}}
	s, ok := chooseOverload(xs[1].static(), xs[2].static(), kinds)
	switch {
	case !ok:
		return operand{}, wrongArguments(name, xs)
	case s.a == Time, s.a == TimestampTZ, part == "epoch", part == "era", part == "isoyear", part == "yearweek":
		return operand{}, problem.New(problem.Unsupported, "%s by %s of %s is not supported", name, part, s.a)
	}
	if null, ok := nullArgument(typeOf(BigInt), xs...); ok {
		return null, nil
	}
	args := xs[1:]
	if err := c.castAll(args, typeOf(s.a)); err != nil {
		return operand{}, err
	}
	return strict2(args[0], args[1], typeOf(BigInt), func(a, b Value) (Value, error) { return boundaries(part, a, b) }), nil
}

func boundaries(part datePart, a, b Value) (Value, error) {
	d1, _, ok1 := dayAndClock(a)
	d2, _, ok2 := dayAndClock(b)
	if !ok1 || !ok2 {
		return Value{}, nil
	}
	y1, m1, _ := dateOf(d1)
	y2, m2, _ := dateOf(d2)
	switch part {
	case "year":
		return IntOf(BigInt, y2-y1), nil
	case "month":
		return IntOf(BigInt, (y2-y1)*12+int64(m2-m1)), nil
	case "quarter":
		return IntOf(BigInt, (y2*12+int64(m2-1))/3-(y1*12+int64(m1-1))/3), nil
	case "decade":
		return IntOf(BigInt, y2/10-y1/10), nil
	case "century":
		return IntOf(BigInt, y2/100-y1/100), nil
	case "millennium":
		return IntOf(BigInt, y2/1000-y1/1000), nil
	case "week":
		return IntOf(BigInt, (d2-d1)/7), nil
	case "day", "dow", "isodow", "doy":
		return IntOf(BigInt, d2-d1), nil
	}
	return clockBoundaries(part, a, b, d1, d2)
}

// clockBoundaries counts in seconds where it can: the microseconds of a distant date are out of range.
func clockBoundaries(part datePart, a, b Value, d1, d2 int64) (Value, error) {
	unit := part.micros()
	if a.kind == Date && unit >= microsPerSecond {
		unit /= microsPerSecond
		return IntOf(BigInt, d2*86400/unit-d1*86400/unit), nil
	}
	perDay := microsPerDay / unit
	t1, ok1 := mulInt64(d1, perDay)
	t2, ok2 := mulInt64(d2, perDay)
	if a.kind != Date {
		t1, ok1 = floorDiv(int64(a.lo), unit), true
		t2, ok2 = floorDiv(int64(b.lo), unit), true
	}
	r, ok := subInt64(t2, t1)
	if !ok || !ok1 || !ok2 {
		return Value{}, problem.New(problem.OutOfRange, "the difference of %s and %s is out of range", b, a)
	}
	return IntOf(BigInt, r), nil
}

func (c *compiler) lastDay(xs []operand) (operand, error) {
	if len(xs) != 1 {
		return operand{}, wrongArguments("last_day", xs)
	}
	x, err := c.timeArgument("last_day", xs[0], Date, Timestamp, TimestampTZ)
	if err != nil {
		return operand{}, err
	}
	if null, ok := nullArgument(typeOf(Date), x); ok {
		return null, nil
	}
	return strict1(x, typeOf(Date), func(v Value) (Value, error) {
		days, _, finite := dayAndClock(v)
		if !finite {
			return Value{}, nil
		}
		year, month, _ := dateOf(days)
		last := daysOf(year, month, daysInMonth(year, month))
		if last >= maxDate {
			return Value{}, problem.New(problem.OutOfRange, "last_day(%s) is out of range", v)
		}
		return IntOf(Date, last), nil
	}), nil
}
