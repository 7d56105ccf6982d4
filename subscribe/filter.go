package subscribe

import (
	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
	"kalamlog.dev/kalam/query/parse"
)

// liveQuery is a query compiled against one schema version of its table. It is immutable and safe for concurrent use.
type liveQuery struct {
	sql     string
	table   *materializer.Table
	shape   shape
	visible *expr.Program // the rows that the caller may see; nil: all
	where   *expr.Program // nil: all
	outputs []output
}

// shape is what of a query outlives a schema change: its star is expanded and its parameters are bound, but its names are not
// resolved.
type shape struct {
	items []parse.SelectItem // each with an alias
	where expr.Node          // nil: all
	owner string             // only this user's rows; empty: all
}

// output is one column of what a subscriber receives.
type output struct {
	name    string
	typ     expr.Type
	member  []byte        // `"name":`, as it stands in a payload
	column  int           // place in the row, if program is nil
	program *expr.Program // computes it
}

// parseQuery parses sql, with or without SUBSCRIBE TO before it, and refuses what cannot be a live query.
func parseQuery(sql string, params []expr.Value) (*parse.SimpleSelect, error) {
	statements, err := parse.Batch(sql)
	if err != nil {
		return nil, err
	}
	if len(statements) != 1 {
		return nil, problem.New(problem.Unsupported, "a subscription is one SELECT, not %d statements", len(statements))
	}
	var sel parse.Select
	switch s := statements[0].Statement.(type) {
	case parse.Select:
		sel = s
	case parse.Subscribe:
		sel = s.Select
	default:
		return nil, problem.New(problem.Unsupported, "only a SELECT can be subscribed to").WithHint("%s", shapeHint)
	}
	if sel.Simple == nil {
		return nil, problem.New(problem.Unsupported, "this query cannot be live: %s", sel.WhyNot).WithHint("%s", shapeHint)
	}
	return bindParams(sel.Simple, params)
}

const shapeHint = "a live query is SELECT columns FROM one table [WHERE condition]"

// bindParams checks the clauses that a live query cannot have and replaces $1, $2... by params.
func bindParams(s *parse.SimpleSelect, params []expr.Value) (*parse.SimpleSelect, error) {
	if s.OrderBy {
		return nil, problem.New(problem.Unsupported, "a live query has no ORDER BY: its changes come in the order they were made").
			WithHint("leave ORDER BY away and sort what you hold")
	}
	if s.Limit >= 0 {
		return nil, problem.New(problem.Unsupported, "a live query has no LIMIT").
			WithHint("last_rows=n limits the initial rows to the newest n")
	}
	bound := *s
	bound.Items = make([]parse.SelectItem, len(s.Items))
	for i, item := range s.Items {
		if !item.Star {
			var err error
			if item.Expr, err = expr.Bind(item.Expr, params); err != nil {
				return nil, err
			}
		}
		bound.Items[i] = item
	}
	if s.Where != nil {
		var err error
		if bound.Where, err = expr.Bind(s.Where, params); err != nil {
			return nil, err
		}
	}
	return &bound, nil
}

// newLiveQuery compiles s for caller. Errors are *problem.Error.
func newLiveQuery(sql string, s *parse.SimpleSelect, t *materializer.Table, caller identity.Caller) (*liveQuery, error) {
	sh := shape{where: s.Where}
	if !caller.Admin {
		if t.ID < materializer.FirstUserTable {
			return nil, problem.New(problem.Forbidden, "only an administrator may subscribe to %s", t.QualifiedName())
		}
		if t.Kind == materializer.User {
			sh.owner = caller.Name
		}
	}
	var err error
	if sh.items, err = expandItems(s.Items, t.Schema()); err != nil {
		return nil, err
	}
	return sh.compile(sql, t)
}

// expandItems replaces * by the visible columns and gives every item a name of its own.
func expandItems(items []parse.SelectItem, schema *materializer.Schema) ([]parse.SelectItem, error) {
	var all []parse.SelectItem
	for _, item := range items {
		if !item.Star {
			all = append(all, item)
			continue
		}
		for _, c := range schema.Columns {
			if !c.Hidden {
				all = append(all, parse.SelectItem{Expr: expr.Column{Name: c.Name}, Alias: c.Name})
			}
		}
	}
	taken := make(map[string]bool, len(all))
	for i := range all {
		if c, ok := all[i].Expr.(expr.Column); ok && all[i].Alias == "" {
			all[i].Alias = c.Name
		}
		switch name := all[i].Alias; {
		case name == "":
			return nil, problem.New(problem.Unsupported, "column %d of the live query has no name", i+1).
				WithHint("name it: expression AS name")
		case taken[name]:
			return nil, problem.New(problem.DuplicateColumn, "the live query has two columns named %q", name).
				WithHint("rename one: %s AS other", name)
		default:
			taken[name] = true
		}
	}
	return all, nil
}

// compile resolves the shape's names in t's newest schema.
func (sh shape) compile(sql string, t *materializer.Table) (*liveQuery, error) {
	q := &liveQuery{sql: sql, table: t, shape: sh}
	scope := newScope(t.Schema())
	var err error
	if sh.owner != "" {
		own := expr.Binary{Op: "=", L: expr.Column{Name: materializer.UserColumn}, R: expr.Literal{Value: expr.TextOf(sh.owner)}}
		if q.visible, err = scope.condition(own); err != nil {
			return nil, err
		}
	}
	if sh.where != nil {
		if q.where, err = scope.condition(sh.where); err != nil {
			return nil, err
		}
	}
	for _, item := range sh.items {
		o, err := scope.output(item, t.Schema())
		if err != nil {
			return nil, err
		}
		q.outputs = append(q.outputs, o)
	}
	return q, nil
}

// recompile returns the query for t, a newer definition of its table.
func (q *liveQuery) recompile(t *materializer.Table) (*liveQuery, error) {
	return q.shape.compile(q.sql, t)
}

// match reports whether row belongs to the subscription. Whether the caller may see the row is decided first, so that the
// filter never meets another user's row.
func (q *liveQuery) match(row expr.Row) (bool, error) {
	for _, p := range [...]*expr.Program{q.visible, q.where} {
		if p == nil {
			continue
		}
		if ok, err := p.Match(row); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// appendRow appends the row's outputs as a JSON object.
func (q *liveQuery) appendRow(dst []byte, row expr.Row) ([]byte, error) {
	dst = append(dst, '{')
	for i := range q.outputs {
		o := &q.outputs[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, o.member...)
		if o.program == nil {
			dst = expr.AppendJSON(dst, row.Column(o.column))
			continue
		}
		v, err := o.program.Eval(row)
		if err != nil {
			return dst, err
		}
		dst = expr.AppendJSON(dst, v)
	}
	return append(dst, '}'), nil
}
