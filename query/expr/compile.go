package expr

import (
	"slices"
	"strings"

	"kalamlog.dev/kalam/internal/problem"
)

// Field is a column that an expression may name.
type Field struct {
	Name string
	Type Type
}

// Row gives the columns of one row by their place in the fields given to Compile. Column must be cheap: it is called
// only for the columns an expression needs. The value must be NULL or of the field's type.
type Row interface{ Column(i int) Value }

// Values is a Row held as a slice.
type Values []Value

// Column returns the i-th value.
func (v Values) Column(i int) Value { return v[i] }

// evalFn computes an operand for one row.
type evalFn func(Row) (Value, error)

// Program is a compiled expression, safe for concurrent use.
type Program struct {
	typ     Type
	eval    evalFn
	columns []int
}

// Type returns the type of the result; its kind is Null if the expression is always NULL.
func (p *Program) Type() Type { return p.typ }

// Columns returns the places of the fields it may read, ascending.
func (p *Program) Columns() []int { return p.columns }

// Eval computes the expression. The error is a *problem.Error (OutOfRange, InvalidValue).
func (p *Program) Eval(row Row) (Value, error) { return p.eval(row) }

// Match evaluates a program of type Bool as WHERE does: NULL is false.
func (p *Program) Match(row Row) (bool, error) {
	v, err := p.eval(row)
	return v.kind == Bool && v.lo != 0, err
}

// Bind replaces $n by params[n-1]. The error is a *problem.Error if there are fewer params.
func Bind(n Node, params []Value) (Node, error) {
	var failed error
	bound := rewrite(n, func(n Node) Node {
		p, ok := n.(Param)
		if !ok {
			return n
		}
		if p.Number < 1 || p.Number > len(params) {
			failed = problem.New(problem.BadRequest, "parameter $%d is not given", p.Number).
				WithHint("the statement has %d params", len(params))
			return n
		}
		return Literal{Value: params[p.Number-1]}
	})
	if failed != nil {
		return nil, failed
	}
	return bound, nil
}

// Compile resolves names, checks types and folds constants. What it cannot evaluate exactly as DuckDB does it refuses
// with a *problem.Error (UnknownColumn with a did-you-mean hint, UnknownFunction, TypeMismatch, InvalidValue,
// Unsupported). AND, OR, CASE and COALESCE evaluate no more operands than they need, left to right.
func Compile(n Node, fields []Field) (*Program, error) { return compile(n, fields, false) }

// CompileFilter is Compile for a WHERE clause: the result is cast to Bool, as DuckDB does.
func CompileFilter(n Node, fields []Field) (*Program, error) { return compile(n, fields, true) }

func compile(n Node, fields []Field, filter bool) (*Program, error) {
	c := compiler{fields: fields}
	var x operand
	var err error
	if filter {
		x, err = c.bindFilter(n)
	} else {
		x, err = c.bind(n)
	}
	if err == nil {
		x, err = c.public(x)
	}
	if err != nil {
		return nil, err
	}
	slices.Sort(c.columns)
	return &Program{typ: x.typ, eval: x.run(), columns: c.columns}, nil
}

// compiler binds one expression.
type compiler struct {
	fields  []Field
	columns []int // used so far
	depth   int
}

// operand is a bound expression: typed, its casts explicit.
type operand struct {
	typ      Type
	eval     evalFn // nil for a constant
	val      Value  // of a constant
	literal  bool   // a constant as written, which adapts to the type beside it
	constant bool
	partial  bool // a constant that other operands, not constant, did not matter to
	column   int  // its place, or -1 if it is not a plain column
}

func constantOf(v Value, t Type) operand {
	return operand{typ: t, val: v, constant: true, column: -1}
}

// folded is a constant computed of constants.
func folded(v Value, t Type, of ...operand) operand {
	x := constantOf(v, t)
	for _, y := range of {
		x.partial = x.partial || y.partial
	}
	return x
}

func computed(t Type, eval evalFn) operand { return operand{typ: t, eval: eval, column: -1} }

// run returns the function that computes x.
func (x operand) run() evalFn {
	if x.constant {
		v := x.val
		return func(Row) (Value, error) { return v, nil }
	}
	return x.eval
}

// static is x's type as overload resolution sees it.
func (x operand) static() staticType {
	s := staticType{Type: x.typ}
	if !x.literal {
		return s
	}
	switch k := x.typ.Kind; {
	case k == Text:
		s.lit = stringLit
	case x.val.kind == Null:
	case k == hugeInt:
		s.lit, s.val = intLit, x.val.int128()
	case isInteger(k):
		s.lit, s.val = intLit, int128Of(int64(x.val.lo))
	}
	return s
}

// public turns kinds that only intermediate results have into kinds that columns have.
func (c *compiler) public(x operand) (operand, error) {
	switch x.typ.Kind {
	case tinyInt:
		return c.castTo(x, typeOf(SmallInt))
	case hugeInt:
		return c.castTo(x, decimalType(maxPrecision, 0))
	case interval:
		return operand{}, problem.New(problem.Unsupported, "an interval has no use here").WithHint("add it to a date or time")
	case List:
		if x.typ.Elem != nil && (x.typ.Elem.Kind == tinyInt || x.typ.Elem.Kind == hugeInt) {
			return operand{}, problem.New(problem.Unsupported, "lists of %s are not supported", x.typ.Elem)
		}
	}
	return x, nil
}

func (c *compiler) bind(n Node) (operand, error) {
	if c.depth++; c.depth > maxDepth {
		return operand{}, tooDeep()
	}
	defer func() { c.depth-- }()
	switch n := n.(type) {
	case Literal:
		return c.bindLiteral(n)
	case Column:
		return c.bindColumn(n)
	case Param:
		return operand{}, problem.New(problem.BadRequest, "parameter $%d is not given", n.Number)
	case Unary:
		return c.bindUnary(n)
	case Binary:
		return c.bindBinary(n)
	case In:
		return c.bindIn(n)
	case Between:
		return c.bindBetween(n)
	case Case:
		return c.bindCase(n)
	case Cast:
		return c.bindCast(n)
	case Call:
		return c.bindCall(n)
	case Array:
		return c.bindArray(n)
	}
	return operand{}, problem.New(problem.Unsupported, "this kind of expression is not supported")
}

func (c *compiler) bindAll(ns []Node) ([]operand, error) {
	xs := make([]operand, len(ns))
	for i, n := range ns {
		var err error
		if xs[i], err = c.bind(n); err != nil {
			return nil, err
		}
	}
	return xs, nil
}

func (c *compiler) bindTwo(l, r Node) (a, b operand, err error) {
	if a, err = c.bind(l); err == nil {
		b, err = c.bind(r)
	}
	return a, b, err
}

// bindLiteral types a constant as DuckDB types its SQL text: whole numbers are INTEGER, BIGINT or beyond, and 0.5 is
// DECIMAL(2,1).
func (c *compiler) bindLiteral(n Literal) (operand, error) {
	v := n.Value
	t := TypeOf(v)
	switch {
	case isInteger(v.kind):
		v = integerLiteral(int128Of(int64(v.lo)))
		t = typeOf(v.kind)
	case v.kind == Decimal && wholeLiteral(v):
		v, t = hugeOf(v.int128()), typeOf(hugeInt)
	case v.kind == Decimal && t.Precision == t.Scale && t.Precision < maxPrecision:
		t.Precision++
	}
	x := constantOf(v, t)
	x.literal = true
	return x, nil
}

func (c *compiler) bindColumn(n Column) (operand, error) {
	i := c.find(n.Name)
	if i < 0 {
		return operand{}, c.unknownColumn(n.Name)
	}
	if !slices.Contains(c.columns, i) {
		c.columns = append(c.columns, i)
	}
	x := computed(c.fields[i].Type, func(row Row) (Value, error) { return row.Column(i), nil })
	x.column = i
	return x, nil
}

// find looks for a field by its exact name, then ignoring case as DuckDB does.
func (c *compiler) find(name string) int {
	for i := range c.fields {
		if c.fields[i].Name == name {
			return i
		}
	}
	for i := range c.fields {
		if strings.EqualFold(c.fields[i].Name, name) {
			return i
		}
	}
	return -1
}

func (c *compiler) unknownColumn(name string) error {
	p := problem.New(problem.UnknownColumn, "column %q does not exist", shorten(name))
	names := make([]string, len(c.fields))
	for i, f := range c.fields {
		names[i] = f.Name
	}
	if near := nearest(name, names); near != "" {
		return p.WithHint("did you mean %q?", near)
	}
	return p
}

func (c *compiler) bindCast(n Cast) (operand, error) {
	if !n.Type.Valid() {
		return operand{}, problem.New(problem.Unsupported, "cannot cast to %s", n.Type)
	}
	x, err := c.bind(n.X)
	if err != nil {
		return operand{}, err
	}
	err = castable(x.typ, n.Type)
	switch from, to := x.typ, n.Type; {
	case problem.Is(err, problem.TypeMismatch) && n.Try:
		return fold1(x, to, func(Value) (Value, error) { return Value{}, nil }), nil
	case err != nil:
		return operand{}, err
	case n.Try:
		return fold1(x, to, func(v Value) (Value, error) { return tryCast(v, from, to), nil }), nil
	}
	return c.convert(x, n.Type), nil
}

// castTo adds an implicit cast. A literal is cast now, and its failure is the caller's error.
func (c *compiler) castTo(x operand, to Type) (operand, error) {
	if err := castable(x.typ, to); err != nil {
		return operand{}, err
	}
	if !x.literal {
		return c.convert(x, to), nil
	}
	v, err := cast(x.val, x.typ, to)
	if err != nil {
		return operand{}, err
	}
	return folded(v, to, x), nil
}

// convert adds a cast that is known to exist.
func (c *compiler) convert(x operand, to Type) operand {
	from := x.typ
	if from.Equal(to) {
		x.literal = false
		return x
	}
	return fold1(x, to, func(v Value) (Value, error) { return cast(v, from, to) })
}

func (c *compiler) castAll(xs []operand, to Type) error {
	for i := range xs {
		var err error
		if xs[i], err = c.castTo(xs[i], to); err != nil {
			return err
		}
	}
	return nil
}
