package expr

import (
	"strings"
	"testing"

	"kalamlog.dev/kalam/internal/problem"
)

func TestCastValue(t *testing.T) {
	ts := IntOf(Timestamp, 1577836800_123456)
	for _, c := range []struct {
		v    Value
		t    Type
		want string
	}{
		{Value{}, typeOf(Integer), "NULL"},
		{IntOf(BigInt, 300), typeOf(SmallInt), "300"},
		{FloatOf(Double, 2.5), typeOf(Integer), "2"},
		{FloatOf(Double, -3.5), typeOf(Integer), "-4"},
		{DecimalOf(0, 25, 1), typeOf(Integer), "3"},
		{decimalOf(int128Of(-25), 1), typeOf(Integer), "-3"},
		{DecimalOf(0, 12345, 3), decimalType(4, 1), "12.3"},
		{TextOf("1.5e2"), decimalType(10, 2), "150.00"},
		{TextOf(" 42 "), typeOf(BigInt), "42"},
		{IntOf(Integer, 5), typeOf(Bool), "true"},
		{BoolOf(true), decimalType(3, 1), "1.0"},
		{TextOf("yes"), typeOf(Bool), "true"},
		{ts, typeOf(Date), "2020-01-01"},
		{ts, typeOf(Time), "00:00:00.123456"},
		{ts, typeOf(TimestampTZ), "2020-01-01 00:00:00.123456+00"},
		{IntOf(Date, 1), typeOf(Timestamp), "1970-01-02 00:00:00"},
		{TextOf("2020-01-01 12:00:00+02"), typeOf(TimestampTZ), "2020-01-01 10:00:00+00"},
		{TextOf("[1, NULL, 3]"), listType(typeOf(Integer)), "[1, NULL, 3]"},
		{ListOf([]Value{DecimalOf(0, 5, 1), DecimalOf(0, 1235, 1)}), listType(decimalType(5, 2)), "[0.50, 123.50]"},
		{IntOf(Integer, 7), typeOf(Text), "7"},
		{JSONOf(`"2020-01-01"`), typeOf(Date), "2020-01-01"},
		{JSONOf(`2.5`), typeOf(Integer), "2"},
		{JSONOf(`null`), typeOf(Integer), "NULL"},
		{JSONOf(`[1, "2"]`), listType(typeOf(BigInt)), "[1, 2]"},
		{DecimalOf(0, 125, 2), typeOf(JSON), "1.25"},
		{TextOf(`{"a":1}`), typeOf(JSON), `{"a":1}`},
		{ListOf([]Value{TextOf("a"), {}}), typeOf(JSON), `["a",null]`},
		{TextOf(`\xff`), typeOf(Blob), `\xFF`},
	} {
		if v, err := CastValue(c.v, c.t); err != nil || v.String() != c.want {
			t.Errorf("CAST(%s AS %s): got %s, %v, want %s", c.v, c.t, v, err, c.want)
		}
	}
}

func TestCastValueRefuses(t *testing.T) {
	for _, c := range []struct {
		v    Value
		t    Type
		code problem.Code
		text string
	}{
		{IntOf(BigInt, 1<<40), typeOf(Integer), problem.OutOfRange, "1099511627776 is out of the range of INTEGER"},
		{FloatOf(Double, nan()), typeOf(BigInt), problem.OutOfRange, "nan"},
		{TextOf("99999"), typeOf(SmallInt), problem.OutOfRange, "SMALLINT"},
		{TextOf("abc"), typeOf(Integer), problem.InvalidValue, `"abc" is not a valid INTEGER`},
		{IntOf(Date, infinityDate), typeOf(Integer), problem.TypeMismatch, "cannot cast DATE to INTEGER"},
		{BoolOf(true), typeOf(Date), problem.TypeMismatch, "BOOLEAN"},
		{IntOf(Timestamp, infinityTimestamp), typeOf(Time), problem.InvalidValue, "infinite"},
		{IntOf(Date, maxDate), typeOf(Timestamp), problem.OutOfRange, "TIMESTAMP"},
		{ListOf([]Value{DecimalOf(0, 5, 1), DecimalOf(0, 1235, 1)}), listType(decimalType(1, 1)), problem.OutOfRange, "123.5"},
		{TextOf("é"), typeOf(Blob), problem.InvalidValue, `\x41`},
		{TextOf("{"), typeOf(JSON), problem.InvalidValue, "JSON"},
		{JSONOf(`{"a":1}`), typeOf(Integer), problem.InvalidValue, "INTEGER"},
		{TextOf(strings.Repeat("x", 1000)), typeOf(UUID), problem.InvalidValue, "…"},
	} {
		_, err := CastValue(c.v, c.t)
		if p := problem.As(err); p == nil || p.Code != c.code || !strings.Contains(p.Message+p.Hint, c.text) {
			t.Errorf("CAST(%s AS %s): got %v, want %s with %q", shorten(c.v.String()), c.t, err, c.code, c.text)
		}
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	n, fields, values := typicalFilter()
	p, err := CompileFilter(n, fields)
	if err != nil {
		t.Fatal(err)
	}
	var row Row = values
	if allocs := testing.AllocsPerRun(100, func() { _, _ = p.Match(row) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestMadeTextIsLimited(t *testing.T) {
	long := call("replace", col("name"), str("a"), col("data"))
	p, err := Compile(long, []Field{{"name", typeOf(Text)}, {"data", typeOf(Text)}})
	if err != nil {
		t.Fatal(err)
	}
	big := TextOf(strings.Repeat("a", 1<<20))
	if _, err := p.Eval(Values{big, big}); !problem.Is(err, problem.OutOfRange) {
		t.Errorf("got %v", err)
	}
}
