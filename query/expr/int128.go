package expr

import (
	"math"
	"math/bits"
)

// int128 is a two's complement 128-bit integer.
type int128 struct {
	hi int64
	lo uint64
}

func int128Of(i int64) int128 { return int128{hi: i >> 63, lo: uint64(i)} }

func maxInt128() int128 { return int128{hi: math.MaxInt64, lo: math.MaxUint64} }

func minInt128() int128 { return int128{hi: math.MinInt64} }

func (a int128) negative() bool { return a.hi < 0 }

func (a int128) isZero() bool { return a.hi == 0 && a.lo == 0 }

// cmp returns -1, 0 or 1.
func (a int128) cmp(b int128) int {
	switch {
	case a.hi < b.hi:
		return -1
	case a.hi > b.hi:
		return 1
	case a.lo < b.lo:
		return -1
	case a.lo > b.lo:
		return 1
	}
	return 0
}

// add returns a+b and whether it fits.
func (a int128) add(b int128) (int128, bool) {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(uint64(a.hi), uint64(b.hi), carry)
	r := int128{hi: int64(hi), lo: lo}
	return r, a.negative() != b.negative() || r.negative() == a.negative()
}

// sub returns a-b and whether it fits.
func (a int128) sub(b int128) (int128, bool) {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	hi, _ := bits.Sub64(uint64(a.hi), uint64(b.hi), borrow)
	r := int128{hi: int64(hi), lo: lo}
	return r, a.negative() == b.negative() || r.negative() == a.negative()
}

// neg returns -a, which wraps for the least value.
func (a int128) neg() int128 {
	lo, borrow := bits.Sub64(0, a.lo, 0)
	hi, _ := bits.Sub64(0, uint64(a.hi), borrow)
	return int128{hi: int64(hi), lo: lo}
}

// magnitude returns the absolute value, unsigned.
func (a int128) magnitude() (hi, lo uint64) {
	if a.negative() {
		a = a.neg()
	}
	return uint64(a.hi), a.lo
}

// ofMagnitude puts a sign on an unsigned value and reports whether it fits.
func ofMagnitude(hi, lo uint64, negative bool) (int128, bool) {
	r := int128{hi: int64(hi), lo: lo}
	if negative {
		r = r.neg()
		return r, hi < 1<<63 || (hi == 1<<63 && lo == 0)
	}
	return r, hi < 1<<63
}

// mul returns a*b and whether it fits.
func (a int128) mul(b int128) (int128, bool) {
	ah, al := a.magnitude()
	bh, bl := b.magnitude()
	if ah != 0 && bh != 0 {
		return int128{}, false
	}
	hi, lo := bits.Mul64(al, bl)
	c1, x := bits.Mul64(ah, bl)
	c2, y := bits.Mul64(al, bh)
	sum, carry1 := bits.Add64(hi, x, 0)
	sum, carry2 := bits.Add64(sum, y, 0)
	if c1 != 0 || c2 != 0 || carry1 != 0 || carry2 != 0 {
		return int128{}, false
	}
	return ofMagnitude(sum, lo, a.negative() != b.negative())
}

// quoRem divides toward zero; b is not zero. The least value by -1 wraps.
func (a int128) quoRem(b int128) (quo, rem int128) {
	ah, al := a.magnitude()
	bh, bl := b.magnitude()
	qh, ql, rh, rl := quoRemUnsigned(ah, al, bh, bl)
	quo, _ = ofMagnitude(qh, ql, a.negative() != b.negative())
	rem, _ = ofMagnitude(rh, rl, a.negative())
	return quo, rem
}

func quoRemUnsigned(ah, al, bh, bl uint64) (qh, ql, rh, rl uint64) {
	if bh == 0 {
		var r uint64
		if ah >= bl {
			qh, r = bits.Div64(0, ah, bl)
		} else {
			r = ah
		}
		ql, rl = bits.Div64(r, al, bl)
		return qh, ql, 0, rl
	}
	// The quotient fits one word: estimate it from the top words, which is at most one too many.
	n := uint(bits.LeadingZeros64(bh))
	v := bh<<n | bl>>(64-n)
	if n == 0 {
		v = bh
	}
	uh, ul := ah>>1, ah<<63|al>>1
	ql, _ = bits.Div64(uh, ul, v)
	ql >>= 63 - n
	if ql != 0 {
		ql--
	}
	rh, rl = ah, al
	ph, pl := bits.Mul64(bl, ql)
	ph += bh * ql
	var borrow uint64
	rl, borrow = bits.Sub64(rl, pl, 0)
	rh, _ = bits.Sub64(rh, ph, borrow)
	for rh > bh || (rh == bh && rl >= bl) {
		ql++
		rl, borrow = bits.Sub64(rl, bl, 0)
		rh, _ = bits.Sub64(rh, bh, borrow)
	}
	return 0, ql, rh, rl
}

// int64 returns a as 64 bits and whether it fits.
func (a int128) int64() (int64, bool) {
	return int64(a.lo), a.hi == int64(a.lo)>>63
}

// float64 converts by halves, which is how DuckDB rounds a HUGEINT.
func (a int128) float64() float64 {
	const two64 = 18446744073709551616.0
	if a.hi == -1 {
		return -float64(math.MaxUint64-a.lo) - 1
	}
	return float64(a.lo) + float64(a.hi)*two64
}

// int128OfFloat converts a whole number, reporting whether it fits.
func int128OfFloat(f float64) (int128, bool) {
	const two64, two127 = 18446744073709551616.0, 170141183460469231731687303715884105728.0
	if !(f > -two127 && f < two127) {
		return int128{}, false
	}
	m := math.Abs(f)
	hi := uint64(m / two64)
	lo := uint64(m - float64(hi)*two64)
	return ofMagnitude(hi, lo, f < 0)
}

// appendInt128 appends a in decimal.
func appendInt128(dst []byte, a int128) []byte {
	hi, lo := a.magnitude()
	if a.negative() {
		dst = append(dst, '-')
	}
	return appendUint128(dst, hi, lo)
}

func appendUint128(dst []byte, hi, lo uint64) []byte {
	var buf [40]byte
	i := len(buf)
	for hi != 0 {
		var digit uint64
		hi, lo, _, digit = quoRemUnsigned(hi, lo, 0, 10)
		i--
		buf[i] = '0' + byte(digit)
	}
	for {
		i--
		buf[i] = '0' + byte(lo%10)
		if lo /= 10; lo == 0 {
			break
		}
	}
	return append(dst, buf[i:]...)
}

// digits10 returns how many decimal digits |a| has, 1 for zero.
func (a int128) digits10() int {
	n := 1
	for n <= maxPrecision && a.absCmp(pow10(n)) >= 0 {
		n++
	}
	return n
}

// absCmp compares |a| with b, which is not negative.
func (a int128) absCmp(b int128) int {
	ah, al := a.magnitude()
	switch {
	case ah < uint64(b.hi):
		return -1
	case ah > uint64(b.hi):
		return 1
	case al < b.lo:
		return -1
	case al > b.lo:
		return 1
	}
	return 0
}

// pow10 returns 10^n, n from 0 to 38.
func pow10(n int) int128 {
	if n < 20 {
		return int128{lo: pow10Small(n)}
	}
	hi, lo := bits.Mul64(pow10Small(19), pow10Small(n-19))
	return int128{hi: int64(hi), lo: lo}
}

// pow10Small returns 10^n, n from 0 to 19.
func pow10Small(n int) uint64 {
	return [...]uint64{
		1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
	}[n]
}

// pow10Float returns 10^n, the nearest double, n from 0 to 38.
func pow10Float(n int) float64 {
	return [...]float64{
		1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
		1e20, 1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28, 1e29, 1e30, 1e31, 1e32, 1e33, 1e34, 1e35, 1e36, 1e37,
		1e38,
	}[n]
}
