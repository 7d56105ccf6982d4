package expr

import (
	"math"
	"strings"

	"kalamlog.dev/kalam/internal/problem"
)

// An interval exists only inside an expression, beside + and -, as the call interval('1 day') or as text beside a
// timestamp. Its value has the months and days in hi, as two 32-bit halves, and the microseconds in lo.

func intervalOf(months, days int32, us int64) Value {
	return Value{kind: interval, hi: uint64(uint32(months))<<32 | uint64(uint32(days)), lo: uint64(us)}
}

func (v Value) intervalParts() (months, days int32, us int64) {
	return int32(v.hi >> 32), int32(v.hi), int64(v.lo)
}

// intervalCall binds interval('1 day'), to which INTERVAL '1 day' is translated. DuckDB's text form is its own.
func (c *compiler) intervalCall(xs []operand) (operand, error) {
	if len(xs) != 1 || xs[0].static().lit != stringLit {
		return operand{}, problem.New(problem.Unsupported, "an interval must be a constant")
	}
	x, err := c.castTo(xs[0], typeOf(interval))
	x.literal = false
	return x, err
}

// parseInterval reads text as CAST(s AS INTERVAL) does: numbers with units, h:mm:ss at the end, "ago"; a number alone
// is seconds.
func parseInterval(s string) (Value, bool) {
	var p intervalParser
	found := false
	for {
		s = strings.TrimLeft(s, " \t\n")
		switch {
		case s == "":
			return intervalOf(p.months, p.days, p.us), found
		case s[0] == 'a' || s[0] == 'A':
			if !equalFold(strings.TrimRight(s, " \t\n"), "ago") || p.months == math.MinInt32 || p.days == math.MinInt32 {
				return Value{}, false
			}
			return intervalOf(-p.months, -p.days, -p.us), found
		case isDigit(s[0]) || s[0] == '-':
		default:
			return Value{}, false
		}
		rest, done, ok := p.item(s, found)
		if !ok || done {
			return intervalOf(p.months, p.days, p.us), ok
		}
		s, found = rest, true
	}
}

type intervalParser struct {
	months, days int32
	us           int64
}

// item reads one number with its unit, or what ends the interval: a time, or a number alone.
func (p *intervalParser) item(s string, found bool) (rest string, done, ok bool) {
	negative := s[0] == '-'
	body := strings.TrimPrefix(s, "-")
	digits := len(body) - len(strings.TrimLeft(body, "0123456789"))
	if digits < len(body) && body[digits] == ':' {
		t := timeScan{s: body}
		us, ok := t.clock(false)
		sum, fits := addInt64(p.us, us)
		if negative {
			sum = -sum
		}
		p.us = sum
		return "", true, ok && fits
	}
	number, ok := parseInteger(body[:digits], BigInt)
	if digits == 0 || !ok {
		return "", false, false
	}
	t := timeScan{s: body, pos: digits}
	fraction := t.fraction()
	if negative {
		number, fraction = -number, -fraction
	}
	rest = strings.TrimLeft(body[t.pos:], " \t\n")
	letters := 0
	for letters < len(rest) && lowerASCII(rest[letters]) >= 'a' && lowerASCII(rest[letters]) <= 'z' {
		letters++
	}
	if letters == 0 && !found {
		return "", true, strings.Trim(rest, " \t\n") == "" && p.addMicros(number, microsPerSecond, fraction)
	}
	unit, ok := parseDatePart(rest[:letters])
	return rest[letters:], false, ok && p.add(unit, number, fraction)
}

// add adds number and fraction, in millionths, of a unit.
func (p *intervalParser) add(unit datePart, number, fraction int64) bool {
	switch unit {
	case "millennium":
		return p.addMonths(number, 12_000, fraction)
	case "century":
		return p.addMonths(number, 1200, fraction)
	case "decade":
		return p.addMonths(number, 120, fraction)
	case "year":
		return p.addMonths(number, 12, fraction)
	case "quarter":
		return p.addMonths(number, 3, fraction) && p.addDays(0, 30, fraction*3%microsPerSecond)
	case "month":
		return p.addMonths(number, 1, 0) && p.addDays(0, 30, fraction)
	case "week":
		return p.addDays(number, 7, fraction) && p.addMicros(0, microsPerDay, fraction*7%microsPerSecond)
	case "day":
		return p.addDays(number, 1, 0) && p.addMicros(0, microsPerDay, fraction)
	case "hour":
		return p.addMicros(number, microsPerHour, fraction)
	case "minute":
		return p.addMicros(number, microsPerMinute, fraction)
	case "second":
		return p.addMicros(number, microsPerSecond, fraction)
	case "millisecond":
		return p.addMicros(number, 1000, fraction)
	case "microsecond":
		return p.addMicros(number+fraction*2/microsPerSecond, 1, 0)
	}
	return false
}

func (p *intervalParser) addMonths(number, factor, fraction int64) bool {
	return addPart(&p.months, number, factor, fraction)
}

func (p *intervalParser) addDays(number, factor, fraction int64) bool {
	return addPart(&p.days, number, factor, fraction)
}

func addPart(part *int32, number, factor, fraction int64) bool {
	n, ok := mulInt64(number, factor)
	n += int64(*part) + fraction*factor/microsPerSecond
	*part = int32(n)
	return ok && n >= math.MinInt32 && n <= math.MaxInt32
}

func (p *intervalParser) addMicros(number, factor, fraction int64) bool {
	n, ok1 := mulInt64(number, factor)
	us, ok2 := addInt64(p.us, n)
	us, ok3 := addInt64(us, fraction*factor/microsPerSecond)
	p.us = us
	return ok1 && ok2 && ok3
}

// intervalArithmetic adds an interval to a date or time, or subtracts it.
func (c *compiler) intervalArithmetic(op string, a, b operand, s signature) (operand, error) {
	if s.a == interval {
		a, b, s = b, a, signature{s.b, s.a}
	}
	t := typeOf(s.a)
	if s.a == Date {
		t = typeOf(Timestamp)
	}
	if null, ok := nullArgument(t, a, b); ok {
		return null, nil
	}
	a, err := c.castTo(a, typeOf(s.a))
	if err != nil {
		return operand{}, err
	}
	if b, err = c.castTo(b, typeOf(interval)); err != nil {
		return operand{}, err
	}
	return strict2(a, b, t, func(x, y Value) (Value, error) {
		months, days, us := y.intervalParts()
		if op == "-" {
			months, days, us = -months, -days, -us
		}
		if x.kind == Time {
			return IntOf(Time, modulo(x.Int()+us%microsPerDay, microsPerDay)), nil
		}
		r, ok := addInterval(x, months, days, us)
		if !ok {
			return Value{}, problem.New(problem.OutOfRange, "%s %s an interval is out of the range of %s", x, op, t)
		}
		return IntOf(t.Kind, r), nil
	}), nil
}

func modulo(a, b int64) int64 { return a - floorDiv(a, b)*b }

// addInterval adds months, the day cut to the month's last, then days, then the time. A TIMESTAMPTZ gets the time first
// if a part is negative, as DuckDB does.
func addInterval(v Value, months, days int32, us int64) (int64, bool) {
	i, ok := v.Int(), true
	if v.kind == Date {
		i, ok = timestampOfDate(i)
	}
	if !ok || !finiteTimestamp(i) {
		return i, ok
	}
	timeFirst := v.kind == TimestampTZ && (months < 0 || days < 0 || us < 0)
	if timeFirst {
		if i, ok = addInt64(i, us); !ok {
			return 0, false
		}
	}
	day, clock := splitTimestamp(i)
	if months != 0 {
		year, month, dom := dateOf(day)
		m := year*12 + int64(month-1) + int64(months)
		year, month = floorDiv(m, 12), int(modulo(m, 12))+1
		if dom = min(dom, daysInMonth(year, month)); !validDate(year, month, dom) {
			return 0, false
		}
		day = daysOf(year, month, dom)
	}
	r, ok := timestampOf(day+int64(days), clock)
	if !ok || timeFirst {
		return r, ok
	}
	r, ok = addInt64(r, us)
	return r, ok && finiteTimestamp(r)
}
