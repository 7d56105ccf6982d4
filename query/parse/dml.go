package parse

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

// excluded is the name of the row that an ON CONFLICT DO UPDATE could not insert.
const excluded = "excluded"

func (t *translator) insert(s *pg.InsertStmt) (Statement, error) {
	if s.WithClause != nil {
		return nil, problem.New(problem.Unsupported, "WITH before INSERT is not supported").At(1)
	}
	table, err := t.tableName(s.Relation)
	if err != nil {
		return nil, err
	}
	in := Insert{Table: table}
	for _, c := range s.Cols {
		r := c.GetResTarget()
		if len(r.Indirection) > 0 {
			return nil, t.unsupported(r.Location, "a column here is a plain name")
		}
		in.Columns = append(in.Columns, r.Name)
		in.ColumnPositions = append(in.ColumnPositions, t.at(r.Location))
	}
	if err := t.insertSource(&in, s); err != nil {
		return nil, err
	}
	if err := t.onConflict(&in, s.OnConflictClause); err != nil {
		return nil, err
	}
	in.Returning, err = t.selectItems(s.ReturningList)
	return in, err
}

// insertSource reads VALUES, DEFAULT VALUES or notes a SELECT.
func (t *translator) insertSource(in *Insert, s *pg.InsertStmt) error {
	if s.SelectStmt == nil {
		in.Rows = [][]expr.Node{{}}
		return nil
	}
	sel := s.SelectStmt.GetSelectStmt()
	if len(sel.GetValuesLists()) == 0 || len(sel.SortClause) > 0 || sel.LimitCount != nil || sel.LimitOffset != nil || sel.WithClause != nil {
		return t.insertSelect(in)
	}
	for _, list := range sel.ValuesLists {
		row, err := t.valuesRow(in, list.GetList().GetItems())
		if err != nil {
			return err
		}
		in.Rows = append(in.Rows, row)
	}
	return nil
}

// insertSelect cuts the query's text out of the statement: from behind the table and its columns to ON CONFLICT or
// RETURNING.
func (t *translator) insertSelect(in *Insert) error {
	l := &lexer{src: t.text}
	start, depth := -1, 0
	for columns := len(in.Columns) > 0; ; {
		tok, err := l.next()
		if err != nil {
			return err
		}
		switch {
		case tok.isSymbol("(") && start < 0 && !columns, start < 0 && depth == 0 && isQueryWord(tok):
			start = tok.start
		case tok.isSymbol("(") && start < 0:
			columns = false
		}
		if tok.isSymbol("(") {
			depth++
		} else if tok.isSymbol(")") {
			depth--
		}
		if tok.kind == tokenEnd || start >= 0 && depth == 0 && (tok.is("on") && l.peekIs("conflict") || tok.is("returning")) {
			return in.setSelect(t.text, start, tok.start)
		}
	}
}

func (in *Insert) setSelect(text string, start, end int) error {
	if start < 0 {
		return problem.New(problem.Unsupported, "this INSERT ... SELECT is not supported").At(1)
	}
	in.Select = strings.TrimSpace(text[start:end])
	return nil
}

func isQueryWord(t token) bool {
	return t.is("select") || t.is("with") || t.is("values") || t.is("table")
}

// peekIs reports whether the next token is a key word, without taking it.
func (l *lexer) peekIs(word string) bool {
	t, err := (&lexer{src: l.src, pos: l.pos}).next()
	return err == nil && t.is(word)
}

func (t *translator) valuesRow(in *Insert, items []*pg.Node) ([]expr.Node, error) {
	switch want := len(in.Columns); {
	case want > 0 && len(items) != want:
		return nil, problem.New(problem.SyntaxError, "INSERT names %d columns and gives %d values", want, len(items)).
			At(in.Table.Position)
	case len(in.Rows) > 0 && len(items) != len(in.Rows[0]):
		return nil, problem.New(problem.SyntaxError, "rows of VALUES must all have the same length").At(in.Table.Position)
	}
	row := make([]expr.Node, len(items))
	for i, n := range items {
		if n.GetSetToDefault() != nil {
			continue
		}
		var err error
		// A row of VALUES sees no columns.
		if row[i], err = (&translator{Piece: t.Piece}).node(n); err != nil {
			return nil, err
		}
	}
	return row, nil
}

func (t *translator) onConflict(in *Insert, c *pg.OnConflictClause) error {
	if c == nil {
		return nil
	}
	if err := t.conflictTarget(in, c.Infer); err != nil {
		return err
	}
	if c.Action == pg.OnConflictAction_ONCONFLICT_NOTHING {
		in.OnConflict = ConflictNothing
		return nil
	}
	in.OnConflict = ConflictUpdate
	inner := translator{Piece: t.Piece, tables: append(append([]string{}, t.tables...), excluded), schema: t.schema}
	var err error
	if in.Update, err = inner.sets(c.TargetList); err != nil {
		return err
	}
	in.UpdateWhere, err = inner.optional(c.WhereClause)
	return err
}

func (t *translator) conflictTarget(in *Insert, infer *pg.InferClause) error {
	if infer == nil {
		return nil
	}
	if infer.Conname != "" || infer.WhereClause != nil {
		return t.unsupported(infer.Location, "ON CONFLICT takes the columns of the primary key")
	}
	for _, n := range infer.IndexElems {
		name := n.GetIndexElem().GetName()
		if name == "" {
			return t.unsupported(infer.Location, "ON CONFLICT takes the columns of the primary key")
		}
		in.ConflictKey = append(in.ConflictKey, name)
	}
	return nil
}

// sets reads the list of a SET clause.
func (t *translator) sets(list []*pg.Node) ([]Set, error) {
	out := make([]Set, 0, len(list))
	for _, n := range list {
		s, err := t.set(n.GetResTarget())
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (t *translator) set(r *pg.ResTarget) (Set, error) {
	if len(r.Indirection) > 0 {
		return Set{}, t.unsupported(r.Location, "a column here is a plain name")
	}
	s := Set{Column: r.Name, Position: t.at(r.Location)}
	val := r.Val
	if m := val.GetMultiAssignRef(); m != nil {
		row := m.GetSource().GetRowExpr()
		if row == nil || len(row.Args) != int(m.Ncolumns) {
			return s, t.unsupported(r.Location, "SET (a, b) takes one value for each column")
		}
		val = row.Args[m.Colno-1]
	}
	if val.GetSetToDefault() != nil {
		return s, nil
	}
	var err error
	s.Value, err = t.node(val)
	return s, err
}

func (t *translator) update(s *pg.UpdateStmt) (Statement, error) {
	if s.WithClause != nil || len(s.FromClause) > 0 {
		return nil, problem.New(problem.Unsupported, "UPDATE of more than one table is not supported").At(1)
	}
	table, err := t.tableName(s.Relation)
	if err != nil {
		return nil, err
	}
	u := Update{Table: table}
	if u.Set, err = t.sets(s.TargetList); err != nil {
		return nil, err
	}
	if u.Where, err = t.optional(s.WhereClause); err != nil {
		return nil, err
	}
	u.Returning, err = t.selectItems(s.ReturningList)
	return u, err
}

func (t *translator) delete(s *pg.DeleteStmt) (Statement, error) {
	if s.WithClause != nil || len(s.UsingClause) > 0 {
		return nil, problem.New(problem.Unsupported, "DELETE with more than one table is not supported").At(1)
	}
	table, err := t.tableName(s.Relation)
	if err != nil {
		return nil, err
	}
	d := Delete{Table: table}
	if d.Where, err = t.optional(s.WhereClause); err != nil {
		return nil, err
	}
	d.Returning, err = t.selectItems(s.ReturningList)
	return d, err
}
