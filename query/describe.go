package query

import (
	"context"
	"slices"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
	"kalamlog.dev/kalam/query/parse"
)

func textColumns(names ...string) []Column {
	out := make([]Column, len(names))
	for i, n := range names {
		out[i] = Column{Name: n, Type: expr.Text.String()}
	}
	return out
}

func textsOf(values ...string) []expr.Value {
	out := make([]expr.Value, len(values))
	for i, v := range values {
		out[i] = expr.TextOf(v)
	}
	return out
}

// show answers SHOW SCHEMAS and SHOW TABLES: of one schema, or of all but the server's own.
func (s *session) show(st parse.Show) error {
	c := s.Materializer.Catalog()
	var rows [][]expr.Value
	if st.What == "schemas" {
		for _, n := range c.Namespaces() {
			rows = append(rows, textsOf(n))
		}
		return s.answer(textColumns("name"), rows)
	}
	if st.Namespace != "" && !c.HasNamespace(st.Namespace) {
		_, err := c.Table(st.Namespace, "")
		return err
	}
	for _, t := range c.Tables() {
		if t.Namespace == st.Namespace || st.Namespace == "" && t.Namespace != materializer.SystemNamespace {
			rows = append(rows, textsOf(t.Namespace, t.Name, string(t.Kind)))
		}
	}
	return s.answer(textColumns("namespace", "name", "type"), rows)
}

// describe answers DESCRIBE t with a row for each visible column, as DuckDB does.
func (s *session) describe(st parse.Describe) error {
	columns := textColumns("column_name", "column_type", "null", "key", "default")
	if c := s.reader.Load().computed[s.namespaceOf(st.Table)+"."+st.Table.Name]; c != nil {
		var rows [][]expr.Value
		for _, f := range c.Columns {
			rows = append(rows, append(textsOf(f.Name, f.Type.String(), "YES"), expr.Value{}, expr.Value{}))
		}
		return s.answer(columns, rows)
	}
	t, err := s.table(st.Table)
	if err != nil {
		return err
	}
	var rows [][]expr.Value
	for i, c := range t.Schema().Columns {
		if c.Hidden {
			continue
		}
		null, key := "YES", expr.Value{}
		if c.NotNull {
			null = "NO"
		}
		if slices.Contains(t.Schema().Key, i) {
			key = expr.TextOf("PRI")
		}
		rows = append(rows, append(textsOf(c.Name, c.Type.String(), null), key, defaultText(c)))
	}
	return s.answer(columns, rows)
}

// defaultText prints a column's default as SQL, NULL if it has none.
func defaultText(c materializer.Column) expr.Value {
	switch {
	case c.Default == nil:
		return expr.Value{}
	case c.Default.Func != "":
		return expr.TextOf(c.Default.Func + "()")
	}
	v, _, err := expr.DecodeValue(c.Default.Literal)
	if err != nil {
		return expr.Value{}
	}
	return expr.TextOf(v.String())
}

// explain answers EXPLAIN of a query: DuckDB's plan, or that the state answers.
func (s *session) explain(ctx context.Context, st parse.Explain, p *readPlan) error {
	if p == nil {
		return problem.New(problem.Unsupported, "EXPLAIN takes a query").At(1)
	}
	if err := p.checkRights(s.caller); err != nil {
		return err
	}
	if p.key != nil {
		line := "key read of " + p.key.table.QualifiedName() + " from the state, without DuckDB"
		return s.answer(textColumns("explain_key", "explain_value"), [][]expr.Value{textsOf("plan", line)})
	}
	word := "EXPLAIN "
	if st.Analyze {
		word = "EXPLAIN ANALYZE "
	}
	q := *p
	q.edits = append([]edit{{with: word}}, p.edits...)
	return inner(s.readDuck(ctx, &q, word+p.sql), s.parsed.Text, p.text)
}
