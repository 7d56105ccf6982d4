package expr

import "math"

// timeScan reads dates and times from text as DuckDB's casts do.
type timeScan struct {
	s   string
	pos int
}

func (t *timeScan) end() bool { return t.pos >= len(t.s) }

func (t *timeScan) digitAhead() bool { return t.pos < len(t.s) && isDigit(t.s[t.pos]) }

func (t *timeScan) skipSpace() {
	for t.pos < len(t.s) && isSpace(t.s[t.pos]) {
		t.pos++
	}
}

// twoDigits reads one or two digits.
func (t *timeScan) twoDigits() (int, bool) {
	if !t.digitAhead() {
		return 0, false
	}
	n := int(t.s[t.pos] - '0')
	t.pos++
	if t.digitAhead() {
		n = n*10 + int(t.s[t.pos]-'0')
		t.pos++
	}
	return n, true
}

// word reads a prefix of name that is at least abbr letters long.
func (t *timeScan) word(name string, abbr int) bool {
	n := 0
	for n < len(name) && t.pos+n < len(t.s) && lowerASCII(t.s[t.pos+n]) == name[n] {
		n++
	}
	if n < len(name) && (t.pos+n < len(t.s) || n != abbr) {
		return false
	}
	t.pos += n
	return true
}

// date reads a date, leaving what follows it. special reports infinity or epoch, which nothing may follow.
func (t *timeScan) date() (days int64, special, ok bool) {
	t.skipSpace()
	if t.end() {
		return 0, false, false
	}
	negative := t.s[t.pos] == '-'
	if negative {
		t.pos++
	}
	if !t.digitAhead() {
		days, ok = t.specialDate(negative)
		return days, true, ok
	}
	days, ok = t.plainDate(negative)
	return days, false, ok
}

func (t *timeScan) specialDate(negative bool) (int64, bool) {
	var days int64
	switch {
	case t.end():
		return 0, false
	case t.word("infinity", 3):
		days = infinityDate
		if negative {
			days = -days
		}
	case t.word("epoch", 5):
	default:
		return 0, false
	}
	t.skipSpace()
	return days, t.end()
}

func (t *timeScan) plainDate(negative bool) (int64, bool) {
	var year int64
	for ; t.digitAhead(); t.pos++ {
		if year >= 100_000_000 {
			return 0, false
		}
		year = year*10 + int64(t.s[t.pos]-'0')
	}
	if negative {
		year = -year
	}
	if t.end() {
		return 0, false
	}
	sep := t.s[t.pos]
	if sep != ' ' && sep != '-' && sep != '/' && sep != '\\' {
		return 0, false
	}
	t.pos++
	month, ok := t.twoDigits()
	if !ok || t.end() || t.s[t.pos] != sep {
		return 0, false
	}
	t.pos++
	day, ok := t.twoDigits()
	if !ok {
		return 0, false
	}
	if t.bc() {
		if negative || year == 0 {
			return 0, false
		}
		year = 1 - year
	}
	if t.digitAhead() || !validDate(year, month, day) {
		return 0, false
	}
	return daysOf(year, month, day), true
}

// bc reads " (BC)" if it is next.
func (t *timeScan) bc() bool {
	if len(t.s)-t.pos < 5 || !isSpace(t.s[t.pos]) || !equalFold(t.s[t.pos+1:t.pos+5], "(bc)") {
		return false
	}
	t.pos += 5
	return true
}

// clock reads H:MM[:SS[.ffffff]]; hours may be beyond 24. In strict text nothing may follow and MM has two digits.
func (t *timeScan) clock(strict bool) (int64, bool) {
	t.skipSpace()
	if !t.digitAhead() {
		return 0, false
	}
	var hour int64
	for n := 0; t.digitAhead(); t.pos++ {
		if n++; n > 9 {
			return 0, false
		}
		hour = hour*10 + int64(t.s[t.pos]-'0')
	}
	if t.end() || t.s[t.pos] != ':' {
		return 0, false
	}
	t.pos++
	minute, second := 0, 0
	start := t.pos
	var ok bool
	if !t.end() || strict {
		if minute, ok = t.twoDigits(); !ok || minute >= 60 {
			return 0, false
		}
	}
	if !t.end() || strict && start+2 != t.pos {
		if t.end() || t.s[t.pos] != ':' {
			return 0, false
		}
		t.pos++
		if !t.end() || strict {
			if second, ok = t.twoDigits(); !ok || second >= 60 {
				return 0, false
			}
		}
	}
	micros := t.fraction()
	if strict {
		t.skipSpace()
		if !t.end() {
			return 0, false
		}
	}
	return hour*microsPerHour + int64(minute)*microsPerMinute + int64(second)*microsPerSecond + micros, true
}

// fraction reads .ffffff; digits beyond microseconds are dropped.
func (t *timeScan) fraction() int64 {
	if t.end() || t.s[t.pos] != '.' {
		return 0
	}
	t.pos++
	var micros int64
	for unit := int64(100_000); t.digitAhead(); t.pos++ {
		micros += int64(t.s[t.pos]-'0') * unit
		unit /= 10
	}
	return micros
}

// offset reads ±HH[[:]MM[:SS]] and returns it in microseconds.
func (t *timeScan) offset() (int64, bool) {
	if t.pos+3 > len(t.s) || t.s[t.pos] != '+' && t.s[t.pos] != '-' {
		return 0, false
	}
	sign := int64(1)
	if t.s[t.pos] == '-' {
		sign = -1
	}
	hours, ok := t.pairAt(t.pos + 1)
	if !ok {
		return 0, false
	}
	t.pos += 3
	total := hours * microsPerHour
	if t.end() {
		return sign * total, true
	}
	colon := t.s[t.pos] == ':'
	if colon {
		t.pos++
	}
	minutes, ok := t.pairAt(t.pos)
	if !ok {
		return sign * total, true
	}
	t.pos += 2
	total += minutes * microsPerMinute
	if colon && !t.end() && t.s[t.pos] == ':' {
		t.pos++
		if seconds, ok := t.pairAt(t.pos); ok {
			t.pos += 2
			total += seconds * microsPerSecond
		}
	}
	return sign * total, true
}

func (t *timeScan) pairAt(i int) (int64, bool) {
	if i+2 > len(t.s) || !isDigit(t.s[i]) || !isDigit(t.s[i+1]) {
		return 0, false
	}
	return int64(t.s[i]-'0')*10 + int64(t.s[i+1]-'0'), true
}

// parseDate reads text as CAST(s AS DATE) does, which ignores what follows the date. strict text is a date alone.
func parseDate(s string, strict bool) (int64, bool) {
	t := timeScan{s: s}
	days, special, ok := t.date()
	if !ok || special || !strict {
		return days, ok
	}
	t.skipSpace()
	return days, t.end()
}

// parseTime reads text as CAST(s AS TIME) does: a time, ignoring what follows it, or a timestamp whose time it takes.
// strict text is a time alone.
func parseTime(s string, strict bool) (int64, bool) {
	t := timeScan{s: s}
	us, ok := t.clock(strict)
	if ok || strict {
		return us, ok && us <= microsPerDay
	}
	ts, ok := parseTimestamp(s, false)
	if !ok || !finiteTimestamp(ts) {
		return 0, false
	}
	_, us = splitTimestamp(ts)
	return us, true
}

// parseTimestamp reads text as CAST(s AS TIMESTAMP) does or, with useOffset, CAST(s AS TIMESTAMPTZ) in a session
// whose time zone is UTC. Time zones other than UTC must be offsets.
func parseTimestamp(s string, useOffset bool) (int64, bool) {
	t := timeScan{s: s}
	days, _, ok := t.date()
	if !ok {
		return 0, false
	}
	if t.end() {
		return timestampOfDate(days)
	}
	if t.s[t.pos] == ' ' || t.s[t.pos] == 'T' {
		t.pos++
	}
	micros, ok := t.clock(false)
	if !ok || micros > microsPerDay {
		return 0, false
	}
	us, ok := timestampOf(days, micros)
	if !ok {
		return 0, false
	}
	return t.zone(us, useOffset)
}

// zone reads what may follow the time and moves us to UTC.
func (t *timeScan) zone(us int64, useOffset bool) (int64, bool) {
	if t.end() {
		return us, true
	}
	if t.s[t.pos] == 'Z' {
		t.pos++
	} else if delta, ok := t.offset(); ok {
		if useOffset {
			if us, ok = subInt64(us, delta); !ok {
				return 0, false
			}
		}
	} else if !t.utc() {
		return 0, false
	}
	t.skipSpace()
	return us, t.end()
}

// utc reads " UTC", or just spaces.
func (t *timeScan) utc() bool {
	if t.s[t.pos] != ' ' {
		return false
	}
	t.pos++
	if len(t.s)-t.pos >= 3 && equalFold(t.s[t.pos:t.pos+3], "utc") {
		t.pos += 3
	}
	return true
}

// timestampOfDate is midnight of the day; infinities stay infinite.
func timestampOfDate(days int64) (int64, bool) {
	switch days {
	case infinityDate:
		return infinityTimestamp, true
	case -infinityDate:
		return -infinityTimestamp, true
	}
	return timestampOf(days, 0)
}

func timestampOf(days, micros int64) (int64, bool) {
	us, ok := mulInt64(days, microsPerDay)
	if !ok || us > math.MaxInt64-micros {
		return 0, false
	}
	us += micros
	return us, finiteTimestamp(us)
}
