package query

import (
	"context"
	"fmt"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
	"kalamlog.dev/kalam/query/parse"
)

// What one batch of a statement holds whose rows are found by a search. A statement is one batch and refused if it does not fit, unless
// the request says that it need not be atomic: then it takes steps.
const (
	maxAtomicRows  = 100_000
	maxAtomicBytes = 64 << 20 // of keys, and of rows before and after; apply and the log have limits of their own
	maxStepRows    = 1000
	maxStepBytes   = 8 << 20
)

// update runs UPDATE as one batch, all or nothing. If the condition fixes the keys they are not read before. Else they are searched
// in the state; the condition is evaluated again when the batch is applied, so that no row is changed that does not fulfil it then.
// A request that allows it is written in several batches.
func (s *session) update(ctx context.Context, st parse.Update) error {
	t, err := s.keyedTable(st.Table, "UPDATE")
	if err != nil {
		return err
	}
	where, e, err := s.expected(st.Where)
	if err != nil {
		return err
	}
	p, err := s.newPatcher(t, st.Set, where, false)
	if err != nil {
		return err
	}
	ret, err := s.returning(t, st.Returning)
	if err != nil {
		return err
	}
	c := &changer{session: s, table: t, where: p.where, expect: e, returning: ret}
	c.mutation = func(m materializer.Mutation) (materializer.Mutation, error) { return p.patch(m, nil) }
	return c.run(ctx)
}

// delete runs DELETE, by the same rules as update.
func (s *session) delete(ctx context.Context, st parse.Delete) error {
	t, err := s.keyedTable(st.Table, "DELETE")
	if err != nil {
		return err
	}
	where, e, err := s.expected(st.Where)
	if err != nil {
		return err
	}
	where, err = s.condition(t, where, false)
	if err != nil {
		return err
	}
	ret, err := s.returning(t, st.Returning)
	if err != nil {
		return err
	}
	c := &changer{session: s, table: t, where: where, expect: e, returning: ret}
	c.mutation = func(m materializer.Mutation) (materializer.Mutation, error) {
		m.Op, m.Where = materializer.Remove, where
		return m, nil
	}
	return c.run(ctx)
}

func (s *session) keyedTable(name parse.TableName, verb string) (*materializer.Table, error) {
	t, err := s.writable(name)
	if err == nil && t.Kind == materializer.Stream {
		return nil, problem.New(problem.Unsupported, "%s is a stream: %s is not possible", t.QualifiedName(), verb).At(name.Position)
	}
	return t, err
}

// changer proposes one mutation for each row that a condition selects.
type changer struct {
	*session
	table     *materializer.Table
	where     expr.Node
	expect    expectation
	returning *returning
	mutation  func(address materializer.Mutation) (materializer.Mutation, error)

	batch *materializer.Batch
	bytes int
}

func (c *changer) run(ctx context.Context) error {
	c.batch = c.session.batch()
	target := targetOf(c.table, c.where, c.restricted())
	if err := c.expect.check(target); err != nil {
		return err
	}
	if target.fixed {
		return c.byKey(ctx, target)
	}
	return c.bySearch(ctx)
}

// byKey proposes all keys at once, without reading them.
func (c *changer) byKey(ctx context.Context, target target) error {
	for _, key := range target.keys {
		m, err := c.table.OfKey(materializer.Patch, key)
		if err != nil {
			return err
		}
		if err := c.add(m, target.rest); err != nil {
			return err
		}
	}
	return c.write(ctx, c.table, c.batch, c.returning)
}

func (c *changer) add(address materializer.Mutation, evaluate bool) error {
	address.Miss = materializer.Skip
	m, err := c.mutation(address)
	if err != nil {
		return err
	}
	if !evaluate {
		m.Where = nil
	}
	c.batch.Mutations = append(c.batch.Mutations, c.expect.expect(m))
	c.bytes += len(m.Key) + 64
	return nil
}

// bySearch finds the keys in a view of the state.
func (c *changer) bySearch(ctx context.Context) error {
	var filter *expr.Program
	if c.where != nil {
		var err error
		if filter, err = expr.CompileFilter(c.where, c.table.Schema().Fields()); err != nil {
			return err
		}
	}
	v, err := c.Materializer.View()
	if err != nil {
		return err
	}
	defer v.Close()
	r, err := c.searched()
	if err != nil {
		return err
	}
	w := &writing{session: c.session, table: c.table, returning: c.returning}
	for p := range c.table.Partitions {
		for row, err := range v.Scan(c.table, log.PartitionID(p), r) {
			if err != nil {
				return err
			}
			if err := c.found(ctx, w, filter, log.PartitionID(p), row); err != nil {
				return err
			}
		}
	}
	return c.finish(ctx, w)
}

// searched is the range of keys that the caller may see.
func (c *changer) searched() (storage.Range, error) {
	user := c.restricted()
	if c.table.Kind != materializer.User || user == "" {
		return storage.Range{}, nil
	}
	start, err := materializer.EncodeKey(nil, []expr.Value{expr.TextOf(user)})
	if err != nil {
		return storage.Range{}, fmt.Errorf("encode user: %w", err)
	}
	return storage.Range{Start: start, End: after(start)}, nil
}

// after returns the first key that does not begin with prefix, nil if there is none.
func after(prefix []byte) []byte {
	end := append([]byte{}, prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

func (c *changer) found(ctx context.Context, w *writing, filter *expr.Program, p log.PartitionID, row materializer.KeyedRow) error {
	if filter != nil {
		ok, err := filter.Match(&row.Row)
		if err != nil || !ok {
			return err
		}
	}
	address := materializer.Mutation{
		Op: materializer.Patch, Schema: c.table.Schema().Version, Version: materializer.AnyVersion,
		Partition: log.Partition{Table: c.table.ID, ID: p}, Key: row.Key,
	}
	if err := c.add(address, c.where != nil); err != nil {
		return err
	}
	c.bytes += 2 * row.Row.Size()
	if !c.NotAtomic || c.IdempotencyKey != "" {
		if len(c.batch.Mutations) > maxAtomicRows || c.bytes > maxAtomicBytes {
			return c.tooMany()
		}
		return nil
	}
	if len(c.batch.Mutations) < maxStepRows && c.bytes < maxStepBytes {
		return nil
	}
	return c.flush(ctx, w)
}

// tooMany refuses a statement that does not fit into one batch.
func (c *changer) tooMany() *problem.Error {
	if c.NotAtomic {
		return problem.New(problem.NotAtomic, "the statement concerns too many rows for an idempotency key, which is for one step").
			WithHint("narrow it to at most %d rows, or leave the key out", maxAtomicRows)
	}
	return problem.New(problem.NotAtomic, "the statement concerns too many rows to be applied all or nothing; nothing was changed").
		WithHint("narrow it to at most %d rows, or send the request with \"atomic\": false: it is then applied in several steps", maxAtomicRows)
}

func (c *changer) flush(ctx context.Context, w *writing) error {
	err := w.write(ctx, c.batch)
	c.batch, c.bytes = c.session.batch(), 0
	p := problem.As(err)
	switch {
	case p != nil && (p.Code == problem.BodyTooLarge || p.Code == problem.NotAtomic) && w.sum.Batches == 0:
		return c.tooMany().Because(p)
	case p != nil && w.sum.Batches > 0:
		// What the steps before have changed stays.
		q := *p
		q.Kept = &w.sum.RowCount
		return &q
	}
	return err
}

// finish writes what is left. With an idempotency key that is done even for no rows: the request is remembered.
func (c *changer) finish(ctx context.Context, w *writing) error {
	if len(c.batch.Mutations) > 0 || c.IdempotencyKey != "" {
		if err := c.flush(ctx, w); err != nil {
			return err
		}
	}
	return w.end()
}
