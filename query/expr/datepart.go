package expr

import "kalamlog.dev/kalam/internal/problem"

// datePart names a part of a date or time, in DuckDB's long spelling.
type datePart string

// parseDatePart reads a part's name in any of DuckDB's spellings.
func parseDatePart(s string) (datePart, bool) {
	b := []byte(s)
	for i := range b {
		b[i] = lowerASCII(b[i])
	}
	switch p := datePart(b); p {
	case "year", "yr", "y", "years", "yrs":
		return "year", true
	case "month", "mon", "months", "mons":
		return "month", true
	case "day", "days", "d", "dayofmonth":
		return "day", true
	case "decade", "dec", "decades", "decs":
		return "decade", true
	case "century", "cent", "centuries", "c":
		return "century", true
	case "millennium", "mil", "millenniums", "millennia", "mils", "millenium": // DuckDB takes the last spelling too
		return "millennium", true
	case "microseconds", "microsecond", "us", "usec", "usecs", "usecond", "useconds":
		return "microsecond", true
	case "milliseconds", "millisecond", "ms", "msec", "msecs", "msecond", "mseconds":
		return "millisecond", true
	case "second", "sec", "seconds", "secs", "s":
		return "second", true
	case "minute", "min", "minutes", "mins", "m":
		return "minute", true
	case "hour", "hr", "hours", "hrs", "h":
		return "hour", true
	case "dow", "dayofweek", "weekday":
		return "dow", true
	case "week", "weeks", "w", "weekofyear":
		return "week", true
	case "doy", "dayofyear":
		return "doy", true
	case "quarter", "quarters":
		return "quarter", true
	case "epoch", "isodow", "yearweek", "isoyear", "era":
		return p, true
	}
	return "", false
}

// clock reports whether p is a part of the time of day.
func (p datePart) clock() bool {
	switch p {
	case "hour", "minute", "second", "millisecond", "microsecond":
		return true
	}
	return false
}

// micros returns the length of a part of the time of day.
func (p datePart) micros() int64 {
	switch p {
	case "hour":
		return microsPerHour
	case "minute":
		return microsPerMinute
	case "second":
		return microsPerSecond
	case "millisecond":
		return 1000
	}
	return 1
}

// iso reports whether p is counted in ISO weeks.
func (p datePart) iso() bool { return p == "week" || p == "isoyear" || p == "yearweek" }

// isoWeekExists reports whether the year's first day, from which weeks are counted, is a valid date.
func isoWeekExists(days int64) bool {
	year, _, _ := dateOf(days)
	return validDate(year, 1, 1)
}

// ofClock returns a part of the time of day, microseconds since midnight.
func (p datePart) ofClock(us int64) int64 {
	switch p {
	case "hour":
		return us / microsPerHour
	case "minute":
		return us / microsPerMinute % 60
	case "second":
		return us % microsPerMinute / microsPerSecond
	case "millisecond":
		return us % microsPerMinute / 1000
	}
	return us % microsPerMinute
}

// ofDate returns a part of a date. eraYears counts years before 1 AD as 1, 2, 3 BC, as DuckDB does for TIMESTAMPTZ,
// not as 0, -1, -2.
func (p datePart) ofDate(days int64, eraYears bool) int64 {
	year, month, day := dateOf(days)
	switch p {
	case "month":
		return int64(month)
	case "day":
		return int64(day)
	case "quarter":
		return int64(month-1)/3 + 1
	case "doy":
		return days - daysOf(year, 1, 1) + 1
	case "isodow":
		return isoWeekday(days)
	case "dow":
		return isoWeekday(days) % 7
	case "week":
		_, week := isoWeek(days)
		return week
	case "isoyear":
		isoYear, _ := isoWeek(days)
		return isoYear
	case "yearweek":
		isoYear, week := isoWeek(days)
		if isoYear <= 0 {
			week = -week
		}
		return isoYear*100 + week
	case "era":
		if year > 0 {
			return 1
		}
		return 0
	}
	return p.ofYear(year, eraYears)
}

func (p datePart) ofYear(year int64, eraYears bool) int64 {
	before := year <= 0
	if before && eraYears {
		year = 1 - year
	}
	switch p {
	case "decade":
		return year / 10
	case "century":
		return centuries(year, 100, before, eraYears)
	case "millennium":
		return centuries(year, 1000, before, eraYears)
	}
	return year
}

// centuries counts spans of years from 1 AD on, or backwards from -1.
func centuries(year, span int64, before, eraYears bool) int64 {
	switch {
	case !before:
		return (year-1)/span + 1
	case eraYears:
		return -((year-1)/span + 1)
	}
	return year/span - 1
}

// isoWeekday is 1 for Monday to 7 for Sunday.
func isoWeekday(days int64) int64 { return days + 3 - floorDiv(days+3, 7)*7 + 1 }

// isoWeek returns the ISO 8601 year and week: week 1 has the year's first Thursday.
func isoWeek(days int64) (year, week int64) {
	thursday := days - isoWeekday(days) + 4
	year, _, _ = dateOf(thursday)
	return year, (thursday-daysOf(year, 1, 1))/7 + 1
}

// truncateDate returns the first day of the part that holds the day.
func (p datePart) truncateDate(days int64, eraYears bool) (int64, error) {
	year, month, _ := dateOf(days)
	switch p {
	case "millennium", "century", "decade":
		year, month = p.truncateYear(year, eraYears), 1
	case "year":
		month = 1
	case "quarter":
		month = (month-1)/3*3 + 1
	case "month":
	case "week", "yearweek":
		return days - isoWeekday(days) + 1, nil
	case "isoyear":
		_, week := isoWeek(days)
		return days - isoWeekday(days) + 1 - (week-1)*7, nil
	default:
		return days, nil
	}
	if !validDate(year, month, 1) {
		return 0, problem.New(problem.OutOfRange, "the date is out of range")
	}
	return daysOf(year, month, 1), nil
}

func (p datePart) truncateYear(year int64, eraYears bool) int64 {
	span := int64(10)
	switch p {
	case "century":
		span = 100
	case "millennium":
		span = 1000
	}
	if year <= 0 && eraYears {
		return 1 - (1-year)/span*span
	}
	return year / span * span
}

// truncateClock cuts a time of day, microseconds since midnight.
func (p datePart) truncateClock(us int64) int64 {
	switch p {
	case "hour":
		return us - us%microsPerHour
	case "minute":
		return us - us%microsPerMinute
	case "second", "epoch":
		return us - us%microsPerSecond
	case "millisecond":
		return us - us%1000
	case "microsecond":
		return us
	}
	return 0
}
