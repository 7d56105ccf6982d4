package parse

import "kalamlog.dev/kalam/query/expr"

// Statement is one of the types of this file.
type Statement interface{ statement() }

// TableName is a possibly qualified name, folded as PostgreSQL does. Namespace is empty if it was not given.
type TableName struct {
	Namespace, Name string
	Position        int // 1-based character in the statement, 0 if unknown
}

// String returns the name as it was qualified.
func (t TableName) String() string {
	if t.Namespace == "" {
		return t.Name
	}
	return t.Namespace + "." + t.Name
}

// CreateSchema is CREATE SCHEMA [IF NOT EXISTS] Name.
type CreateSchema struct {
	Name        string
	IfNotExists bool
}

// DropSchema is DROP SCHEMA [IF EXISTS] Name [CASCADE].
type DropSchema struct {
	Name     string
	IfExists bool
	Cascade  bool
}

// CreateTable is CREATE TABLE. Key holds the primary key's columns in key order, from either spelling.
type CreateTable struct {
	Table       TableName
	IfNotExists bool
	Columns     []ColumnDef
	Key         []string
	Options     []Option // WITH (name = value)
}

// ColumnDef is one column of a CreateTable.
type ColumnDef struct {
	Name     string
	Type     expr.Type
	NotNull  bool
	Default  expr.Node // nil: none
	Position int
}

// Option is one name = value of a WITH clause, the value as text.
type Option struct{ Name, Value string }

// DropTable is DROP TABLE [IF EXISTS] Table.
type DropTable struct {
	Table    TableName
	IfExists bool
}

// Insert is INSERT INTO Table [(Columns)] VALUES ... A row may be shorter than the columns when Columns is empty;
// the missing ones take their defaults. A nil Node stands for DEFAULT.
type Insert struct {
	Table           TableName
	Columns         []string // empty: the visible ones in order
	ColumnPositions []int    // of Columns
	Rows            [][]expr.Node
	Select          string // the query's text of INSERT ... SELECT, else empty
	OnConflict      ConflictAction
	ConflictKey     []string  // ON CONFLICT (...), empty if not given
	Update          []Set     // of ConflictUpdate; excluded.x is Column{"excluded.x"}
	UpdateWhere     expr.Node // of ConflictUpdate, nil: always
	Returning       []SelectItem
}

// ConflictAction says what an Insert does with a key that exists.
type ConflictAction int

// The conflict actions: refuse, leave the row, change the row.
const (
	ConflictError ConflictAction = iota
	ConflictNothing
	ConflictUpdate
)

// Set is one column = value. A nil Value stands for DEFAULT.
type Set struct {
	Column   string
	Value    expr.Node
	Position int
}

// Update is UPDATE Table SET ... [WHERE]. A nil Where means all rows.
type Update struct {
	Table     TableName
	Set       []Set
	Where     expr.Node
	Returning []SelectItem
}

// Delete is DELETE FROM Table [WHERE]. A nil Where means all rows.
type Delete struct {
	Table     TableName
	Where     expr.Node
	Returning []SelectItem
}

// SelectItem is one output of a simple select list. Star stands for all visible columns.
type SelectItem struct {
	Star  bool
	Expr  expr.Node
	Alias string
}

// Select is any query. Simple is set when it is SELECT items FROM one table [WHERE expr] [LIMIT n] in the grammar of
// expr: the shape that live queries and the key fast path understand; otherwise WhyNot says what is beyond it.
type Select struct {
	Text   string
	Simple *SimpleSelect
	WhyNot string
}

// SimpleSelect is the shape of a simple query.
type SimpleSelect struct {
	Items   []SelectItem
	Table   TableName
	Where   expr.Node // nil: all
	Limit   int64     // -1: none
	OrderBy bool      // has ORDER BY (then it is not for live queries)
}

// FlushTable is FLUSH TABLE Table.
type FlushTable struct{ Table TableName }

// KillJob is KILL JOB 'ID'.
type KillJob struct{ ID string }

// KillLiveQuery is KILL LIVE QUERY 'ID'.
type KillLiveQuery struct{ ID string }

// Subscribe is SUBSCRIBE TO Select.
type Subscribe struct{ Select Select }

// Show is SHOW What [FROM Namespace]. What is "tables" or "schemas".
type Show struct{ What, Namespace string }

// Describe is DESCRIBE Table.
type Describe struct{ Table TableName }

// Explain is EXPLAIN [ANALYZE] Of.
type Explain struct {
	Analyze bool
	Of      Statement
}

func (CreateSchema) statement()  {}
func (DropSchema) statement()    {}
func (CreateTable) statement()   {}
func (DropTable) statement()     {}
func (Insert) statement()        {}
func (Update) statement()        {}
func (Delete) statement()        {}
func (Select) statement()        {}
func (FlushTable) statement()    {}
func (KillJob) statement()       {}
func (KillLiveQuery) statement() {}
func (Subscribe) statement()     {}
func (Show) statement()          {}
func (Describe) statement()      {}
func (Explain) statement()       {}

// Parsed is a statement with its text and place in the batch.
type Parsed struct {
	Statement Statement
	Text      string
	Offset    int // 0-based byte of Text in the batch
	Params    int // highest $n
}
