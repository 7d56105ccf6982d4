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
}

// insert runs INSERT as one batch: all of its rows or none.
func (s *session) insert(ctx context.Context, st parse.Insert) error {
	if st.Select != "" {
		return problem.New(problem.Unsupported, "INSERT ... SELECT is not supported").WithHint("read the rows and write them with VALUES, or POST /v1/tables/{namespace}/{table}/rows")
	}
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
	for i, row := range st.Rows {
		if err := in.add(row); err != nil {
			return in.inRow(err, i)
		}
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

// add drafts the mutations of one row.
func (in *inserter) add(row []expr.Node) error {
	clear(in.set)
	for i, n := range row {
		if n == nil {
			continue
		}
		v, err := in.constant(n)
		if err != nil {
			return in.locate(err)
		}
		place := in.places[i]
		in.values[place], in.set[place] = v, true
		if err := in.checkUser(place, v); err != nil {
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

// checkUser keeps ordinary callers from writing another user's rows.
func (s *inserter) checkUser(place int, v expr.Value) error {
	if s.schema.Columns[place].Name != materializer.UserColumn || s.caller.Admin {
		return nil
	}
	if v.Kind() != expr.Text || v.Str() != s.caller.Name {
		return problem.New(problem.Forbidden, "these are the rows of another user")
	}
	return nil
}
