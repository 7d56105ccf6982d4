package expr

import (
	"math"
	"math/bits"
	"strconv"
)

// real32Width returns the width, in bits, to whose precision DuckDB writes the digits of a REAL. Its shortest digits come
// from Grisu3; for the few values that Grisu3 gives up on it falls back to the shortest digits of the value as a DOUBLE,
// which are more than a REAL needs: 1234567.8 is 1234567.75.
func real32Width(f float64) int {
	if f == 0 || grisuSucceeds(math.Abs(f)) {
		return 32
	}
	return 64
}

// grisuSucceeds runs Grisu3 (Florian Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with Integers",
// PLDI 2010) with the boundaries of a float32, and reports whether it finds the shortest digits for sure.
func grisuSucceeds(f float64) bool {
	b := math.Float64bits(f)
	frac, e := b&(1<<52-1)|1<<52, int(b>>52)-1075
	const minNormal = -125 - 53
	half := uint64(1) << 28
	if e < minNormal {
		half <<= uint(minNormal - e)
	}
	lower := half
	if frac == 1<<52 && e > minNormal {
		lower /= 2
	}
	shift := uint(bits.LeadingZeros64(frac))
	power, k := cachedPower(-60 - (e - int(shift) + 64))
	value := mulHigh(frac<<shift, power)
	low := mulHigh((frac-lower)<<shift, power) - 1
	high := mulHigh((frac+half)<<shift, power) + 1
	exp := e - int(shift) + cachedExponent(k) + 64
	return grisuDigits(high, high-low, high-value, uint(-exp))
}

// mulHigh is the upper half of a product, rounded.
func mulHigh(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi + lo>>63
}

// grisuDigits generates digits of high, a fixed-point number with point bits after the point, until they can only
// stand for the value, which lies diff below; delta is the width of the interval of numbers that round to the value.
func grisuDigits(high, delta, diff uint64, point uint) bool {
	whole, frac := high>>point, high&(1<<point-1)
	exp := len(strconv.FormatUint(whole, 10))
	for exp > 0 {
		exp--
		whole %= pow10Small(exp)
		rest := whole<<point + frac
		if rest < delta {
			return weed(diff, pow10Small(exp)<<point, rest, delta, 1)
		}
	}
	unit := uint64(1)
	for {
		frac *= 10
		delta *= 10
		unit *= 10
		frac &= 1<<point - 1
		if frac < delta {
			return weed(diff, 1<<point, frac, delta, unit)
		}
	}
}

// weed is Grisu3's round_weed: it moves the last digit toward the value and reports whether that is unambiguous.
func weed(diff, divisor, rest, delta, unit uint64) bool {
	up, down := (diff-1)*unit, (diff+1)*unit
	for rest < up && delta-rest >= divisor && (rest+divisor < up || up-rest >= rest+divisor-up) {
		rest += divisor
	}
	if rest < down && delta-rest >= divisor && (rest+divisor < down || down-rest > rest+divisor-down) {
		return false
	}
	return 2*unit <= rest && rest <= delta-4*unit
}

// firstCachedPower is the decimal exponent of the first of cachedSignificands, which are 8 apart.
const firstCachedPower = -60

// cachedSignificands returns 10^-60, 10^-52 … 10^76 as 64-bit significands, rounded.
func cachedSignificands() [18]uint64 {
	return [...]uint64{
		0xcdb02555653131b6, 0x993fe2c6d07b7fac, 0xe45c10c42a2b3b06, 0xaa242499697392d3, 0xfd87b5f28300ca0e, 0xbce5086492111aeb,
		0x8cbccc096f5088cc, 0xd1b71758e219652c, 0x9c40000000000000, 0xe8d4a51000000000, 0xad78ebc5ac620000, 0x813f3978f8940984,
		0xc097ce7bc90715b3, 0x8f7e32ce7bea5c70, 0xd5d238a4abe98068, 0x9f4f2726179a2245, 0xed63a231d4c4fb27, 0xb0de65388cc8ada8,
	}
}

// cachedPower returns the significand and decimal exponent of the least cached power of ten whose binary exponent is
// at least minExponent.
func cachedPower(minExponent int) (uint64, int) {
	const perLog2Of10 = 0x4d104d42 // 2^32 / log2(10)
	k := int((int64(minExponent+63)*perLog2Of10 + 1<<32 - 1) >> 32)
	i := (k - -348 - 1) / 8
	k = -348 + (i+1)*8
	return cachedSignificands()[(k-firstCachedPower)/8], k
}

// cachedExponent is the binary exponent of the cached 10^k: floor(k·log2(10)) - 63.
func cachedExponent(k int) int { return (k*217706)>>16 - 63 }
