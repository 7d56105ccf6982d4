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

// decimalToFloat converts as DuckDB does: what the target kind represents exactly by one division, others by parts.
// wide reports that the decimal has more than 18 digits, which DuckDB keeps in 128 bits and rounds differently.
func decimalToFloat(u int128, scale uint8, wide bool, k Kind) float64 {
	exact := uint64(1 << 53)
	if k == Real {
		exact = 1 << 24
	}
	p := pow10Float(int(scale))
	if scale == 0 || u.absCmp(int128{lo: exact}) <= 0 {
		return divideAs(u.floatAs(wide, k), p, k)
	}
	quo, rem := u.quoRem(pow10(int(scale)))
	whole, frac := quo.floatAs(wide, k), rem.floatAs(wide, k)
	if k == Real {
		return float64(float32(whole) + float32(frac)/float32(p))
	}
	return whole + frac/p
}

// floatAs converts a to a float of kind k: by halves if wide, which rounds twice, as DuckDB does.
func (a int128) floatAs(wide bool, k Kind) float64 {
	switch {
	case wide && k == Real:
		return float64(float32(a.float64()))
	case wide:
		return a.float64()
	case k == Real:
		return float64(float32(int64(a.lo)))
	}
	return float64(int64(a.lo))
}

func divideAs(a, b float64, k Kind) float64 {
	if k == Real {
		return float64(float32(a) / float32(b))
	}
	return a / b
}
