package expr

import "strings"

// decimalState reads a DECIMAL's text as DuckDB does.
type decimalState struct {
	result      int128
	precision   int
	scale       int
	storeWidth  int // digits that the storage of this precision holds
	wholeDigits int
	fracDigits  int
	roundSet    bool
	round       bool
	excess      int
	positiveExp bool
	negativeExp bool
}

func storeWidth(precision uint8) int {
	switch {
	case precision <= 4:
		return 4
	case precision <= 9:
		return 9
	case precision <= 18:
		return 18
	}
	return maxPrecision
}

// parseDecimal reads text as CAST(s AS t) does, rounding half away from zero.
func parseDecimal(s string, t Type) (int128, bool) {
	for len(s) > 0 && isSpace(s[0]) {
		s = s[1:]
	}
	if s == "" || len(s) > 1 && s[0] == '0' && strings.IndexByte("xXbB", s[1]) >= 0 {
		return int128{}, false
	}
	st := decimalState{precision: int(t.Precision), scale: int(t.Scale), storeWidth: storeWidth(t.Precision)}
	if !scanNumber(s, &st, true) || !fits(st.result, t.Precision) {
		return int128{}, false
	}
	return st.result, true
}

func (st *decimalState) push(d int64, negative bool) bool {
	if negative {
		d = -d
	}
	r, ok := st.result.mul(int128{lo: 10})
	if !ok {
		return false
	}
	st.result, ok = r.add(int128Of(d))
	return ok
}

func (st *decimalState) digit(d int64, negative bool) bool {
	if d == 0 && st.result.isZero() {
		return true
	}
	if st.wholeDigits == st.precision-st.scale {
		return false
	}
	st.wholeDigits++
	return st.push(d, negative)
}

func (st *decimalState) fraction(d int64, negative bool) bool {
	if st.fracDigits == st.scale && !st.roundSet {
		st.roundSet, st.round = true, d >= 5
	}
	if st.wholeDigits+st.fracDigits >= st.storeWidth {
		return true
	}
	st.fracDigits++
	return st.push(d, negative)
}

func (st *decimalState) exponent(exp int16, negative bool) bool {
	e := int(exp)
	over := max(st.fracDigits-st.scale, 0)
	switch {
	case e > 0:
		st.positiveExp = true
		if over > e {
			st.excess, e = over-e, 0
		} else {
			e -= over
		}
	case e < 0:
		st.negativeExp = true
	}
	if !st.finish(negative) {
		return false
	}
	if e < 0 {
		st.divide(-e, negative)
		return true
	}
	for ; e > 0; e-- {
		if !st.digit(0, negative) {
			return false
		}
	}
	return true
}

// divide drops n digits; the last dropped one rounds.
func (st *decimalState) divide(n int, negative bool) {
	up := st.drop(n)
	if up {
		st.roundUp(negative)
	}
}

func (st *decimalState) drop(n int) (up bool) {
	for range n {
		quo, rem := st.result.quoRem(int128{lo: 10})
		up = rem.absCmp(int128{lo: 5}) >= 0
		st.result = quo
		if quo.isZero() {
			break
		}
	}
	return up
}

func (st *decimalState) roundUp(negative bool) {
	one := int128{lo: 1}
	if negative {
		one = one.neg()
	}
	st.result, _ = st.result.add(one)
}

func (st *decimalState) finish(negative bool) bool {
	if !st.positiveExp && st.fracDigits > st.scale {
		st.excess = st.fracDigits - st.scale
	}
	if st.excess > 0 {
		up := st.drop(st.excess)
		if st.positiveExp && up {
			st.roundUp(negative)
		}
		st.fracDigits = st.scale
	}
	if !st.positiveExp && !st.negativeExp && st.roundSet && st.round {
		st.roundUp(negative)
	}
	for i := st.fracDigits; i < st.scale; i++ {
		if !st.push(0, negative) {
			return false
		}
	}
	return fits(st.result, uint8(st.precision))
}
