package parse

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

// translator turns PostgreSQL's parse tree of one piece into statements and expressions.
type translator struct {
	Piece
	tables []string // names that may qualify a column: the table, its alias, "excluded"
	schema string   // namespace that may qualify the first of tables
}

// at returns the character position of a location in the parse tree, 0 if it has none.
func (t *translator) at(location int32) int {
	if location < 0 {
		return 0
	}
	return charPosition(t.text, int(location))
}

func (t *translator) unsupported(location int32, format string, args ...any) *problem.Error {
	return problem.New(problem.Unsupported, format, args...).At(t.at(location))
}

// statement translates DDL and DML.
func (t *translator) statement(n *pg.Node) (Statement, error) {
	switch s := n.GetNode().(type) {
	case *pg.Node_CreateSchemaStmt:
		return t.createSchema(s.CreateSchemaStmt)
	case *pg.Node_CreateStmt:
		return t.createTable(s.CreateStmt)
	case *pg.Node_DropStmt:
		return t.drop(s.DropStmt)
	case *pg.Node_InsertStmt:
		return t.insert(s.InsertStmt)
	case *pg.Node_UpdateStmt:
		return t.update(s.UpdateStmt)
	case *pg.Node_DeleteStmt:
		return t.delete(s.DeleteStmt)
	}
	return nil, problem.New(problem.Unsupported, "this statement is not supported").At(1).
		WithHint("statements are CREATE and DROP of SCHEMA and TABLE, INSERT, UPDATE, DELETE, SELECT, FLUSH TABLE, " +
			"KILL JOB, KILL LIVE QUERY, SUBSCRIBE TO, SHOW, DESCRIBE and EXPLAIN")
}

// tableName translates a relation and makes its names known to column references.
func (t *translator) tableName(r *pg.RangeVar) (TableName, error) {
	if r.GetCatalogname() != "" {
		return TableName{}, t.unsupported(r.Location, "a table name has at most two parts")
	}
	name := TableName{Namespace: r.GetSchemaname(), Name: r.GetRelname(), Position: t.at(r.GetLocation())}
	if alias := r.GetAlias(); alias != nil {
		if len(alias.Colnames) > 0 {
			return name, t.unsupported(r.Location, "column aliases of a table are not supported here")
		}
		t.tables = append(t.tables, alias.Aliasname)
		return name, nil
	}
	t.tables, t.schema = append(t.tables, name.Name), name.Namespace
	return name, nil
}

// nodes translates a list of expressions.
func (t *translator) nodes(list []*pg.Node) ([]expr.Node, error) {
	out := make([]expr.Node, len(list))
	for i, n := range list {
		var err error
		if out[i], err = t.node(n); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// optional translates an expression that may be absent.
func (t *translator) optional(n *pg.Node) (expr.Node, error) {
	if n == nil {
		return nil, nil
	}
	return t.node(n)
}

// columnRef translates a possibly qualified column name.
func (t *translator) columnRef(c *pg.ColumnRef) (expr.Node, error) {
	names := make([]string, 0, len(c.Fields))
	for _, f := range c.Fields {
		s := f.GetString_()
		if s == nil {
			return nil, t.unsupported(c.Location, "* is not an expression")
		}
		names = append(names, s.Sval)
	}
	switch last := names[len(names)-1]; len(names) {
	case 1:
		return expr.Column{Name: last}, nil
	case 2:
		return t.qualified(c, names[0], last)
	case 3:
		if len(t.tables) > 0 && names[0] == t.schema && names[1] == t.tables[0] {
			return expr.Column{Name: last}, nil
		}
	}
	return nil, t.unknownQualifier(c, strings.Join(names[:len(names)-1], "."))
}

func (t *translator) qualified(c *pg.ColumnRef, table, column string) (expr.Node, error) {
	for _, known := range t.tables {
		if known != table {
			continue
		}
		if known == excluded {
			return expr.Column{Name: excluded + "." + column}, nil
		}
		return expr.Column{Name: column}, nil
	}
	return nil, t.unknownQualifier(c, table)
}

func (t *translator) unknownQualifier(c *pg.ColumnRef, name string) error {
	p := problem.New(problem.UnknownTable, "table %q is not part of this statement", name).At(t.at(c.Location))
	if len(t.tables) > 0 {
		return p.WithHint("columns here may be qualified with %q", t.tables[0])
	}
	return p
}

// selectItems translates a select list or RETURNING.
func (t *translator) selectItems(list []*pg.Node) ([]SelectItem, error) {
	var items []SelectItem
	for _, n := range list {
		item, err := t.selectItem(n.GetResTarget())
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func (t *translator) selectItem(r *pg.ResTarget) (SelectItem, error) {
	if t.isStar(r.GetVal().GetColumnRef()) {
		return SelectItem{Star: true}, nil
	}
	n, err := t.node(r.GetVal())
	return SelectItem{Expr: n, Alias: r.GetName()}, err
}

// isStar reports whether c is * or table.*.
func (t *translator) isStar(c *pg.ColumnRef) bool {
	if c == nil || c.Fields[len(c.Fields)-1].GetAStar() == nil {
		return false
	}
	return len(c.Fields) == 1 || len(c.Fields) == 2 && len(t.tables) > 0 && c.Fields[0].GetString_().GetSval() == t.tables[0]
}

// names reads a list of String nodes.
func names(list []*pg.Node) []string {
	out := make([]string, 0, len(list))
	for _, n := range list {
		out = append(out, n.GetString_().GetSval())
	}
	return out
}
