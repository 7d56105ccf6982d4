package expr

import (
	"math"
	"math/big"
	"testing"
)

func TestValueText(t *testing.T) {
	for want, v := range map[string]Value{
		"NULL": {}, "true": BoolOf(true), "-7": IntOf(SmallInt, -7), "0.25": DecimalOf(0, 25, 2), "-0.05": decimalOf(int128Of(-5), 2),
		"1e+16": FloatOf(Double, 1e16), "0.0001": FloatOf(Double, 0.0001), "1e-05": FloatOf(Double, 0.00001), "-0.0": FloatOf(Double, math.Copysign(0, -1)),
		"nan": FloatOf(Double, math.NaN()), "-inf": FloatOf(Real, math.Inf(-1)), "0.1": FloatOf(Real, 0.1), "1234567.75": FloatOf(Real, 1234567.8),
		`a\x00\x27`: BlobOf([]byte("a\x00'")), "1969-12-31": IntOf(Date, -1), "0001-01-01 (BC)": IntOf(Date, -719528),
		"infinity": IntOf(Date, infinityDate), "12:34:56.7": IntOf(Time, 45296_700000), "24:00:00": IntOf(Time, microsPerDay),
		"1970-01-01 00:00:00.000001": IntOf(Timestamp, 1), "1969-12-31 23:59:59+00": IntOf(TimestampTZ, -1_000_000),
		"01020304-0506-0708-090a-0b0c0d0e0f10":   UUIDOf([16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}),
		`[a, 'b c,', NULL, '', 'it\'s']`:         ListOf([]Value{TextOf("a"), TextOf("b c,"), {}, TextOf(""), TextOf("it's")}),
		"99999999999999999999999999999999999999": decimalOf(int128{hi: pow10(38).hi, lo: pow10(38).lo - 1}, 0),
	} {
		if got := v.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestCompare(t *testing.T) {
	inOrder := [][]Value{
		{BoolOf(false), BoolOf(true), {}},
		{FloatOf(Double, math.Inf(-1)), FloatOf(Double, -1), FloatOf(Double, 0), FloatOf(Double, math.Inf(1)), FloatOf(Double, math.NaN()), {}},
		{decimalOf(int128Of(-15), 1), decimalOf(int128Of(-1), 0), decimalOf(int128Of(5), 1), decimalOf(int128Of(51), 2), decimalOf(int128Of(1), 0)},
		{TextOf(""), TextOf("A"), TextOf("a"), TextOf("aa"), TextOf("é"), {}},
		{UUIDOf([16]byte{0: 1}), UUIDOf([16]byte{0: 0xff}), {}},
		{ListOf(nil), ListOf([]Value{IntOf(Integer, 1)}), ListOf([]Value{IntOf(Integer, 1), IntOf(Integer, 0)}), ListOf([]Value{IntOf(Integer, 2)}), ListOf([]Value{{}})},
	}
	for _, vs := range inOrder {
		for i, a := range vs {
			for j, b := range vs {
				if got := Compare(a, b); got != compareInt(int64(i), int64(j)) {
					t.Errorf("Compare(%s, %s) is %d", a, b, got)
				}
			}
		}
	}
	if Compare(FloatOf(Double, 0), FloatOf(Double, math.Copysign(0, -1))) != 0 {
		t.Error("0 and -0 differ")
	}
}

func TestAccessorsPanicOnOtherKinds(t *testing.T) {
	for name, fn := range map[string]func(){
		"Bool": func() { TextOf("").Bool() }, "Int": func() { BoolOf(true).Int() }, "Float": func() { IntOf(Integer, 1).Float() },
		"DecimalParts": func() { Value{}.DecimalParts() }, "Str": func() { ListOf(nil).Str() }, "UUIDBytes": func() { TextOf("").UUIDBytes() },
		"List": func() { Value{}.List() }, "IntOf": func() { IntOf(Text, 1) }, "FloatOf": func() { FloatOf(Integer, 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			fn()
		}()
	}
}

func TestInt128AgainstBig(t *testing.T) {
	g := newGenerator(seedOf(t), 0)
	random := func() int128 {
		u := int128{hi: int64(g.Uint64()), lo: g.Uint64()}
		switch g.IntN(4) {
		case 0:
			u = int128Of(int64(g.Uint64()))
		case 1:
			u = int128Of(g.Int64N(21) - 10)
		case 2:
			u = int128{hi: int64(g.Uint64()) >> g.IntN(64), lo: g.Uint64()}
		}
		return u
	}
	bigOf := func(a int128) *big.Int {
		b := new(big.Int).Lsh(big.NewInt(a.hi), 64)
		return b.Add(b, new(big.Int).SetUint64(a.lo))
	}
	check := func(op string, a, b, got int128, ok bool, want *big.Int) {
		if fits := want.Cmp(bigOf(minInt128())) >= 0 && want.Cmp(bigOf(maxInt128())) <= 0; ok != fits || ok && bigOf(got).Cmp(want) != 0 {
			t.Fatalf("%s %s %s: got %s, %v, want %s", bigOf(a), op, bigOf(b), bigOf(got), ok, want)
		}
	}
	for range 100_000 {
		a, b := random(), random()
		x, y := bigOf(a), bigOf(b)
		sum, ok := a.add(b)
		check("+", a, b, sum, ok, new(big.Int).Add(x, y))
		diff, ok := a.sub(b)
		check("-", a, b, diff, ok, new(big.Int).Sub(x, y))
		product, ok := a.mul(b)
		check("*", a, b, product, ok, new(big.Int).Mul(x, y))
		if a.cmp(b) != x.Cmp(y) {
			t.Fatalf("cmp(%s, %s)", x, y)
		}
		if string(appendInt128(nil, a)) != x.String() {
			t.Fatalf("text of %s is %s", x, appendInt128(nil, a))
		}
		if !b.isZero() && (a != minInt128() || b != int128Of(-1)) {
			quo, rem := a.quoRem(b)
			wantQuo, wantRem := new(big.Int).QuoRem(x, y, new(big.Int))
			check("/", a, b, quo, true, wantQuo)
			check("%", a, b, rem, true, wantRem)
		}
	}
}

func TestValueSize(t *testing.T) {
	if small, large := TextOf("").Size(), TextOf("0123456789").Size(); large-small != 10 {
		t.Errorf("sizes %d and %d", small, large)
	}
	if list := ListOf([]Value{TextOf("abc"), {}}).Size(); list < 3*48+3 {
		t.Errorf("a list's size is %d", list)
	}
}
