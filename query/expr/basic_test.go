package expr

import (
	"testing"
)

func lit(v Value) Node              { return Literal{Value: v} }
func col(n string) Node             { return Column{Name: n} }
func num(i int64) Node              { return lit(IntOf(Integer, i)) }
func str(s string) Node             { return lit(TextOf(s)) }
func bin(op string, l, r Node) Node { return Binary{Op: op, L: l, R: r} }

func TestMatch(t *testing.T) {
	fields := []Field{{"id", typeOf(BigInt)}, {"name", typeOf(Text)}, {"price", decimalType(10, 2)}, {"at", typeOf(Timestamp)}}
	row := Values{IntOf(BigInt, 42), TextOf("anna"), DecimalOf(0, 1250, 2), IntOf(Timestamp, 0)}
	for _, c := range []struct {
		n    Node
		want bool
	}{
		{bin("=", col("id"), num(42)), true},
		{bin("=", col("id"), str("42")), true},
		{bin("LIKE", col("name"), str("a%")), true},
		{bin(">", col("price"), lit(DecimalOf(0, 124, 1))), true},
		{bin("<", bin("+", col("price"), num(1)), num(13)), false},
		{bin("=", col("at"), str("1970-01-01")), true},
		{In{X: col("name"), List: []Node{str("x"), lit(Value{})}}, false},
		{Between{X: col("id"), Low: num(1), High: num(50)}, true},
		{bin("AND", bin("=", col("name"), lit(Value{})), num(1)), false},
		{bin("=", bin("/", col("id"), num(4)), lit(DecimalOf(0, 105, 1))), true},
	} {
		p, err := CompileFilter(c.n, fields)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Match(row)
		if err != nil || got != c.want {
			t.Errorf("%v: got %v, %v", c.n, got, err)
		}
	}
}
