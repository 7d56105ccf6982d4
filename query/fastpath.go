package query

import (
	"strings"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
	"kalamlog.dev/kalam/query/parse"
)

// keyRead is the plan of SELECT items FROM t WHERE key = constant [AND ...], which the state answers without DuckDB.
// It is only made where its answer equals DuckDB's.
type keyRead struct {
	table   *materializer.Table
	items   []expr.Node // columns, or expressions with an alias
	columns []Column    // their names; types are filled in for plain columns
	places  []int       // of the items that are plain columns, -1 for others
	where   expr.Node
	limit   int64
}

// keyRead returns the plan of a query without DuckDB, nil if it has none.
func (p *planner) keyRead(sel parse.Select) *keyRead {
	q := sel.Simple
	if q == nil || q.OrderBy || q.Where == nil || p.full || len(p.references) != 1 || p.references[0].cte || len(p.plan.tables) != 1 {
		return nil
	}
	t := p.plan.tables[0]
	if t.Kind == materializer.Stream || !sameInBoth(q.Where, 1) || !p.mayFixKey(t, q.Where) {
		return nil
	}
	k := &keyRead{table: t, where: q.Where, limit: q.Limit}
	for _, item := range q.Items {
		if !k.add(item) {
			return nil
		}
	}
	return k
}

// add adds an item of the select list and reports whether it can be answered.
func (k *keyRead) add(item parse.SelectItem) bool {
	s := k.table.Schema()
	if item.Star {
		for i, c := range s.Columns {
			if !c.Hidden {
				k.addColumn(c.Name, i)
			}
		}
		return true
	}
	if c, ok := item.Expr.(expr.Column); ok {
		i, known := s.Column(c.Name)
		if !known || s.Columns[i].Hidden {
			return false
		}
		name := c.Name
		if item.Alias != "" {
			name = item.Alias
		}
		k.addColumn(name, i)
		return true
	}
	// DuckDB names an expression without alias after its text.
	if item.Alias == "" || !sameInBoth(item.Expr, 0) {
		return false
	}
	k.items, k.places = append(k.items, item.Expr), append(k.places, -1)
	k.columns = append(k.columns, Column{Name: item.Alias})
	return true
}

func (k *keyRead) addColumn(name string, place int) {
	c := k.table.Schema().Columns[place]
	k.items, k.places = append(k.items, expr.Column{Name: c.Name}), append(k.places, place)
	k.columns = append(k.columns, Column{Name: name, Type: c.Type.String()})
}

// sameInBoth reports whether DuckDB reads an expression as PostgreSQL's grammar does. It does not for -> and ->>, which
// bind weaker there, for blobs written X'61', and where a parameter has more uses than one to take its type from.
func sameInBoth(n expr.Node, uses int) bool {
	same := true
	params := map[int]int{}
	mapNode(n, func(n expr.Node) expr.Node {
		switch n := n.(type) {
		case expr.Binary:
			same = same && !strings.HasPrefix(n.Op, "->")
		case expr.Literal:
			same = same && n.Value.Kind() != expr.Blob
		case expr.Param:
			params[n.Number]++
			same = same && params[n.Number] <= uses
		}
		return n
	})
	return same
}

// mayFixKey reports whether the condition has the shape that fixes every key column, whatever its parameters are.
func (p *planner) mayFixKey(t *materializer.Table, where expr.Node) bool {
	s := t.Schema()
	found := map[string]bool{materializer.UserColumn: t.Kind == materializer.User}
	for _, c := range conjuncts(where, nil) {
		b, ok := c.(expr.Binary)
		if !ok || b.Op != "=" {
			continue
		}
		for _, side := range []expr.Node{b.L, b.R} {
			if col, ok := side.(expr.Column); ok {
				found[col.Name] = true
			}
		}
	}
	for _, k := range s.Key {
		if !found[s.Columns[k].Name] {
			return false
		}
	}
	return true
}

// readKey answers a query from the state. done is false if this request needs DuckDB after all.
func (s *session) readKey(p *readPlan) (done bool, err error) {
	k := p.key
	where, err := s.fix(k.where)
	if err != nil {
		return false, err
	}
	filter, err := expr.CompileFilter(where, k.table.Schema().Fields())
	if err != nil {
		return false, nil // DuckDB judges what expr refuses
	}
	target := targetOf(k.table, where, s.restricted())
	if !target.fixed || len(target.keys) > 1 {
		return false, nil
	}
	programs, columns, ok := s.compileItems(k)
	if !ok {
		return false, nil
	}
	v, err := s.Materializer.View()
	if err != nil {
		return false, err
	}
	defer v.Close()
	if v.Catalog().Version() != p.catalog {
		return false, nil
	}
	var row *materializer.KeyedRow
	if len(target.keys) == 1 && k.limit != 0 {
		if row, err = rowOfKey(v, k.table, target.keys[0]); err != nil {
			return false, err
		}
	}
	if row != nil && target.rest {
		if ok, err := filter.Match(&row.Row); err != nil {
			return false, nil // DuckDB may evaluate less, and words its own errors
		} else if !ok {
			row = nil
		}
	}
	return s.answerKey(k, v, row, programs, columns)
}

// restricted returns the caller's name if user tables show only the caller's rows, else "".
func (s *session) restricted() string {
	if s.caller.Admin {
		return ""
	}
	return s.caller.Name
}

// compileItems compiles the items that are more than columns.
func (s *session) compileItems(k *keyRead) ([]*expr.Program, []Column, bool) {
	programs, columns := make([]*expr.Program, len(k.items)), k.columns
	copied := false
	for i, n := range k.items {
		if k.places[i] >= 0 {
			continue
		}
		fixed, err := s.fix(n)
		if err != nil {
			return nil, nil, false
		}
		if programs[i], err = expr.Compile(fixed, k.table.Schema().Fields()); err != nil || programs[i].Type().Kind == expr.Null {
			return nil, nil, false
		}
		if !copied {
			columns, copied = append([]Column{}, columns...), true
		}
		columns[i].Type = programs[i].Type().String()
	}
	return programs, columns, true
}

// rowOfKey reads the row with a key, nil if there is none.
func rowOfKey(v *materializer.View, t *materializer.Table, key []expr.Value) (*materializer.KeyedRow, error) {
	p, err := t.PartitionOf(key)
	if err != nil {
		return nil, err
	}
	raw, err := materializer.EncodeKey(nil, key)
	if err != nil {
		return nil, err
	}
	row, err := v.Row(t, p, raw)
	if problem.Is(err, problem.KeyNotFound) {
		return nil, nil //nolint:nilnil // no row is an answer
	}
	return &row, err
}

func (s *session) answerKey(k *keyRead, v *materializer.View, row *materializer.KeyedRow, programs []*expr.Program, columns []Column) (bool, error) {
	var values []expr.Value
	if row != nil {
		values = make([]expr.Value, len(k.items))
		for i, place := range k.places {
			if place >= 0 {
				values[i] = row.Row.Column(place)
				continue
			}
			var err error
			if values[i], err = programs[i].Eval(&row.Row); err != nil {
				return false, nil //nolint:nilerr // DuckDB words its own errors
			}
		}
	}
	s.metrics.statements.WithLabelValues("key").Inc()
	if err := s.sink.Begin(columns); err != nil {
		return true, err
	}
	sum := Summary{Position: v.Position(), PlanCache: s.cached}
	if row != nil {
		sum.RowCount = 1
		if err := s.sink.Row(values); err != nil {
			return true, err
		}
	}
	return true, s.sink.End(sum)
}
