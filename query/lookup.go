package query

import (
	"context"

	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// Table returns a table of the newest catalog, on a node that lags of one that includes everything acknowledged. The error is a *problem.Error.
func (e *Engine) Table(ctx context.Context, namespace, table string) (*materializer.Table, error) {
	t, err := e.Materializer.Catalog().Table(namespace, table)
	if err != nil && e.Materializer.CatchUp(ctx, e.Log, err) {
		return e.Materializer.Catalog().Table(namespace, table)
	}
	return t, err
}

// Lookup reads one row by its key without SQL. Of a user table the user column may be left out: it is the caller then.
// The error is a *problem.Error: KeyNotFound, UnknownTable, TypeMismatch, Forbidden.
func (e *Engine) Lookup(ctx context.Context, namespace, table string, key []expr.Value, atLeast log.Position) (Row, error) {
	caller, ok := identity.FromContext(ctx)
	if !ok {
		return Row{}, problem.New(problem.Forbidden, "the request has no user")
	}
	if err := e.Log.Reach(ctx, atLeast); err != nil {
		return Row{}, err
	}
	t, err := e.Table(ctx, namespace, table)
	if err != nil {
		return Row{}, err
	}
	if err := mayLookUp(caller, t); err != nil {
		return Row{}, err
	}
	if key, err = completeKey(caller, t, key); err != nil {
		return Row{}, err
	}
	return e.row(t, key)
}

func mayLookUp(caller identity.Caller, t *materializer.Table) error {
	if err := (&readPlan{tables: []*materializer.Table{t}}).checkRights(caller); err != nil {
		return err
	}
	if t.Kind == materializer.Stream {
		return problem.New(problem.Unsupported, "%s is a stream: its rows cannot be read by key", t.QualifiedName())
	}
	return nil
}

// completeKey casts the key's values and puts the caller before a user table's own columns.
func completeKey(caller identity.Caller, t *materializer.Table, key []expr.Value) ([]expr.Value, error) {
	s := t.Schema()
	if t.Kind == materializer.User && len(key) == len(s.Key)-1 {
		key = append([]expr.Value{expr.TextOf(caller.Name)}, key...)
	}
	if len(key) != len(s.Key) {
		return nil, problem.New(problem.BadRequest, "the key of %s has %d columns, not %d", t.QualifiedName(), len(s.Key), len(key))
	}
	out := make([]expr.Value, len(key))
	for i, v := range key {
		c := s.Columns[s.Key[i]]
		w, err := expr.CastValue(v, c.Type)
		if err != nil {
			return nil, err
		}
		if w.IsNull() {
			return nil, problem.New(problem.NotNull, "key column %q is NULL", c.Name)
		}
		out[i] = w
	}
	if t.Kind == materializer.User && !caller.Admin && out[0].Str() != caller.Name {
		return nil, problem.New(problem.Forbidden, "these are the rows of another user")
	}
	return out, nil
}

func (e *Engine) row(t *materializer.Table, key []expr.Value) (Row, error) {
	p, err := t.PartitionOf(key)
	if err != nil {
		return Row{}, err
	}
	raw, err := materializer.EncodeKey(nil, key)
	if err != nil {
		return Row{}, err
	}
	row, position, err := e.Materializer.Row(t, p, raw)
	if err != nil {
		return Row{}, err
	}
	out := Row{Version: row.Version, Position: position}
	for i, c := range t.Schema().Columns {
		if !c.Hidden {
			out.Columns, out.Values = append(out.Columns, c.Name), append(out.Values, row.Row.Column(i))
		}
	}
	return out, nil
}
