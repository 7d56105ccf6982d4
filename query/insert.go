package query

import (
	"context"
	"slices"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
	"kalamlog.dev/kalam/query/parse"
)

// inserter drafts the rows of one INSERT.
type inserter struct {
	*session
	parse.Insert
	table   *materializer.Table
	schema  *materializer.Schema
	places  []int // of the columns that the rows give
	drafter *materializer.Drafter
	values  []expr.Value
	set     []bool
	batch   *materializer.Batch
	update  *patcher // of ON CONFLICT DO UPDATE
	refused error    // why a row of a query was not taken
}

// insert runs INSERT as one batch: all of its rows or none.
func (s *session) insert(ctx context.Context, st parse.Insert) error {
	t, err := s.writable(st.Table)
	if err != nil {
		return err
	}
	in := &inserter{session: s, Insert: st, table: t, schema: t.Schema(), batch: s.batch()}
	in.drafter = materializer.NewDrafter(t, s.caller, s.now, s.IDs)
	in.values, in.set = make([]expr.Value, len(in.schema.Columns)), make([]bool, len(in.schema.Columns))
	if err := in.resolve(); err != nil {
		return err
	}
	ret, err := s.returning(t, st.Returning)
	if err != nil {
		return err
	}
	if err := in.draft(ctx); err != nil {
		return err
	}
	return s.write(ctx, t, in.batch, ret)
}

// writable resolves the table of a statement that changes rows.
func (s *session) writable(name parse.TableName) (*materializer.Table, error) {
	t, err := s.table(name)
	if err != nil {
		return nil, err
	}
	if t.Namespace == materializer.SystemNamespace {
		return nil, problem.New(problem.Forbidden, "%s belongs to the server and cannot be written", t.QualifiedName()).At(name.Position)
	}
	return t, nil
}

// inRow says which row of several a problem is about.
func (in *inserter) inRow(err error, i int) error {
	p := problem.As(err)
	if p == nil || len(in.Rows) == 1 {
		return err
	}
	c := *p
	c.Message += " (row " + itoa(i+1) + ")"
	return &c
}

// resolve finds the places of the columns and checks the conflict clause.
func (in *inserter) resolve() error {
	if len(in.Columns) == 0 {
		for i, c := range in.schema.Columns {
			if !c.Hidden {
				in.places = append(in.places, i)
			}
		}
	}
	for i, name := range in.Columns {
		place, ok := in.schema.Column(name)
		if !ok {
			return unknownColumn(in.schema.Fields(), name, in.ColumnPositions[i])
		}
		if slices.Contains(in.places, place) {
			return problem.New(problem.DuplicateColumn, "column %q is named twice", name).At(in.ColumnPositions[i])
		}
		in.places = append(in.places, place)
	}
	if len(in.Rows) > 0 && len(in.Rows[0]) > len(in.places) {
		return problem.New(problem.SyntaxError, "%s has %d columns and the row gives %d values", in.table.QualifiedName(), len(in.places), len(in.Rows[0])).
			At(in.Table.Position)
	}
	return in.resolveConflict()
}

func (in *inserter) resolveConflict() error {
	if in.OnConflict == parse.ConflictError {
		return nil
	}
	if in.table.Kind == materializer.Stream {
		return problem.New(problem.Unsupported, "%s is a stream: its rows cannot conflict", in.table.QualifiedName())
	}
	if len(in.ConflictKey) > 0 && !in.isKey(in.ConflictKey) {
		return problem.New(problem.Unsupported, "ON CONFLICT must name the primary key of %s", in.table.QualifiedName())
	}
	if in.OnConflict == parse.ConflictUpdate {
		var err error
		in.update, err = in.newPatcher(in.table, in.Update, in.UpdateWhere, true)
		return err
	}
	return nil
}

// isKey reports whether names are the visible columns of the primary key, in any order.
func (in *inserter) isKey(names []string) bool {
	var key []string
	for _, k := range in.schema.Key {
		if c := in.schema.Columns[k]; !c.Hidden || slices.Contains(names, c.Name) {
			key = append(key, c.Name)
		}
	}
	given := slices.Clone(names)
	slices.Sort(key)
	slices.Sort(given)
	return slices.Equal(key, given)
}

// draft makes the mutations of all rows.
func (in *inserter) draft(ctx context.Context) error {
	if in.Select != "" {
		return in.draftQuery(ctx)
	}
	row := make([]expr.Value, len(in.places))
	for i, nodes := range in.Rows {
		clear(in.set)
		for j, n := range nodes {
			if n == nil {
				continue
			}
			v, err := in.constant(n)
			if err != nil {
				return in.inRow(in.locate(err), i)
			}
			row[j], in.set[in.places[j]] = v, true
		}
		if err := in.add(row); err != nil {
			return in.inRow(err, i)
		}
	}
	return nil
}

// add drafts the mutations of one row: of the values in row, those whose column is set.
func (in *inserter) add(row []expr.Value) error {
	for i, place := range in.places {
		if !in.set[place] {
			continue
		}
		in.values[place] = row[i]
		if err := in.checkUser(place, row[i]); err != nil {
			return err
		}
	}
	m, complete, err := in.drafter.Put(materializer.Insert, in.values, in.set)
	if err != nil {
		return err
	}
	if in.OnConflict != parse.ConflictError {
		m.Miss = materializer.Skip
	}
	if in.update != nil {
		patch, err := in.update.patch(m, complete)
		if err != nil {
			return err
		}
		// A key that exists is patched and then not inserted again; one that does not is inserted after the patch
		// found nothing. Both happen in one step of the log.
		in.batch.Mutations = append(in.batch.Mutations, patch)
	}
	in.batch.Mutations = append(in.batch.Mutations, m)
	return nil
}

// maxQueriedRows bounds INSERT ... SELECT, which is one batch like every INSERT.
const maxQueriedRows = 100_000

// draftQuery drafts the rows that a query returns.
func (in *inserter) draftQuery(ctx context.Context) error {
	plan, err := in.planRead(ctx, in.Materializer.Catalog(), parse.Select{Text: in.Select})
	if err != nil {
		return inner(err, in.parsed.Text, in.Select)
	}
	inside := *in.session
	inside.sink = in
	if err := inside.read(ctx, plan); in.refused == nil {
		return inner(err, in.parsed.Text, in.Select)
	}
	return in.refused
}

// Begin implements Sink over the rows of the query.
func (in *inserter) Begin(columns []Column) error {
	if len(columns) > len(in.places) || len(in.Columns) > 0 && len(columns) != len(in.places) {
		in.refused = problem.New(problem.SyntaxError, "%s takes %d columns and the query returns %d", in.table.QualifiedName(), len(in.places), len(columns)).
			At(in.Table.Position)
		return in.refused
	}
	clear(in.set)
	for i := range columns {
		in.set[in.places[i]] = true
	}
	return nil
}

// Row implements Sink.
func (in *inserter) Row(values []expr.Value) error {
	if len(in.batch.Mutations) >= maxQueriedRows {
		in.refused = problem.New(problem.NotAtomic, "INSERT ... SELECT of more than %d rows cannot be all or nothing; nothing was inserted", maxQueriedRows).
			WithHint("insert in several statements")
		return in.refused
	}
	in.refused = in.add(values)
	return in.refused
}

// End implements Sink.
func (in *inserter) End(Summary) error { return nil }

// checkUser keeps ordinary callers from writing another user's rows.
func (in *inserter) checkUser(place int, v expr.Value) error {
	if in.schema.Columns[place].Name != materializer.UserColumn || in.caller.Admin {
		return nil
	}
	if v.Kind() != expr.Text || v.Str() != in.caller.Name {
		return problem.New(problem.Forbidden, "these are the rows of another user")
	}
	return nil
}
