package expr

import (
	"strings"
	"testing"

	"kalamlog.dev/kalam/internal/problem"
)

func col(name string) Node          { return Column{Name: name} }
func lit(v Value) Node              { return Literal{Value: v} }
func num(i int64) Node              { return lit(IntOf(Integer, i)) }
func str(s string) Node             { return lit(TextOf(s)) }
func null() Node                    { return Literal{} }
func bin(op string, l, r Node) Node { return Binary{Op: op, L: l, R: r} }
func call(name string, args ...Node) Node {
	return Call{Name: name, Args: args}
}

func ordersFields() []Field {
	return []Field{
		{"id", typeOf(BigInt)},
		{"name", typeOf(Text)},
		{"price", decimalType(10, 2)},
		{"at", typeOf(Timestamp)},
		{"open", typeOf(Bool)},
		{"data", typeOf(JSON)},
		{"tags", listType(typeOf(Text))},
		{"score", typeOf(Double)},
		{"day", typeOf(Date)},
		{"small", typeOf(SmallInt)},
	}
}

func ordersRow() Values {
	return Values{
		IntOf(BigInt, 42), TextOf("anna"), DecimalOf(0, 1250, 2), IntOf(Timestamp, 1577836800_000000),
		{},
		JSONOf(`{"a":{"b":[1,"x"]}}`),
		ListOf([]Value{TextOf("a"), {}, TextOf("b")}), FloatOf(Double, 0.5), IntOf(Date, 18262), IntOf(SmallInt, 7),
	}
}

func TestEval(t *testing.T) {
	for _, c := range []struct {
		n    Node
		want string // type and text
	}{
		{bin("=", col("id"), num(42)), "BOOLEAN true"},
		{bin("=", col("id"), str("42")), "BOOLEAN true"},
		{bin("<", col("id"), lit(decimalOf(pow10(30), 0))), "BOOLEAN true"},
		{bin("=", col("name"), null()), "BOOLEAN NULL"},
		{bin("IS NOT DISTINCT FROM", col("open"), null()), "BOOLEAN true"},
		{bin("=", col("at"), str("2020-01-01")), "BOOLEAN true"},
		{bin(">=", col("day"), str("2020-01-01")), "BOOLEAN true"},
		{bin("/", col("id"), num(4)), "DOUBLE 10.5"},
		{bin("//", col("id"), num(4)), "BIGINT 10"},
		{bin("%", col("id"), num(0)), "BIGINT NULL"},
		{bin("/", col("id"), num(0)), "DOUBLE inf"},
		{bin("+", col("price"), num(1)), "DECIMAL(13,2) 13.50"},
		{bin("*", col("price"), col("price")), "DECIMAL(18,4) 156.2500"},
		{bin("+", col("small"), num(1)), "SMALLINT 8"},
		{bin("+", col("small"), num(40000)), "INTEGER 40007"},
		{bin("-", col("day"), lit(IntOf(Date, 18261))), "BIGINT 1"},
		{bin("+", col("day"), num(1)), "DATE 2020-01-02"},
		{bin("||", col("name"), col("id")), "TEXT anna42"},
		{bin("LIKE", col("name"), str("a__a")), "BOOLEAN true"},
		{bin("ILIKE", col("name"), str("%NN%")), "BOOLEAN true"},
		{bin("NOT LIKE", col("name"), str("%")), "BOOLEAN false"},
		{bin("LIKE", col("name"), call("like_escape", str("!a%"), str("!"))), "BOOLEAN true"},
		{bin("->>", bin("->", col("data"), str("a")), str("$.b[1]")), "TEXT x"},
		{bin("->", col("data"), str("zz")), "JSON NULL"},
		{call("list_contains", col("tags"), str("b")), "BOOLEAN true"},
		{call("list_extract", col("tags"), num(-1)), "TEXT b"},
		{call("len", col("tags")), "BIGINT 3"},
		{call("coalesce", col("open"), lit(BoolOf(false))), "BOOLEAN false"},
		{call("nullif", col("id"), num(42)), "BIGINT NULL"},
		{call("greatest", col("id"), null(), num(100)), "BIGINT 100"},
		{call("sign", col("price")), "SMALLINT 1"},
		{call("round", col("price"), num(1)), "DECIMAL(10,1) 12.5"},
		{call("extract", str("year"), col("at")), "BIGINT 2020"},
		{call("date_trunc", str("month"), col("day")), "TIMESTAMP 2020-01-01 00:00:00"},
		{call("epoch_ms", col("at")), "BIGINT 1577836800000"},
		{call("upper", str("straße")), "TEXT STRAẞE"},
		{Case{Operand: col("name"), Whens: []When{{str("x"), num(1)}, {str("anna"), num(2)}}}, "INTEGER 2"},
		{Cast{X: str("x"), Type: typeOf(Integer), Try: true}, "INTEGER NULL"},
		{Cast{X: col("score"), Type: decimalType(3, 1)}, "DECIMAL(3,1) 0.5"},
		{In{X: col("id"), List: []Node{num(1), null()}}, "BOOLEAN NULL"},
		{In{X: col("name"), List: []Node{str("a"), str("b"), str("c"), str("d"), str("e"), str("f"), str("g"), str("h"), str("anna")}, Not: true}, "BOOLEAN false"},
		{Between{X: col("id"), Low: num(1), High: num(41), Not: true}, "BOOLEAN true"},
		{Array{Elems: []Node{num(1), lit(DecimalOf(0, 25, 1))}}, "DECIMAL(11,1)[] [1.0, 2.5]"},
		{lit(decimalOf(pow10(20), 0)), "DECIMAL(38,0) 100000000000000000000"},
		{null(), "NULL NULL"},
	} {
		p, err := Compile(c.n, ordersFields())
		if err != nil {
			t.Errorf("%s: %v", SQL(c.n), err)
			continue
		}
		v, err := p.Eval(ordersRow())
		if got := p.Type().String() + " " + v.String(); err != nil || got != c.want {
			t.Errorf("%s: got %s, %v, want %s", SQL(c.n), got, err, c.want)
		}
	}
}

func TestThreeValuedLogic(t *testing.T) {
	values := map[string]Value{"true": BoolOf(true), "false": BoolOf(false), "NULL": {}}
	fields := []Field{{"a", typeOf(Bool)}, {"b", typeOf(Bool)}}
	for _, c := range []struct{ a, b, and, or string }{
		{"true", "true", "true", "true"},
		{"true", "false", "false", "true"},
		{"true", "NULL", "NULL", "true"},
		{"false", "true", "false", "true"},
		{"false", "false", "false", "false"},
		{"false", "NULL", "false", "NULL"},
		{"NULL", "true", "NULL", "true"},
		{"NULL", "false", "false", "NULL"},
		{"NULL", "NULL", "NULL", "NULL"},
	} {
		for op, want := range map[string]string{"AND": c.and, "OR": c.or} {
			for _, n := range []Node{
				bin(op, col("a"), col("b")), bin(op, lit(values[c.a]), col("b")), bin(op, col("a"), lit(values[c.b])),
				bin(op, lit(values[c.a]), lit(values[c.b])),
			} {
				p, err := Compile(n, fields)
				if err != nil {
					t.Fatal(err)
				}
				row := Values{values[c.a], values[c.b]}
				if v, err := p.Eval(row); err != nil || v.String() != want {
					t.Errorf("%s %s %s as %s: got %s, want %s", c.a, op, c.b, SQL(n), v, want)
				}
				f, err := CompileFilter(n, fields)
				if err != nil {
					t.Fatal(err)
				}
				if ok, err := f.Match(row); err != nil || ok != (want == "true") {
					t.Errorf("WHERE %s on %s, %s: got %v", SQL(n), c.a, c.b, ok)
				}
			}
		}
	}
}

// spyRow records which columns are read.
type spyRow struct {
	Values
	read map[int]bool
}

func (r spyRow) Column(i int) Value {
	r.read[i] = true
	return r.Values[i]
}

func TestColumnsAreReadLazily(t *testing.T) {
	isAnna, overflows := bin("=", col("name"), str("anna")), bin("=", bin("*", col("id"), num(9223372036854775807)), num(1))
	for _, c := range []struct {
		n    Node
		want []int
	}{
		{bin("AND", Unary{Op: "NOT", X: isAnna}, overflows), []int{1}},
		{bin("OR", isAnna, overflows), []int{1}},
		{bin("AND", bin("=", col("open"), lit(BoolOf(true))), overflows), []int{4}},
		{Case{Whens: []When{{isAnna, lit(BoolOf(true))}}, Else: overflows}, []int{1}},
		{call("coalesce", isAnna, overflows), []int{1}},
	} {
		p, err := CompileFilter(c.n, ordersFields())
		if err != nil {
			t.Fatal(err)
		}
		row := spyRow{ordersRow(), map[int]bool{}}
		if _, err := p.Match(row); err != nil {
			t.Errorf("%s: %v", SQL(c.n), err)
		}
		if len(row.read) != len(c.want) || !row.read[c.want[0]] {
			t.Errorf("%s: read %v, want %v", SQL(c.n), row.read, c.want)
		}
		if len(p.Columns()) < len(c.want) {
			t.Errorf("%s: Columns is %v", SQL(c.n), p.Columns())
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	deep := col("open")
	for range maxDepth + 1 {
		deep = Unary{Op: "NOT", X: deep}
	}
	for _, c := range []struct {
		n    Node
		code problem.Code
		text string // in the message or hint
	}{
		{col("nmae"), problem.UnknownColumn, `did you mean "name"?`},
		{col("unheard"), problem.UnknownColumn, `column "unheard" does not exist`},
		{call("uper", col("name")), problem.UnknownFunction, "did you mean upper?"},
		{call("now"), problem.UnknownFunction, "function now"},
		{bin("@>", col("tags"), col("tags")), problem.UnknownFunction, "operator @>"},
		{bin("<", col("name"), num(1)), problem.TypeMismatch, "cannot compare TEXT with INTEGER"},
		{bin("=", col("id"), str("abc")), problem.InvalidValue, `"abc" is not a valid BIGINT`},
		{bin("=", col("day"), str("2026-13-01")), problem.InvalidValue, "YYYY-MM-DD"},
		{bin("=", col("day"), col("open")), problem.TypeMismatch, "BOOLEAN"},
		{bin("+", col("name"), num(1)), problem.TypeMismatch, "no operator +"},
		{bin("+", col("open"), num(1)), problem.TypeMismatch, "no operator +"},
		{bin("-", col("at"), col("at")), problem.Unsupported, "TIMESTAMP - TIMESTAMP"},
		{Unary{Op: "NOT", X: col("name")}, "", ""},
		{Unary{Op: "-", X: col("name")}, problem.TypeMismatch, "no operator -"},
		{bin("->", col("data"), col("name")), problem.Unsupported, "constant key or path"},
		{bin("->", col("data"), str("$.a[*]")), problem.Unsupported, "wildcards"},
		{call("lower", col("id")), problem.TypeMismatch, "no function lower(BIGINT)"},
		{call("date_part", col("name"), col("day")), problem.Unsupported, "constant"},
		{call("date_part", str("fortnight"), col("day")), problem.InvalidValue, "fortnight"},
		{Cast{X: col("day"), Type: typeOf(Integer)}, problem.TypeMismatch, "cannot cast DATE to INTEGER"},
		{Cast{X: col("day"), Type: Type{Kind: Decimal}}, problem.Unsupported, "cannot cast to"},
		{Param{Number: 1}, problem.BadRequest, "$1"},
		{In{X: col("id")}, problem.SyntaxError, "at least one"},
		{deep, problem.Unsupported, "nested"},
		{nil, problem.Unsupported, "not supported"},
	} {
		_, err := Compile(c.n, ordersFields())
		if c.code == "" {
			if err != nil {
				t.Errorf("%s: %v", SQL(c.n), err)
			}
			continue
		}
		p := problem.As(err)
		if p == nil || p.Code != c.code || !strings.Contains(p.Message+" "+p.Hint, c.text) {
			t.Errorf("%v: got %v, want %s with %q", c.n, err, c.code, c.text)
		}
	}
}

func TestEvalFails(t *testing.T) {
	for _, c := range []struct {
		n    Node
		code problem.Code
		text string
	}{
		{bin("+", col("id"), num(9223372036854775807)), problem.OutOfRange, "42 + 9223372036854775807 is out of the range of BIGINT"},
		{bin("*", col("small"), num(32000)), problem.OutOfRange, "SMALLINT"},
		{Cast{X: col("name"), Type: typeOf(Integer)}, problem.InvalidValue, `"anna" is not a valid INTEGER`},
		{Cast{X: col("id"), Type: decimalType(2, 1)}, problem.OutOfRange, "42 is out of the range of DECIMAL(2,1)"},
		{call("sqrt", Unary{Op: "-", X: col("id")}), problem.OutOfRange, "square root"},
	} {
		p, err := Compile(c.n, ordersFields())
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Eval(ordersRow())
		if e := problem.As(err); e == nil || e.Code != c.code || !strings.Contains(e.Message, c.text) {
			t.Errorf("%s: got %v, want %s with %q", SQL(c.n), err, c.code, c.text)
		}
	}
}

func TestBind(t *testing.T) {
	n := bin("AND", bin("=", col("id"), Param{Number: 2}), In{X: col("name"), List: []Node{Param{Number: 1}}})
	bound, err := Bind(n, []Value{TextOf("anna"), IntOf(BigInt, 42)})
	if err != nil {
		t.Fatal(err)
	}
	p, err := CompileFilter(bound, ordersFields())
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := p.Match(ordersRow()); !ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
	if _, err := Bind(n, []Value{TextOf("anna")}); !problem.Is(err, problem.BadRequest) {
		t.Errorf("a missing parameter: got %v", err)
	}
	if SQL(n) != `(("id" = $2) AND ("name" IN ($1)))` {
		t.Errorf("Bind changed its argument: %s", SQL(n))
	}
}

func TestCompileFilterCasts(t *testing.T) {
	for _, c := range []struct {
		n    Node
		want bool
	}{{num(1), true}, {num(0), false}, {null(), false}, {str("true"), true}, {col("id"), true}} {
		p, err := CompileFilter(c.n, ordersFields())
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := p.Match(ordersRow()); err != nil || ok != c.want {
			t.Errorf("WHERE %s: got %v, %v", SQL(c.n), ok, err)
		}
	}
}

func TestColumnNamesIgnoreCase(t *testing.T) {
	fields := []Field{{"Id", typeOf(Integer)}, {"id", typeOf(Text)}}
	for name, want := range map[string]string{"Id": "INTEGER", "id": "TEXT", "ID": "INTEGER"} {
		p, err := Compile(col(name), fields)
		if err != nil || p.Type().String() != want {
			t.Errorf("%s: got %v, %v, want %s", name, p.Type(), err, want)
		}
	}
}
