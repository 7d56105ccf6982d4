package expr

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"kalamlog.dev/kalam/internal/problem"
)

func TestJSONRoundTrip(t *testing.T) {
	g := newGenerator(seedOf(t), 2000)
	for _, row := range g.rows {
		for i, v := range row {
			raw := AppendJSON(nil, v)
			if !json.Valid(raw) {
				t.Fatalf("%s %q gives %s", g.fields[i].Type, v, raw)
			}
			got, err := FromJSON(raw, g.fields[i].Type)
			if v.kind == JSON {
				if v = JSONOf(strings.TrimSpace(v.str)); v.str == "null" {
					v = Value{}
				}
			}
			if err != nil || Compare(got, v) != 0 {
				t.Errorf("%s %q gives %s, which reads as %q, %v", g.fields[i].Type, v, raw, got, err)
			}
		}
	}
}

func TestAppendJSON(t *testing.T) {
	for want, v := range map[string]Value{
		`null`: {}, `9223372036854775807`: IntOf(BigInt, 9223372036854775807), `"12.50"`: DecimalOf(0, 1250, 2), `"NaN"`: FloatOf(Double, nan()),
		`1e+100`: FloatOf(Double, 1e100), `0.1`: FloatOf(Real, 0.1), `"AP8="`: BlobOf([]byte{0, 255}), `"2026-01-01"`: IntOf(Date, 20454),
		`"2026-01-01T00:00:00.123456"`: IntOf(Timestamp, 20454*microsPerDay+123456), `"2026-01-01T00:00:00Z"`: IntOf(TimestampTZ, 20454*microsPerDay),
		`"00:00:01"`: IntOf(Time, 1_000_000), `"a\"\\\n\u0001é"`: TextOf("a\"\\\n\x01é"), `{"a": 1}`: JSONOf(`{"a": 1}`),
		`[1,null]`: ListOf([]Value{IntOf(Integer, 1), {}}), "\"\ufffd\"": TextOf("\xff"), `"infinity"`: IntOf(TimestampTZ, infinityTimestamp),
	} {
		if got := string(AppendJSON(nil, v)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func nan() float64 { zero := 0.0; return zero / zero }

func TestFromJSON(t *testing.T) {
	for _, c := range []struct {
		raw  string
		t    Type
		want string
	}{
		{`5`, typeOf(BigInt), "5"},
		{`"5"`, typeOf(BigInt), "5"},
		{`5.0`, typeOf(Integer), "5"},
		{`5e2`, typeOf(SmallInt), "500"},
		{`9007199254740993`, typeOf(BigInt), "9007199254740993"},
		{`-9223372036854775808`, typeOf(BigInt), "-9223372036854775808"},
		{`12.5`, decimalType(10, 2), "12.50"},
		{`"12.500"`, decimalType(10, 2), "12.50"},
		{`1e-2`, decimalType(10, 2), "0.01"},
		{`12345678901234567890123456789012345678`, decimalType(38, 0), "12345678901234567890123456789012345678"},
		{`0e999`, decimalType(10, 2), "0.00"},
		{`1.5`, typeOf(Double), "1.5"},
		{`"NaN"`, typeOf(Double), "nan"},
		{`"-Infinity"`, typeOf(Real), "-inf"},
		{`"1e3"`, typeOf(Double), "1000.0"},
		{`true`, typeOf(Bool), "true"},
		{`"true"`, typeOf(Bool), "true"},
		{` null `, typeOf(Bool), "NULL"},
		{`"2026-01-01T12:00:00Z"`, typeOf(TimestampTZ), "2026-01-01 12:00:00+00"},
		{`"2026-01-01 12:00:00.5+02:00"`, typeOf(TimestampTZ), "2026-01-01 10:00:00.5+00"},
		{`"2026-01-01"`, typeOf(Timestamp), "2026-01-01 00:00:00"},
		{`"10:00:00.000001"`, typeOf(Time), "10:00:00.000001"},
		{`"\u00e9\ud83d\ude00"`, typeOf(Text), "é😀"},
		{`{"a": [1]}`, typeOf(JSON), `{"a": [1]}`},
		{`null`, typeOf(JSON), `NULL`},
		{`["a", null, "b"]`, listType(typeOf(Text)), "[a, NULL, b]"},
		{`[]`, listType(typeOf(Text)), "[]"},
		{`[[1], []]`, listType(listType(typeOf(Integer))), "[[1], []]"},
		{`"AAE="`, typeOf(Blob), `\x00\x01`},
	} {
		v, err := FromJSON([]byte(c.raw), c.t)
		if err != nil || v.String() != c.want {
			t.Errorf("%s as %s: got %s, %v, want %s", c.raw, c.t, v, err, c.want)
		}
	}
}

func TestFromJSONRefuses(t *testing.T) {
	for _, c := range []struct {
		raw  string
		t    Type
		code problem.Code
		text string
	}{
		{``, typeOf(Text), problem.BadJSON, "missing"},
		{`{"a":`, typeOf(JSON), problem.BadJSON, "not valid JSON"},
		{`[1,]`, listType(typeOf(Integer)), problem.BadJSON, "not valid"},
		{`"a`, typeOf(Text), problem.BadJSON, "not valid"},
		{`01`, typeOf(Integer), problem.BadJSON, "not valid"},
		{"\"\xff\"", typeOf(Text), problem.BadJSON, "not valid"},
		{`5`, typeOf(Text), problem.TypeMismatch, "JSON 5 is not a TEXT"},
		{`{"a":1}`, typeOf(Integer), problem.TypeMismatch, "INTEGER"},
		{`true`, typeOf(Integer), problem.TypeMismatch, "INTEGER"},
		{`5`, typeOf(Bool), problem.TypeMismatch, "BOOLEAN"},
		{`"x"`, listType(typeOf(Text)), problem.TypeMismatch, "array"},
		{`1.5`, typeOf(Integer), problem.InvalidValue, "digits after the point"},
		{`32768`, typeOf(SmallInt), problem.OutOfRange, "32768 is out of the range of SMALLINT"},
		{`1e400`, typeOf(Double), problem.OutOfRange, "DOUBLE"},
		{`1e999999999`, typeOf(BigInt), problem.OutOfRange, "BIGINT"},
		{`1e-400`, decimalType(38, 38), problem.InvalidValue, "digits"},
		{`12.345`, decimalType(10, 2), problem.InvalidValue, "digits after the point"},
		{`123456789.5`, decimalType(10, 2), problem.OutOfRange, "DECIMAL(10,2)"},
		{`"abc"`, typeOf(BigInt), problem.InvalidValue, `"abc" is not a valid BIGINT`},
		{`" 5"`, typeOf(BigInt), problem.InvalidValue, "BIGINT"},
		{`1767225600`, typeOf(TimestampTZ), problem.TypeMismatch, "epoch numbers are ambiguous"},
		{`"2026-01-01T12:00:00 Mars"`, typeOf(Timestamp), problem.InvalidValue, "YYYY-MM-DD"},
		{`"2026-01-01abc"`, typeOf(Date), problem.InvalidValue, "DATE"},
		{`"2026-02-30"`, typeOf(Date), problem.InvalidValue, "DATE"},
		{`"!"`, typeOf(Blob), problem.InvalidValue, "base64"},
		{`"x"`, typeOf(UUID), problem.InvalidValue, "UUID"},
		{`[1,"x"]`, listType(typeOf(Integer)), problem.InvalidValue, `"x"`},
		{`"` + strings.Repeat("é", 500) + `"`, typeOf(Date), problem.InvalidValue, "…"},
	} {
		_, err := FromJSON([]byte(c.raw), c.t)
		p := problem.As(err)
		if p == nil || p.Code != c.code || !strings.Contains(p.Message+" "+p.Hint, c.text) {
			t.Errorf("%s as %s: got %v, want %s with %q", c.raw, c.t, err, c.code, c.text)
		}
		if p != nil && len(p.Message) > 300 {
			t.Errorf("%s: the message has %d bytes", c.t, len(p.Message))
		}
	}
}

func FuzzValidJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e-3,"\u00e9\ud83d\ude00",null,true]}`, `[`, `"\ud800"`, "\"\x1f\"", `-0`, `1.`, `{"a":1,}`, " \t\n[ ] ", `nul`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := ValidJSON(s)
		// The standard library lets through lone surrogates and bytes that are not UTF-8.
		if want := json.Valid([]byte(s)); got && !want || !got && want && !strings.Contains(s, `\u`) && !bytes.Contains([]byte(strings.ToValidUTF8(s, "\ufffd")), []byte("\ufffd")) && strings.Count(s, "[")+strings.Count(s, "{") < maxJSONDepth {
			t.Fatalf("ValidJSON(%q) is %v", s, got)
		}
		if !got {
			return
		}
		compact := string(appendCompact(nil, s))
		if !ValidJSON(compact) || string(appendCompact(nil, compact)) != compact {
			t.Fatalf("%q compacts to %q", s, compact)
		}
	})
}

func FuzzFromJSON(f *testing.F) {
	for _, s := range []string{`5`, `"5"`, `1e99`, `[1,[2]]`, `"2026-01-01T00:00:00Z"`, `null`, `{"a":1}`, `"AAE="`} {
		for k := Bool; k <= List; k++ {
			f.Add([]byte(s), byte(k))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, k byte) {
		typ := typeOf(Kind(k))
		switch typ.Kind {
		case Decimal:
			typ = decimalType(12, 3)
		case List:
			typ = listType(typeOf(BigInt))
		}
		if !typ.Valid() {
			return
		}
		v, err := FromJSON(raw, typ)
		if err != nil {
			if problem.As(err) == nil {
				t.Fatalf("%v is no problem", err)
			}
			return
		}
		again, err := FromJSON(AppendJSON(nil, v), typ)
		if err != nil || Compare(v, again) != 0 {
			t.Fatalf("%q reads as %s, then as %s, %v", raw, v, again, err)
		}
	})
}
