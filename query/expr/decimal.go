package expr

// compareDecimal orders two decimals of any scales exactly.
func compareDecimal(a, b Value) int {
	x, y := a.int128(), b.int128()
	if a.scale == b.scale {
		return x.cmp(y)
	}
	if a.scale > b.scale {
		return -compareDecimal(b, a)
	}
	// x has fewer digits after the point: compare whole parts, then fractions.
	p := pow10(int(b.scale - a.scale))
	whole, frac := y.quoRem(p)
	if c := x.cmp(whole); c != 0 {
		return c
	}
	return int128{}.cmp(frac)
}

// appendDecimal appends u with scale digits after the point.
func appendDecimal(dst []byte, u int128, scale uint8) []byte {
	if scale == 0 {
		return appendInt128(dst, u)
	}
	if u.negative() {
		dst = append(dst, '-')
	}
	hi, lo := u.magnitude()
	var buf [40]byte
	digits := appendUint128(buf[:0], hi, lo)
	s := int(scale)
	if len(digits) <= s {
		dst = append(dst, '0', '.')
		for range s - len(digits) {
			dst = append(dst, '0')
		}
		return append(dst, digits...)
	}
	dst = append(dst, digits[:len(digits)-s]...)
	dst = append(dst, '.')
	return append(dst, digits[len(digits)-s:]...)
}

// rescale brings u from one scale to another, rounding half away from zero, and reports whether it fits 128 bits.
func rescale(u int128, from, to uint8) (int128, bool) {
	if to >= from {
		return u.mul(pow10(int(to - from)))
	}
	p := pow10(int(from - to))
	quo, rem := u.quoRem(p)
	half, _ := p.quoRem(int128{lo: 2})
	if rem.absCmp(half) >= 0 {
		one := int128{lo: 1}
		if u.negative() {
			quo, _ = quo.sub(one)
		} else {
			quo, _ = quo.add(one)
		}
	}
	return quo, true
}

// fits reports whether |u| < 10^precision.
func fits(u int128, precision uint8) bool { return u.absCmp(pow10(int(precision))) < 0 }

// decimalToFloat converts as DuckDB does: exactly representable values by one division, others by parts. exact is
// the largest whole number that the target kind represents exactly.
func decimalToFloat(u int128, scale uint8, k Kind) float64 {
	exact := uint64(1 << 53)
	if k == Real {
		exact = 1 << 24
	}
	p := pow10Float(int(scale))
	if scale == 0 || u.absCmp(int128{lo: exact}) <= 0 {
		return divideAs(u.floatAs(k), p, k)
	}
	quo, rem := u.quoRem(pow10(int(scale)))
	if k == Real {
		return float64(float32(quo.floatAs(k)) + float32(rem.floatAs(k))/float32(p))
	}
	return quo.float64() + rem.float64()/p
}

func (a int128) floatAs(k Kind) float64 {
	if k == Real {
		return float64(float32(a.float64()))
	}
	return a.float64()
}

func divideAs(a, b float64, k Kind) float64 {
	if k == Real {
		return float64(float32(a) / float32(b))
	}
	return a / b
}
