package parse

import "kalamlog.dev/kalam/query/expr"

// This file holds the agreed signatures until their real files exist; it is deleted by whoever implements them.

// Statement is one of the types below.
type Statement interface{ statement() }

// TableName is a possibly qualified name, folded as PostgreSQL does. Namespace is empty if not given.
type TableName struct {
	Namespace, Name string
	Position        int // 1-based character in the statement
}

type CreateSchema struct {
	Name        string
	IfNotExists bool
}

type DropSchema struct {
	Name     string
	IfExists bool
	Cascade  bool
}

type CreateTable struct {
	Table       TableName
	IfNotExists bool
	Columns     []ColumnDef
	Key         []string
	Options     []Option // WITH (name = value)
}

type ColumnDef struct {
	Name     string
	Type     expr.Type
	NotNull  bool
	Default  expr.Node // nil: none
	Position int
}

type Option struct{ Name, Value string }

type DropTable struct {
	Table    TableName
	IfExists bool
}

type Insert struct {
	Table      TableName
	Columns    []string      // empty: all visible
	Rows       [][]expr.Node // nil for DEFAULT in place of a value: a nil Node
	Select     string        // INSERT ... SELECT: the query's text (refused until built)
	OnConflict ConflictAction
	Update     []Set // ON CONFLICT DO UPDATE (excluded.x is Column{"excluded.x"})
	Returning  []SelectItem
}

type ConflictAction int

const (
	ConflictError ConflictAction = iota
	ConflictNothing
	ConflictUpdate
)

type Set struct {
	Column string
	Value  expr.Node
}

type Update struct {
	Table     TableName
	Set       []Set
	Where     expr.Node // nil: all rows
	Returning []SelectItem
}

type Delete struct {
	Table     TableName
	Where     expr.Node
	Returning []SelectItem
}

// SelectItem is one output of a simple select list. Star: all visible columns.
type SelectItem struct {
	Star  bool
	Expr  expr.Node
	Alias string
}

// Select is any query. Simple is set when it is SELECT items FROM one table [WHERE expr] [LIMIT n] in the grammar of expr: the shape that live queries and the key
// fast path understand; otherwise WhyNot says what is beyond it.
type Select struct {
	Text   string
	Simple *SimpleSelect
	WhyNot string
}

type SimpleSelect struct {
	Items   []SelectItem
	Table   TableName
	Where   expr.Node // nil: all
	Limit   int64     // -1: none
	OrderBy bool      // has ORDER BY (then not for live queries)
}

type FlushTable struct{ Table TableName }
type KillJob struct{ ID string }
type KillLiveQuery struct{ ID string }
type Subscribe struct{ Select Select }
type Show struct{ What string } // "tables", "schemas", ...
type Describe struct{ Table TableName }
type Explain struct {
	Analyze bool
	Of      Statement
}

// Parsed is a statement with its text and place in the batch.
type Parsed struct {
	Statement Statement
	Text      string
	Offset    int // 0-based byte of Text in the batch
	Params    int // highest $n
}

// Batch splits and parses a batch of statements. A *problem.Error SyntaxError carries the 1-based character position in its statement and the statement's number.
func Batch(sql string) ([]Parsed, error) { panic("todo") }

// Expr parses one expression.
func Expr(sql string) (expr.Node, error) { panic("todo") }
