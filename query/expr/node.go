package expr

// Node is an expression tree as parsed: names not resolved, types not checked. query/parse builds it from SQL text;
// Encode and Decode carry it in mutations; Compile makes it executable. Nodes are immutable after they are built.
type Node interface{ node() }

// Literal is a constant. An untyped SQL string literal is a Text value; Compile coerces it to the other operand's
// type as DuckDB does ('2026-01-01' beside a DATE is a date).
type Literal struct{ Value Value }

// Column names a column of the row. Name is already folded to lower case unless it was quoted.
type Column struct{ Name string }

// Param is $Number, 1-based. Bind replaces parameters before Compile.
type Param struct{ Number int }

// Unary is an operator with one operand: "-", "+", "NOT", "IS NULL", "IS NOT NULL", "IS TRUE", "IS NOT TRUE",
// "IS FALSE", "IS NOT FALSE".
type Unary struct {
	Op string
	X  Node
}

// Binary is an operator with two operands: + - * / // % ||, = <> < <= > >=, AND OR, "IS DISTINCT FROM",
// "IS NOT DISTINCT FROM", "LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE", -> ->> (JSON).
type Binary struct {
	Op   string
	L, R Node
}

// In is X [NOT] IN (List...).
type In struct {
	X    Node
	List []Node
	Not  bool
}

// Between is X [NOT] BETWEEN Low AND High.
type Between struct {
	X, Low, High Node
	Not          bool
}

// Case is CASE [Operand] WHEN ... THEN ... [ELSE ...] END. Operand and Else may be nil.
type Case struct {
	Operand Node
	Whens   []When
	Else    Node
}

// When is one arm of a Case.
type When struct{ Cond, Then Node }

// Cast is CAST(X AS Type), or TRY_CAST if Try.
type Cast struct {
	X    Node
	Type Type
	Try  bool
}

// Call is a function call. Name is lower case. COALESCE and NULLIF are calls, INTERVAL '1 day' is interval('1 day'), and
// the pattern of LIKE p ESCAPE e is like_escape(p, e).
type Call struct {
	Name string
	Args []Node
}

// Array is a list constructor, [a, b] or ARRAY[a, b].
type Array struct{ Elems []Node }

func (Literal) node() {}
func (Column) node()  {}
func (Param) node()   {}
func (Unary) node()   {}
func (Binary) node()  {}
func (In) node()      {}
func (Between) node() {}
func (Case) node()    {}
func (Cast) node()    {}
func (Call) node()    {}
func (Array) node()   {}
