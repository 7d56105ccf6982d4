package query

import (
	"context"
	"slices"
	"strings"

	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/duck"
	"kalamlog.dev/kalam/query/parse"
)

// readPlan is a query made ready to run: what it reads and the text that DuckDB gets. It is immutable.
type readPlan struct {
	text     string // as the user wrote it
	sql      string // text with its tables' names replaced by those of their views
	edits    []edit // text to sql, in order
	tables   []*materializer.Table
	computed []*duck.Computed
	catalog  uint64
	reader   *reader
	key      *keyRead // the way without DuckDB, nil if there is none
}

// edit replaces text[at:end].
type edit struct {
	at, end int
	with    string
}

// planner works out a readPlan.
type planner struct {
	*reader
	catalog   *materializer.Catalog
	namespace string
	*shape
	full bool // the query names a column that only full views have
	plan *readPlan
}

// planRead checks a query against the catalog and makes its plan. The error is a *problem.Error for what the user did
// wrong: SyntaxError, UnknownTable, Forbidden, Unsupported. Columns and types are checked when it runs.
func (s *session) planRead(ctx context.Context, c *materializer.Catalog, sel parse.Select) (*readPlan, error) {
	r, err := s.duckdb()
	if err != nil {
		return nil, err
	}
	sh, err := r.shapeOf(ctx, sel.Text)
	if err != nil {
		return nil, err
	}
	p := &planner{reader: r, catalog: c, namespace: s.Namespace, shape: sh}
	p.plan = &readPlan{text: sel.Text, catalog: c.Version(), reader: r}
	p.full = p.namesHidden()
	if err := p.rewrite(); err != nil {
		return nil, err
	}
	p.plan.key = p.keyRead(sel)
	return p.plan, nil
}

// namesHidden reports whether the query names a system column, or the hidden one of user tables.
func (p *planner) namesHidden() bool {
	for _, c := range p.columns {
		if last := c.names[len(c.names)-1]; isHidden(last) {
			return true
		}
	}
	return false
}

func isHidden(column string) bool {
	folded := strings.ToLower(column)
	return folded == materializer.UserColumn || slices.Contains(duck.SystemColumns(), folded)
}

// rewrite replaces the names of tables by those of their views and, if these show more than they should, restricts
// the stars.
func (p *planner) rewrite() error {
	for _, r := range p.references {
		if r.cte {
			continue
		}
		if err := p.replace(r); err != nil {
			return err
		}
	}
	if err := p.unqualify(); err != nil {
		return err
	}
	if p.full {
		if err := p.hide(); err != nil {
			return err
		}
	}
	return p.apply()
}

// replace turns ns.t into the name of a view, with the alias that keeps t's columns addressable as before.
func (p *planner) replace(r *reference) error {
	names, starts, end := parse.Chain(p.text, r.at)
	written := r.table
	if r.schema != "" {
		written = r.schema + "." + r.table
	}
	if len(names) == 0 && r.at >= 0 && r.at < len(p.text) && p.text[r.at] == '\'' {
		return problem.New(problem.Forbidden, "files cannot be read by queries").At(p.position(r.at))
	}
	if !strings.EqualFold(strings.Join(names, "."), written) {
		return problem.New(problem.Unsupported, "table %s is named in a way that is not supported here", written).
			At(p.position(r.at)).WithHint("write FROM %s", written)
	}
	namespace, name := p.namespace, names[len(names)-1]
	if len(names) == 2 {
		namespace = names[0]
	}
	view, err := p.resolve(namespace, name)
	if err != nil {
		return placed(err, p.position(r.at))
	}
	with := duck.Catalog + "." + duck.Internal + "." + duck.Ident(view)
	if r.alias == "" {
		r.alias = name
		with += " AS " + duck.Ident(name)
	}
	p.plan.edits = append(p.plan.edits, edit{at: starts[0], end: end, with: with})
	return nil
}

// resolve finds a table and returns the name of its view.
func (p *planner) resolve(namespace, name string) (string, error) {
	if c := p.computed[namespace+"."+name]; c != nil {
		if !slices.Contains(p.plan.computed, c) {
			p.plan.computed = append(p.plan.computed, c)
		}
		return c.StoreName(), nil
	}
	t, err := p.catalog.Table(namespace, name)
	if err != nil {
		return "", err
	}
	if !slices.Contains(p.plan.tables, t) {
		p.plan.tables = append(p.plan.tables, t)
	}
	if p.full {
		return duck.FullViewName(t.ID), nil
	}
	return duck.ViewName(t.ID), nil
}

// placed sets the position of a problem that has none.
func placed(err error, position int) error {
	if q := problem.As(err); q != nil && q.Position == 0 && position > 0 {
		return q.At(position)
	}
	return err
}

// unqualify takes the namespace off columns that are written ns.t.c: the view's alias is t alone.
func (p *planner) unqualify() error {
	for _, c := range p.columns {
		if len(c.names) < 3 || c.at < 0 || !p.isTable(c.names[0], c.names[1]) {
			continue
		}
		if _, starts, _ := parse.Chain(p.text, c.at); len(starts) > 1 {
			p.plan.edits = append(p.plan.edits, edit{at: starts[0], end: starts[1]})
		}
	}
	return nil
}

func (p *planner) isTable(schema, table string) bool {
	return slices.ContainsFunc(p.references, func(r *reference) bool {
		namespace := r.schema
		if namespace == "" {
			namespace = p.namespace
		}
		return strings.EqualFold(namespace, schema) && strings.EqualFold(r.table, table)
	})
}

// hide keeps the columns that only full views have out of every star that shows one.
func (p *planner) hide() error {
	if p.natural {
		return problem.New(problem.Unsupported, "NATURAL JOIN cannot be used together with system columns").
			WithHint("write JOIN ... USING (columns)")
	}
	for _, s := range p.stars {
		if len(s.tables) == 0 {
			continue
		}
		if err := p.hideIn(s); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) hideIn(s *star) error {
	names, _, end := parse.Chain(p.text, s.at)
	if s.columns && len(names) == 1 && names[0] == "all" {
		return nil // ORDER BY ALL, GROUP BY ALL: of the select list
	}
	if s.columns || s.at < 0 {
		return problem.New(problem.Unsupported, "COLUMNS cannot be used together with system columns").At(p.position(s.at))
	}
	if len(names) == 0 || names[len(names)-1] != "*" {
		return p.hideInImplicit(s)
	}
	table := ""
	if len(names) > 1 {
		table = names[len(names)-2]
	}
	hidden := p.hiddenIn(s, table)
	if len(hidden) == 0 {
		return nil
	}
	list := strings.Join(hidden, ", ")
	word, _, after := parse.Word(p.text, end)
	if word != "exclude" && word != "except" {
		p.plan.edits = append(p.plan.edits, edit{at: end, end: end, with: " EXCLUDE (" + list + ")"})
		return nil
	}
	open, _, inside := parse.Word(p.text, after)
	if open != "(" {
		return problem.New(problem.Unsupported, "write EXCLUDE with its columns in parentheses").At(p.position(after))
	}
	p.plan.edits = append(p.plan.edits, edit{at: inside, end: inside, with: list + ", "})
	return nil
}

// hideInImplicit writes the select list of a query that begins with FROM.
func (p *planner) hideInImplicit(s *star) error {
	if word, start, _ := parse.Word(p.text, s.at); word == "from" {
		list := strings.Join(p.hiddenIn(s, ""), ", ")
		p.plan.edits = append(p.plan.edits, edit{at: start, end: start, with: "SELECT * EXCLUDE (" + list + ") "})
		return nil
	}
	return problem.New(problem.Unsupported, "system columns need a written select list").At(p.position(s.at))
}

// hiddenIn lists, qualified, what a star must not show: of all its tables or of one.
func (p *planner) hiddenIn(s *star, table string) []string {
	var out []string
	for _, r := range s.tables {
		if table != "" && !strings.EqualFold(r.alias, table) {
			continue
		}
		for _, c := range p.hiddenOf(r) {
			if !slices.ContainsFunc(s.exclude, func(e string) bool { return strings.EqualFold(e, c) }) {
				out = append(out, duck.Ident(r.alias)+"."+duck.Ident(c))
			}
		}
	}
	return out
}

func (p *planner) hiddenOf(r *reference) []string {
	names, _, _ := parse.Chain(p.text, r.at)
	namespace, name := p.namespace, names[len(names)-1]
	if len(names) == 2 {
		namespace = names[0]
	}
	t, err := p.catalog.Table(namespace, name)
	if err != nil || p.computed[namespace+"."+name] != nil {
		return nil
	}
	hidden := duck.SystemColumns()
	for _, c := range t.Schema().Columns {
		if c.Hidden {
			hidden = append(hidden, c.Name)
		}
	}
	return hidden
}

// apply makes sql of text.
func (p *planner) apply() error {
	edits := p.plan.edits
	slices.SortStableFunc(edits, func(a, b edit) int { return a.at - b.at })
	var b strings.Builder
	last := 0
	for _, e := range edits {
		if e.at < last {
			return problem.New(problem.Unsupported, "the query is written in a way that is not supported here").At(p.position(e.at))
		}
		b.WriteString(p.text[last:e.at] + e.with)
		last = e.end
	}
	p.plan.sql = b.String() + p.text[last:]
	return nil
}

// position maps a byte of sql back to a character position in text.
func (r *readPlan) position(at int) int {
	if at < 0 {
		return 0
	}
	grown := 0
	for _, e := range r.edits {
		switch {
		case at < e.at+grown:
			return parse.CharPosition(r.text, at-grown)
		case at < e.at+grown+len(e.with):
			return parse.CharPosition(r.text, e.at)
		}
		grown += len(e.with) - (e.end - e.at)
	}
	return parse.CharPosition(r.text, at-grown)
}

// checkRights refuses an ordinary caller what is the administrators': the server's own tables, except those that
// describe what the caller may see.
func (r *readPlan) checkRights(caller identity.Caller) error {
	if caller.Admin {
		return nil
	}
	for _, t := range r.tables {
		if t.Namespace == materializer.SystemNamespace && t.ID != materializer.SystemTables && t.ID != materializer.SystemNamespaces {
			return problem.New(problem.Forbidden, "%s can only be read by administrators", t.QualifiedName())
		}
	}
	return nil
}
