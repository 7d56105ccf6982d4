package subscribe

import (
	"bytes"
	"context"
	"fmt"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// tail is what a changeReader needs of a *log.Tail.
type tail interface {
	Next(ctx context.Context, maxBytes int) ([]log.Record, error)
	Position() log.Position
	Close()
}

// changeReader walks a table's changes from a cursor on and knows the cursor after each. The log is read in whole entries, so that the
// last change of an entry is known as such; what was read and not yet taken is all that it holds.
type changeReader struct {
	tail    tail
	pending []log.Record // of whole entries
	entry   log.Index    // of the last change taken
	seen    uint32       // how many changes of entry were taken, here or before the start
}

// newChangeReader reads t, which starts after from.
func newChangeReader(t tail, from log.Position) *changeReader {
	r := &changeReader{tail: t}
	if p := from.Part(group); p.Seen > 0 {
		r.entry, r.seen = p.Index, p.Seen
	}
	return r
}

// group is the Raft group that every partition lives in.
const group log.GroupID = 1

// fill waits for changes. It must be called only when none is pending.
func (r *changeReader) fill(ctx context.Context, maxBytes int) error {
	r.pending = nil // even when empty it keeps what was read alive, and the wait may be long
	var err error
	r.pending, err = r.tail.Next(ctx, maxBytes)
	return err
}

// take returns the oldest pending change.
func (r *changeReader) take() log.Record {
	record := r.pending[0]
	r.pending = r.pending[1:]
	if record.Index != r.entry {
		r.entry, r.seen = record.Index, 0
	}
	r.seen++
	return record
}

// cursor is the position after the change taken last. After the last change of an entry it is the entry's end.
func (r *changeReader) cursor() log.Position {
	if len(r.pending) > 0 && r.pending[0].Index == r.entry {
		return log.PositionOf(log.Part{Group: group, Index: r.entry, Seen: r.seen})
	}
	return log.PositionOf(log.Part{Group: group, Index: r.entry})
}

// position is how far everything is taken. It holds only while nothing is pending.
func (r *changeReader) position() log.Position { return r.tail.Position() }

func (r *changeReader) close() {
	r.tail.Close()
	r.pending = nil
}

// tell appends what change is to the query, if it is anything: the whole path from a change to its event, without side effects but on b. cursor
// is called only if there is an event. An error is the filter's or a projection's (*problem.Error), or damage.
func (q *liveQuery) tell(b *batch, c materializer.Change, cursor func() log.Position) error {
	before, oldMatch, err := q.side(c.Old)
	if err != nil {
		return err
	}
	after, newMatch, err := q.side(c.New)
	if err != nil {
		return err
	}
	at := place{partition: c.Partition.ID, offset: c.Offset, timestamp: c.Timestamp}
	t := transitionOf(c.Op, oldMatch, newMatch)
	switch t.event {
	case Inserted:
		return q.tellRow(b, t, after, at, cursor)
	case Deleted:
		return q.tellRow(b, t, before, at, cursor)
	case Updated:
		return q.tellUpdate(b, before, after, at, cursor)
	default:
		return nil
	}
}

// side decodes the row on one side of a change and matches it. No row does not match.
func (q *liveQuery) side(raw []byte) (materializer.Row, bool, error) {
	if raw == nil {
		return materializer.Row{}, false, nil
	}
	row, err := q.table.DecodeRow(raw)
	if err != nil {
		return row, false, fmt.Errorf("decode row of %s: %w", q.table.QualifiedName(), err)
	}
	ok, err := q.match(row)
	return row, ok, err
}

func (q *liveQuery) tellRow(b *batch, t transition, row expr.Row, at place, cursor func() log.Position) error {
	var err error
	if b.after, err = q.appendRow(b.after[:0], row); err != nil {
		return err
	}
	b.addRow(t.event, t.how, b.after, at, cursor())
	return nil
}

// tellUpdate compares what the subscriber would hold before and after: a change outside the projection is none.
func (q *liveQuery) tellUpdate(b *batch, before, after expr.Row, at place, cursor func() log.Position) error {
	var err error
	if b.before, err = q.appendRow(b.before[:0], before); err != nil {
		return err
	}
	if b.after, err = q.appendRow(b.after[:0], after); err != nil {
		return err
	}
	if !bytes.Equal(b.before, b.after) {
		b.addUpdate(b.before, b.after, at, cursor())
	}
	return nil
}

// tellInitial appends an initial row, if it matches.
func (q *liveQuery) tellInitial(b *batch, row expr.Row, at place) error {
	if ok, err := q.match(row); !ok || err != nil {
		return err
	}
	return q.tellRow(b, transition{event: InitialRow}, row, at, func() log.Position { return log.Position{} })
}
