package expr

import "testing"

// typicalFilter is status = 'open' AND amount > 100 AND (region IN ('eu', 'us') OR priority >= 3) AND name LIKE 'a%'.
func typicalFilter() (Node, []Field, Values) {
	text := func(s string) Node { return Literal{Value: TextOf(s)} }
	number := func(i int64) Node { return Literal{Value: IntOf(Integer, i)} }
	n := Binary{
		Op: "AND",
		L: Binary{
			Op: "AND",
			L: Binary{
				Op: "AND",
				L:  Binary{Op: "=", L: Column{Name: "status"}, R: text("open")},
				R:  Binary{Op: ">", L: Column{Name: "amount"}, R: number(100)},
			},
			R: Binary{
				Op: "OR",
				L:  In{X: Column{Name: "region"}, List: []Node{text("eu"), text("us")}},
				R:  Binary{Op: ">=", L: Column{Name: "priority"}, R: number(3)},
			},
		},
		R: Binary{Op: "LIKE", L: Column{Name: "name"}, R: text("a%")},
	}
	fields := []Field{
		{"id", typeOf(BigInt)},
		{"status", typeOf(Text)},
		{"amount", decimalType(12, 2)},
		{"region", typeOf(Text)},
		{"priority", typeOf(Integer)},
		{"name", typeOf(Text)},
		{"at", typeOf(TimestampTZ)},
	}
	row := Values{IntOf(BigInt, 7), TextOf("open"), DecimalOf(0, 12_345_67, 2), TextOf("us"), IntOf(Integer, 1), TextOf("anna"), IntOf(TimestampTZ, 0)}
	return n, fields, row
}

func BenchmarkMatchTypical(b *testing.B) {
	n, fields, row := typicalFilter()
	p, err := CompileFilter(n, fields)
	if err != nil {
		b.Fatal(err)
	}
	var r Row = row
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := p.Match(r); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkMatchEquality(b *testing.B) {
	p, err := CompileFilter(Binary{Op: "=", L: Column{Name: "id"}, R: Literal{Value: IntOf(Integer, 7)}}, []Field{{"id", typeOf(BigInt)}})
	if err != nil {
		b.Fatal(err)
	}
	row := Row(Values{IntOf(BigInt, 7)})
	b.ReportAllocs()
	for b.Loop() {
		if ok, _ := p.Match(row); !ok {
			b.Fatal(ok)
		}
	}
}

func BenchmarkMatchArithmetic(b *testing.B) {
	n := Binary{Op: ">", L: Binary{Op: "*", L: Column{Name: "price"}, R: Column{Name: "quantity"}}, R: Literal{Value: IntOf(Integer, 1000)}}
	p, err := CompileFilter(n, []Field{{"price", decimalType(10, 2)}, {"quantity", typeOf(Integer)}})
	if err != nil {
		b.Fatal(err)
	}
	row := Row(Values{DecimalOf(0, 999_99, 2), IntOf(Integer, 12)})
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := p.Match(row); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkCompileTypical(b *testing.B) {
	n, fields, _ := typicalFilter()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CompileFilter(n, fields); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompileEquality(b *testing.B) {
	n, fields := Binary{Op: "=", L: Column{Name: "id"}, R: Literal{Value: IntOf(Integer, 7)}}, []Field{{"id", typeOf(BigInt)}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CompileFilter(n, fields); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeDecode(b *testing.B) {
	n, _, _ := typicalFilter()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(Encode(n)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFromJSON(b *testing.B) {
	for _, c := range []struct {
		name, raw string
		t         Type
	}{
		{"text", `"hello world"`, typeOf(Text)},
		{"bigint", `1234567890123`, typeOf(BigInt)},
		{"decimal", `"12345.67"`, decimalType(12, 2)},
		{"timestamptz", `"2026-01-01T12:34:56.789Z"`, typeOf(TimestampTZ)},
		{"json", `{"a":1,"b":[1,2,3]}`, typeOf(JSON)},
	} {
		raw := []byte(c.raw)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := FromJSON(raw, c.t); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
