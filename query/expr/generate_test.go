package expr

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// generator makes random rows, values and expressions over a fixed set of columns.
type generator struct {
	*rand.Rand
	fields []Field
	rows   []Values
	mild   bool // values that few expressions overflow or fail on
}

func newGenerator(seed uint64, rows int) *generator { return generate(seed, rows, false) }

func generate(seed uint64, rows int, mild bool) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), fields: testFields(), mild: mild}
	for i := range rows {
		row := make(Values, len(g.fields))
		row[0] = IntOf(Integer, int64(i))
		for j := 1; j < len(row); j++ {
			row[j] = g.value(g.fields[j].Type)
		}
		g.rows = append(g.rows, row)
	}
	return g
}

func testFields() []Field {
	return []Field{
		{"id", typeOf(Integer)},
		{"b", typeOf(Bool)},
		{"b2", typeOf(Bool)},
		{"i2", typeOf(SmallInt)},
		{"i4", typeOf(Integer)},
		{"i8", typeOf(BigInt)},
		{"j8", typeOf(BigInt)},
		{"f4", typeOf(Real)},
		{"f8", typeOf(Double)},
		{"g8", typeOf(Double)},
		{"d4", decimalType(4, 2)},
		{"d9", decimalType(9, 4)},
		{"d18", decimalType(18, 6)},
		{"d38", decimalType(38, 10)},
		{"e2", decimalType(2, 2)},
		{"e12", decimalType(12, 0)},
		{"t", typeOf(Text)},
		{"t2", typeOf(Text)},
		{"n", typeOf(Text)},
		{"bl", typeOf(Blob)},
		{"da", typeOf(Date)},
		{"da2", typeOf(Date)},
		{"ti", typeOf(Time)},
		{"ts", typeOf(Timestamp)},
		{"ts2", typeOf(Timestamp)},
		{"tz", typeOf(TimestampTZ)},
		{"u", typeOf(UUID)},
		{"j", typeOf(JSON)},
		{"li", listType(typeOf(Integer))},
		{"lt", listType(typeOf(Text))},
	}
}

func pick[T any](g *generator, xs ...T) T { return xs[g.IntN(len(xs))] }

// value makes a random value of a type, NULL one time in eight.
func (g *generator) value(t Type) Value {
	if g.IntN(8) == 0 {
		return Value{}
	}
	if g.mild {
		if v, ok := g.mildValue(t); ok {
			return v
		}
	}
	switch t.Kind {
	case Bool:
		return BoolOf(g.IntN(2) == 0)
	case SmallInt, Integer, BigInt:
		return IntOf(t.Kind, g.integer(t.Kind))
	case Real, Double:
		return FloatOf(t.Kind, g.float(t.Kind))
	case Decimal:
		return g.decimal(t)
	case Text:
		return TextOf(g.text())
	case Blob:
		return BlobOf([]byte(pick(g, "", "a", "ab", "\x00", "\xff\x01", "b'\\", "A")))
	case Date:
		return IntOf(Date, g.date())
	case Time:
		return IntOf(Time, pick(g, 0, 1, 3_600_000_000, microsPerDay-1, g.Int64N(microsPerDay), g.Int64N(86400)*microsPerSecond))
	case Timestamp, TimestampTZ:
		return IntOf(t.Kind, g.timestamp())
	case UUID:
		return UUIDOf([16]byte{byte(g.IntN(3)), 15: byte(g.IntN(3) * 127)})
	case JSON:
		return JSONOf(g.json())
	case List:
		n := g.IntN(4)
		vs := make([]Value, n)
		for i := range vs {
			vs[i] = g.value(*t.Elem)
		}
		return ListOf(vs)
	}
	panic("no values of " + t.String())
}

func (g *generator) mildValue(t Type) (Value, bool) {
	switch t.Kind {
	case SmallInt, Integer, BigInt:
		return IntOf(t.Kind, g.Int64N(40)-10), true
	case Real, Double:
		return FloatOf(t.Kind, float64(g.IntN(80)-20)/4), true
	case Decimal:
		u := int128Of(g.Int64N(50) - 10)
		return decimalOf(u, t.Scale), true
	case Text:
		return TextOf(pick(g, "", "a", "ab", "b", "é", "1", "2", "42", "2020-01-01", "x y", "A", "abc")), true
	case Date:
		return IntOf(Date, 18262+g.Int64N(800)), true
	case Timestamp, TimestampTZ:
		return IntOf(t.Kind, (18262+g.Int64N(800))*microsPerDay+g.Int64N(4)*(microsPerDay/4)+g.Int64N(2)*1500), true
	}
	return Value{}, false
}

func (g *generator) integer(k Kind) int64 {
	low, high := intRange(k)
	i := pick(g, 0, 1, -1, 2, 3, 5, 7, 10, 42, 100, -7, g.Int64N(20)-10, g.Int64N(20)-10, g.Int64N(2000)-1000, low, low+1, high, high-1,
		127, 128, -128, 32767, 32768, math.MaxInt32, math.MinInt32, int64(g.Uint64()))
	for i < low || i > high {
		i /= 7
	}
	return i
}

func (g *generator) float(k Kind) float64 {
	f := pick(g, 0, math.Copysign(0, -1), 1, -1, 0.5, 1.5, 2.5, -2.5, 3.7, 0.1, 1e10, 1e15, 1e16, 1e17, 123456.789, 1e-5, 1e-7, math.NaN(),
		math.Inf(1), math.Inf(-1), 1e300, -1e300, math.MaxFloat64, 9223372036854775807, 2147483647.25, 32767.25, 1234567.8, g.NormFloat64()*1e7, g.NormFloat64(), g.NormFloat64()*1000,
		float64(g.IntN(20)-10), float64(g.IntN(20)-10))
	if k == Real {
		if math.Abs(f) > math.MaxFloat32 && !math.IsInf(f, 0) {
			f = 3e38
		}
		f = float64(float32(f))
	}
	return f
}

func (g *generator) decimal(t Type) Value {
	n := 1 + g.IntN(int(t.Precision))
	var u int128
	for range n {
		u, _ = u.mul(int128{lo: 10})
		u, _ = u.add(int128{lo: uint64(g.IntN(10))})
	}
	switch g.IntN(6) {
	case 0:
		u, _ = pow10(int(t.Precision)).sub(int128{lo: 1})
	case 1:
		u = int128Of(g.Int64N(10))
		if v, ok := u.mul(pow10(int(t.Scale))); ok && fits(v, t.Precision) {
			u = v
		}
	case 2:
		u = int128{}
	}
	if g.IntN(3) == 0 {
		u = u.neg()
	}
	return decimalOf(u, t.Scale)
}

func (g *generator) text() string {
	return pick(g, "", "a", "A", "ab", "abc", "aBc", "b", "anna", "Bob", " a ", "%", "_", "a%b", "a_b", "é", "É", "ÉA", "日本", "日本語", "😀", "😀x", "straße",
		"ß", "İ", "1", "42", "-7", "1.5", "true", "f", "2020-01-01", "2020-02-29 12:34:56", "10:20:30", "null", "NULL", "x y z", "\t", "a\nb", "'", "\"", "\\",
		"zzzzzzzzzzzzzzzzzzzzzzzz", "[1, 2]", `{"a": 1}`, "a,b", "e\u0301", "0", " 5 ", "1e2", "nan", "$.a", "00000000-0000-0000-0000-000000000001")
}

func (g *generator) date() int64 {
	return pick(g, 0, 1, -1, 18262, 18321, 19000, 20000, -719528, -719529, 2932896, 2932897, g.Int64N(40000)-10000, g.Int64N(40000)-10000,
		g.Int64N(100), minDate, maxDate, infinityDate, -infinityDate)
}

func (g *generator) timestamp() int64 {
	return pick(g, 0, 1, -1, 1577836800_000000, 1577836800_123456, -62135596800_000000, -62167219200_000001, g.Int64N(1<<51)-(1<<50), g.Int64N(1<<51)-(1<<50),
		g.Int64N(40000)*microsPerDay, g.Int64N(2_000_000_000)*microsPerSecond, g.Int64N(2_000_000_000)*microsPerSecond+500_000,
		infinityTimestamp, -infinityTimestamp, 8_000_000_000_000_000_000, -8_000_000_000_000_000_000)
}

func (g *generator) json() string {
	return pick(g, `{"a":1}`, `{"a": 1, "b": "x"}`, `{"a":{"b":[1,2,{"c":null}]}}`, `[1,2,3]`, `"s"`, `1`, `1.5`, `true`, `null`, `{}`, `[]`,
		`{"a":"1"}`, `{"a":null}`, `{"a":true}`, `{"a":-5,"b":[]}`, `{"b":{"a":"é\n"}}`, `{"a":9223372036854775807}`, `{"a":1e3}`,
		` { "a" : [ 1 , 2.50 ] } `, `{"a":0.1,"a":2}`, `{"a b":1,"c.d":2}`, `{"a":"2020-01-01"}`, `{"a":[[1],[2]]}`, `{"a":1.0}`,
		`{"a":18446744073709551615}`, `{"a":123456789012345678901234567890}`, `{"a":-0}`, `{"a":"\u00e9\/\ud83d\ude00"}`)
}

// anyColumn returns a random column whose type satisfies want.
func (g *generator) anyColumn(want func(Type) bool) Node {
	for range 200 {
		f := g.fields[g.IntN(len(g.fields))]
		if want(f.Type) {
			return Column{Name: f.Name}
		}
	}
	return Literal{}
}

func ofKinds(kinds ...Kind) func(Type) bool {
	return func(t Type) bool {
		return slices.Contains(kinds, t.Kind)
	}
}

func isNumber(t Type) bool { return isNumeric(t.Kind) }

func (g *generator) literal(v Value) Node {
	if v.kind == Text && strings.ContainsRune(v.str, 0) {
		return Literal{Value: TextOf("")}
	}
	return Literal{Value: v}
}

// numberLiteral is a number as a user would write it.
func (g *generator) numberLiteral() Node {
	switch g.IntN(10) {
	case 0:
		return Literal{Value: FloatOf(Double, pick(g, 0.5, 1e10, -2.5, 1e-3, 100))}
	case 1, 2:
		return Literal{Value: decimalOf(int128Of(pick(g, 5, 15, 25, 105, -995, 0, 1, 123456789, g.Int64N(100000))), uint8(1+g.IntN(4)))}
	case 3:
		return Literal{Value: IntOf(BigInt, g.integer(BigInt))}
	}
	return Literal{Value: IntOf(Integer, pick(g, 0, 1, -1, 2, 3, 5, 7, 10, 100, -7, 42, 1000, g.Int64N(20)-10, g.integer(Integer)))}
}

// text literal that reads as a value of kind k.
func (g *generator) textLiteral(k Kind) Node {
	v := g.value(typeOf(k))
	if v.kind == Null || g.IntN(20) == 0 {
		return Literal{Value: TextOf(g.text())}
	}
	return Literal{Value: TextOf(v.String())}
}
