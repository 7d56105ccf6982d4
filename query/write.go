package query

import (
	"context"
	"strconv"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
	"kalamlog.dev/kalam/query/parse"
)

// writing is a statement that writes one batch after the other and answers for all of them.
type writing struct {
	*session
	table     *materializer.Table
	returning *returning
	begun     bool
	sum       Summary
}

// write proposes the one batch of a statement and answers.
func (s *session) write(ctx context.Context, t *materializer.Table, b *materializer.Batch, ret *returning) error {
	w := &writing{session: s, table: t, returning: ret}
	if len(b.Mutations) > 0 || b.IdempotencyKey != "" {
		err := w.write(ctx, b)
		if p := problem.As(err); p != nil && p.Code == problem.BodyTooLarge {
			return problem.New(problem.NotAtomic, "the statement is too large to be applied all or nothing; nothing was changed").
				WithHint("split it into several statements").Because(p)
		}
		if err != nil {
			return err
		}
	}
	return w.end()
}

func (w *writing) write(ctx context.Context, b *materializer.Batch) error {
	receipt, err := w.Writer.Write(ctx, b)
	if err != nil {
		return err
	}
	w.metrics.statements.WithLabelValues("write").Inc()
	w.sum.Batches++
	w.sum.Position = w.sum.Position.Max(receipt.Position)
	for _, a := range receipt.Applied {
		if !a.Done {
			continue
		}
		w.sum.RowCount++
		if w.returning != nil {
			if err := w.row(a); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *writing) begin() error {
	if w.begun {
		return nil
	}
	w.begun = true
	if w.returning == nil {
		return w.sink.Begin(nil)
	}
	return w.sink.Begin(w.returning.columns)
}

func (w *writing) end() error {
	if err := w.begin(); err != nil {
		return err
	}
	if w.sum.Position.IsZero() {
		w.sum.Position = w.Log.Position()
	}
	w.sum.PlanCache = w.cached
	return w.sink.End(w.sum)
}

// row reads a change back from the log and returns it: what was applied, also if that was at an earlier try.
func (w *writing) row(a materializer.Applied) error {
	if err := w.begin(); err != nil {
		return err
	}
	records, err := w.Log.Read(a.Partition, a.Offset, 1)
	if err != nil {
		return err
	}
	if len(records) == 0 {
		return problem.New(problem.Internal, "a change at offset %d cannot be read", a.Offset)
	}
	values, err := w.returning.values(w.table, records[0])
	if err != nil {
		return err
	}
	return w.sink.Row(values)
}

// returning is a compiled RETURNING clause.
type returning struct {
	columns  []Column
	programs []*expr.Program
}

// returning compiles a RETURNING clause, nil if there is none.
func (s *session) returning(t *materializer.Table, items []parse.SelectItem) (*returning, error) {
	if len(items) == 0 {
		return nil, nil //nolint:nilnil // no clause is not an error
	}
	r := &returning{}
	for _, item := range items {
		if !item.Star {
			if err := r.add(s, t, item.Expr, item.Alias); err != nil {
				return nil, s.locate(err)
			}
			continue
		}
		for _, c := range t.Schema().Columns {
			if c.Hidden {
				continue
			}
			if err := r.add(s, t, expr.Column{Name: c.Name}, ""); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

func (r *returning) add(s *session, t *materializer.Table, n expr.Node, alias string) error {
	fixed, err := s.fix(n)
	if err != nil {
		return err
	}
	program, err := expr.Compile(fixed, changeFields(t.Schema()))
	if err != nil {
		return err
	}
	if alias == "" {
		alias = nameOf(n)
	}
	r.programs = append(r.programs, program)
	r.columns = append(r.columns, Column{Name: alias, Type: program.Type().String()})
	return nil
}

// changeFields is what RETURNING may name: the columns, and of the system columns those that tell where the change is. _offset is
// the row's version from now on.
func changeFields(s *materializer.Schema) []expr.Field {
	return append(s.Fields(),
		expr.Field{Name: "_partition", Type: expr.Type{Kind: expr.Integer}},
		expr.Field{Name: offsetColumn, Type: expr.Type{Kind: expr.BigInt}},
		expr.Field{Name: "_timestamp", Type: expr.Type{Kind: expr.TimestampTZ}})
}

// changedRow is a row of changeFields.
type changedRow struct {
	materializer.Row
	columns int
	record  log.Record
}

// Column implements expr.Row.
func (r *changedRow) Column(i int) expr.Value {
	switch i - r.columns {
	case 0:
		return expr.IntOf(expr.Integer, int64(r.record.Partition.ID))
	case 1:
		return expr.IntOf(expr.BigInt, int64(r.record.Offset))
	case 2:
		return expr.IntOf(expr.TimestampTZ, r.record.Timestamp)
	}
	return r.Row.Column(i)
}

// nameOf names an output without alias.
func nameOf(n expr.Node) string {
	switch n := n.(type) {
	case expr.Column:
		return n.Name
	case expr.Call:
		return n.Name
	}
	return expr.SQL(n)
}

// values evaluates the clause over the row after a change, of a delete over the row before it.
func (r *returning) values(t *materializer.Table, rec log.Record) ([]expr.Value, error) {
	c, err := materializer.DecodeChange(rec)
	if err != nil {
		return nil, err
	}
	raw := c.New
	if c.Op == materializer.RowDeleted {
		raw = c.Old
	}
	row, err := t.DecodeRow(raw)
	if err != nil {
		return nil, err
	}
	values := make([]expr.Value, len(r.programs))
	changed := changedRow{Row: row, columns: len(t.Schema().Columns), record: rec}
	for i, p := range r.programs {
		if values[i], err = p.Eval(&changed); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func itoa(n int) string { return strconv.Itoa(n) }
