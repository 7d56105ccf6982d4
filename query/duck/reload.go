package duck

import (
	"context"
	"maps"
	"slices"
	"strings"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

// reload brings the mirror of a system table to the view: such tables are never flushed and small, so their rows are
// copied anew whenever one has changed. The caller holds the lock.
func (m *mirror) reload(ctx context.Context, ms *Mirrors, v *materializer.View, t *materializer.Table) error {
	ends, err := endsOf(v, t)
	if err != nil {
		return err
	}
	if m.table != nil && maps.Equal(ends, m.ends) {
		return nil
	}
	s := &step{Mirrors: ms, view: v, old: m.state}
	s.next = state{table: t, generation: m.generation + 1, ends: ends, manifest: &manifest.Manifest{}, tailRows: true}
	return m.move(s, func() error { return s.reload(ctx) })
}

func (s *step) reload(ctx context.Context) error {
	sql := []string{createTail(s.next.tail(), s.next.table.Schema())}
	if s.old.table != nil {
		sql = append(sql, "DROP TABLE "+internal(s.old.tail()))
	}
	if err := s.conn.Exec(ctx, strings.Join(sql, ";\n")); err != nil {
		return err
	}
	if err := s.copyRows(); err != nil {
		return err
	}
	return s.defineViews(ctx)
}

// copyRows appends the current rows of every partition to the tail.
func (s *step) copyRows() error {
	t := s.next.table
	w, err := newTailWriter(s.conn, s.next.tail(), t)
	if err != nil {
		return err
	}
	for _, p := range slices.Sorted(maps.Keys(s.next.ends)) {
		for r, rowErr := range s.view.Scan(t, p, storage.Range{}) {
			if err = rowErr; err == nil {
				err = w.addCurrent(r, expr.IntOf(expr.Integer, int64(p)))
			}
			if err != nil {
				break
			}
		}
	}
	if closing := w.app.close(); err == nil {
		err = closing
	}
	return err
}

// addCurrent appends a current row. The state does not tell whether its last change was an insert or an update.
func (w *tailWriter) addCurrent(r materializer.KeyedRow, partition expr.Value) error {
	n := len(w.values) - 4
	for i := range n {
		w.values[i] = r.Row.Column(i)
	}
	w.values[n] = partition
	w.values[n+1] = expr.IntOf(expr.BigInt, int64(r.Version))
	w.values[n+2] = expr.IntOf(expr.TimestampTZ, r.Timestamp)
	w.values[n+3] = expr.Value{}
	return w.app.append(w.values)
}
