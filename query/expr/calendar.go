package expr

import "strconv"

const (
	microsPerSecond = 1_000_000
	microsPerMinute = 60 * microsPerSecond
	microsPerHour   = 60 * microsPerMinute
	microsPerDay    = 24 * microsPerHour
)

// dateOf returns the proleptic Gregorian date of days since 1970-01-01; year 0 is 1 BC. The method is that of
// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
func dateOf(days int64) (year int64, month, day int) {
	z := days + 719468
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = int(doy - (153*mp+2)/5 + 1)
	month = int(mp + 3)
	year = yoe + era*400
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}

// daysOf is the inverse of dateOf.
func daysOf(year int64, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	era := floorDiv(year, 400)
	yoe := year - era*400
	doy := int64((153*(month-3)+2)/5 + day - 1)
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

func isLeap(year int64) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

func daysInMonth(year int64, month int) int {
	switch month {
	case 2:
		if isLeap(year) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// validDate reports whether the day exists and lies between DuckDB's least and greatest date.
func validDate(year int64, month, day int) bool {
	if month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month) {
		return false
	}
	n := daysOf(year, month, day)
	return n >= minDate && n <= maxDate
}

// The least and greatest finite date (5877642-06-25 BC, 5881580-07-10).
const (
	minDate = -2147483646
	maxDate = 2147483646
)

func finiteDate(days int64) bool { return days != infinityDate && days != -infinityDate }

func finiteTimestamp(us int64) bool { return us != infinityTimestamp && us != -infinityTimestamp }

func appendDate(dst []byte, days int64) []byte {
	switch days {
	case infinityDate:
		return append(dst, "infinity"...)
	case -infinityDate:
		return append(dst, "-infinity"...)
	}
	year, month, day := dateOf(days)
	bc := year <= 0
	if bc {
		year = 1 - year
	}
	for limit := int64(1000); limit > 1 && year < limit; limit /= 10 {
		dst = append(dst, '0')
	}
	dst = strconv.AppendInt(dst, year, 10)
	dst = append(dst, '-', '0'+byte(month/10), '0'+byte(month%10), '-', '0'+byte(day/10), '0'+byte(day%10))
	if bc {
		dst = append(dst, " (BC)"...)
	}
	return dst
}

// appendTime writes HH:MM:SS and, if there are any, microseconds without trailing zeros.
func appendTime(dst []byte, us int64) []byte {
	two := func(n int64) { dst = append(dst, '0'+byte(n/10), '0'+byte(n%10)) }
	two(us / microsPerHour)
	dst = append(dst, ':')
	two(us / microsPerMinute % 60)
	dst = append(dst, ':')
	two(us / microsPerSecond % 60)
	frac := us % microsPerSecond
	if frac == 0 {
		return dst
	}
	dst = append(dst, '.')
	for unit := int64(100_000); frac > 0; unit /= 10 {
		dst = append(dst, '0'+byte(frac/unit))
		frac %= unit
	}
	return dst
}

func splitTimestamp(us int64) (days, micros int64) {
	days = floorDiv(us, microsPerDay)
	return days, us - days*microsPerDay
}

func appendTimestamp(dst []byte, us int64, sep byte) []byte {
	if !finiteTimestamp(us) {
		return appendDate(dst, infinityAsDate(us))
	}
	days, micros := splitTimestamp(us)
	dst = appendDate(dst, days)
	dst = append(dst, sep)
	return appendTime(dst, micros)
}

func appendTimestampTZ(dst []byte, us int64) []byte {
	dst = appendTimestamp(dst, us, ' ')
	if !finiteTimestamp(us) {
		return dst
	}
	return append(dst, "+00"...)
}

func infinityAsDate(us int64) int64 {
	if us < 0 {
		return -infinityDate
	}
	return infinityDate
}
