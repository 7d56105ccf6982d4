package duck

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// Log is what a mirror reads of the log.
type Log interface {
	Read(p log.Partition, from log.Offset, maxBytes int) ([]log.Record, error)
	WaitEnd(ctx context.Context, p log.Partition, end log.Offset) error
}

// mirror keeps DuckDB's picture of one table:
//
//	tail_<id>_<n>  the live rows among the changes that are not flushed
//	table_<id>     view: data files less the dead rows, and tail; the table's columns
//	full_<id>      the same with the system columns and those that are hidden
//
// A mirror only moves forward. Every step is one DuckDB transaction, so that a reader sees a flushed row either in the
// tail or in a file.
type mirror struct {
	lock    chan struct{}   // held by whoever moves the mirror or is about to begin a read of it
	checked map[string]bool // data files whose checksum was compared
	state
}

// state is what a mirror has reached. It is replaced as a whole when a step has been committed.
type state struct {
	table      *materializer.Table // nil until the first step
	generation int                 // numbers the tables' names
	ends       map[log.PartitionID]log.Offset
	manifest   *manifest.Manifest
	replaced   offsets  // replaced by changes of the tail, in the tail or flushed, less those that manifest knows
	tailRows   bool     // the view reads the tail
	dead       *deadSet // flushed offsets that are no live row, nil if there are none
	deadNumber int64    // of dead among the sets, 0 for nil
}

func (s *state) tail() string { return fmt.Sprintf("tail_%d_%d", s.table.ID, s.generation) }

func newMirror() *mirror {
	return &mirror{lock: make(chan struct{}, 1)}
}

func (m *mirror) acquire(ctx context.Context) error {
	select {
	case m.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *mirror) release() { <-m.lock }

// step is one move of a mirror, within a transaction of conn.
type step struct {
	*Mirrors
	conn *Conn
	view *materializer.View
	old  state
	next state
}

// advance brings the mirror of t to the view. The caller holds the lock.
func (m *mirror) advance(ctx context.Context, ms *Mirrors, v *materializer.View, t *materializer.Table) error {
	ends, err := endsOf(v, t)
	if err != nil {
		return err
	}
	flush, err := manifest.Version(v, t.ID)
	if err != nil {
		return fmt.Errorf("read manifest of %s: %w", t.QualifiedName(), err)
	}
	fresh := m.table == nil || len(m.table.Versions) != len(t.Versions)
	if !fresh && flush == m.manifest.Flush && maps.Equal(ends, m.ends) {
		return nil
	}
	s := &step{Mirrors: ms, view: v, old: m.state}
	s.next = state{table: t, generation: m.generation, ends: ends, manifest: m.manifest, tailRows: m.tailRows, dead: m.dead, deadNumber: m.deadNumber}
	flushed := fresh || flush != m.manifest.Flush
	if flushed {
		if s.next.manifest, err = manifest.Read(v, t); err != nil {
			return fmt.Errorf("read manifest of %s: %w", t.QualifiedName(), err)
		}
		if err := ms.db.ensure(ctx, s.next.manifest.Files); err != nil {
			return fmt.Errorf("get data files of %s: %w", t.QualifiedName(), err)
		}
		if err := m.checkFiles(ctx, ms.db.dir, s.next.manifest.Files); err != nil {
			return fmt.Errorf("mirror %s: %w", t.QualifiedName(), err)
		}
	}
	return m.move(s, func() error { return s.run(ctx, fresh, flushed) })
}

// move runs a step in a transaction and, when that is committed, makes it the mirror's state.
func (m *mirror) move(s *step, run func() error) error {
	err := s.db.maintain(func(c *Conn) error {
		s.conn = c
		return c.transact(run)
	})
	moved := s.next.deadNumber != s.old.deadNumber
	if err != nil {
		if moved {
			s.db.dead.drop(s.next.deadNumber)
		}
		return fmt.Errorf("mirror %s: %w", s.next.table.QualifiedName(), err)
	}
	m.state = s.next
	if moved {
		s.db.dead.retire(s.old.deadNumber)
	}
	return nil
}

func endsOf(v *materializer.View, t *materializer.Table) (map[log.PartitionID]log.Offset, error) {
	ends := make(map[log.PartitionID]log.Offset, t.Partitions)
	for i := range t.Partitions {
		end, err := v.End(log.Partition{Table: t.ID, ID: log.PartitionID(i)})
		if err != nil {
			return nil, fmt.Errorf("read end of %s: %w", t.QualifiedName(), err)
		}
		ends[log.PartitionID(i)] = end
	}
	return ends, nil
}

// run makes the step.
func (s *step) run(ctx context.Context, fresh, flushed bool) error {
	view := fresh || flushed
	if view {
		if err := s.nextGeneration(ctx, fresh); err != nil {
			return err
		}
	}
	replaced, rows, err := s.appendTail(ctx, fresh)
	if err != nil {
		return err
	}
	if err := s.supersede(ctx, fresh, flushed, replaced); err != nil {
		return err
	}
	if rows > 0 && !s.next.tailRows {
		s.next.tailRows, view = true, true
	}
	if s.next.deadNumber != s.old.deadNumber {
		view = true
	}
	if !view {
		return nil
	}
	return s.defineViews(ctx)
}

// nextGeneration makes new tables with what the old tail keeps, for a manifest or schema that has moved.
func (s *step) nextGeneration(ctx context.Context, fresh bool) error {
	s.next.generation++
	sql := []string{createTail(s.next.tail(), s.next.table.Schema())}
	if !fresh {
		sql = append(sql, fmt.Sprintf("INSERT INTO %s SELECT * FROM %s WHERE %s", internal(s.next.tail()), internal(s.old.tail()),
			s.unflushed()))
	}
	if s.old.table != nil {
		sql = append(sql, "DROP TABLE "+internal(s.old.tail()))
	}
	if err := s.conn.Exec(ctx, strings.Join(sql, ";\n")); err != nil {
		return err
	}
	s.next.tailRows = false
	if !fresh {
		n, err := s.conn.Text(ctx, "SELECT count(*)::TEXT FROM (SELECT 1 FROM "+internal(s.next.tail())+" LIMIT 1)")
		if err != nil {
			return err
		}
		s.next.tailRows = n != "0"
	}
	return nil
}

// unflushed is the condition of the tail's rows that no file holds.
func (s *step) unflushed() string {
	var terms []string
	for _, p := range slices.Sorted(maps.Keys(s.next.ends)) {
		terms = append(terms, fmt.Sprintf("_partition = %d AND _offset >= %d", p, s.next.manifest.Flushed[p]))
	}
	return strings.Join(terms, " OR ")
}

// appendTail adds the changes since the last step to the tail.
func (s *step) appendTail(ctx context.Context, fresh bool) (offsets, int, error) {
	w, err := newTailWriter(s.conn, s.next.tail(), s.next.table)
	if err != nil {
		return nil, 0, err
	}
	for _, p := range slices.Sorted(maps.Keys(s.next.ends)) {
		id := log.Partition{Table: s.next.table.ID, ID: p}
		from := s.next.manifest.Flushed[p]
		if !fresh {
			from = max(from, s.old.ends[p])
		}
		if err = w.copy(ctx, s.log, id, from, s.next.ends[p]); err != nil {
			break
		}
	}
	if closing := w.app.close(); err == nil {
		err = closing
	}
	return w.replaced, w.rows, err
}

// supersede takes the rows that newer changes replaced out of the tail, or counts them among the dead if they are flushed.
func (s *step) supersede(ctx context.Context, fresh, flushed bool, replaced offsets) error {
	below, above := replaced.split(s.next.manifest.Flushed)
	if err := removeRows(ctx, s.conn, s.next.tail(), above); err != nil {
		return err
	}
	s.next.replaced = offsets{}
	if !fresh {
		s.next.replaced.or(s.old.replaced)
	}
	s.next.replaced.or(replaced)
	if fresh || flushed {
		s.forget()
		below, _ = s.next.replaced.split(s.next.manifest.Flushed)
		below.or(offsets(s.next.manifest.Superseded))
		s.next.dead, s.next.deadNumber = nil, 0
	}
	if below.count() > 0 {
		s.next.dead = s.next.dead.with(below)
		s.next.deadNumber = s.db.dead.add(s.next.dead)
	}
	return nil
}

// forget drops from replaced what the manifest has taken over.
func (s *step) forget() {
	for p, b := range s.next.manifest.Superseded {
		if mine := s.next.replaced[p]; mine != nil {
			mine.AndNot(b)
		}
	}
}
