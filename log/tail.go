package log

import (
	"context"
	"errors"

	"kalamlog.dev/kalam/internal/problem"
)

// Record is one change as stored. Data is valid until the next call of the reader that returned it.
type Record struct {
	Partition Partition
	Offset    Offset
	Index     Index
	Timestamp int64 // microseconds UTC
	Data      []byte
}

// recordOverhead is what a record counts beside its data towards maxBytes.
const recordOverhead = 16

// Read returns records of p from offset from on, up to about maxBytes but at least one, in order and without waiting; none if from is the
// end. Offsets below Start give *problem.Error Trimmed, beyond End OutOfRange. Data is freshly allocated.
func (l *Log) Read(p Partition, from Offset, maxBytes int) ([]Record, error) {
	part, err := l.store.partition(p)
	if err != nil {
		return nil, err
	}
	if part.table.dropped.Load() {
		return nil, errDropped(p.Table)
	}
	end := Offset(part.end.Load())
	if from > end {
		return nil, problem.New(problem.OutOfRange, "offset %d is beyond the end, which is %d", from, end)
	}
	if start := part.start.Load().Offset; from < start {
		return nil, errTrimmed(from, start)
	}
	return part.read(from, end, maxBytes)
}

func errTrimmed(offset, start Offset) error {
	return problem.New(problem.Trimmed, "offset %d is no longer kept; the first one is %d", offset, start)
}

func (p *partition) read(from, end Offset, maxBytes int) ([]Record, error) {
	var records []Record
	r := newReader(p, from, min(max(maxBytes, 0)+indexInterval, scanChunk))
	size := 0
	for size == 0 || size < maxBytes {
		f, ok, err := r.next(end)
		if err != nil {
			return nil, p.readError(err)
		}
		if !ok {
			break
		}
		n := len(records)
		if records, err = f.appendRecords(records, p.id, from); err != nil {
			return nil, r.seg.damage(r.window.position-f.size, err)
		}
		for i := n; i < len(records); i++ {
			if size > 0 && size+len(records[i].Data) > maxBytes {
				return records[:i], nil
			}
			size += len(records[i].Data) + recordOverhead
		}
	}
	return records, nil
}

// readError hides what reading a table says whose files are being removed.
func (p *partition) readError(err error) error {
	if p.table.dropped.Load() {
		return errDropped(p.id.Table)
	}
	return err
}

func errDropped(t TableID) error {
	return problem.New(problem.Trimmed, "table %d was dropped and its changes are gone", t)
}

// WaitEnd returns when End(p) > end. Its error is ctx's, or tells that the table or the log has ended.
func (l *Log) WaitEnd(ctx context.Context, p Partition, end Offset) error {
	part, err := l.store.partition(p)
	if err != nil {
		return err
	}
	grown := func() bool { return Offset(part.end.Load()) > end }
	err = part.grown.wait(ctx, func() bool { return grown() || part.table.dropped.Load() || l.store.over() != nil })
	switch {
	case err != nil || grown():
		return err
	case part.table.dropped.Load():
		return errDropped(p.Table)
	default:
		return l.store.over()
	}
}

// Tail reads the partitions of one table as one stream in the order (index, partition, offset). It is not safe for concurrent
// use.
type Tail struct {
	log      *Log
	id       TableID
	table    *table
	cursors  []cursor
	position Position
	skip     uint32 // changes of the first entry that the start position had seen
	skipAt   Index
	records  []Record
	closed   bool
}

// cursor is a Tail's place in one partition.
type cursor struct {
	reader *reader
	head   frame // the next frame, if has
	has    bool
}

// Tail starts a Tail of the partitions 0 to partitions-1 of a table behind from, whose Seen is honoured. A position beyond
// Log.Position gives *problem.Error PositionInvalid: Wait for it first. One that retention has passed gives Trimmed.
func (l *Log) Tail(id TableID, partitions int, from Position) (*Tail, error) {
	part := from.Part(groupID)
	if !l.Position().Covers(from) {
		return nil, problem.New(problem.PositionInvalid, "the position %s is not reached here; the node is at %s", from, l.Position())
	}
	t := &Tail{log: l, id: id, table: l.store.table(id), position: from, skip: part.Seen, skipAt: part.Index}
	if t.table.dropped.Load() {
		return nil, errDropped(id)
	}
	for n := range partitions {
		p, err := l.store.partition(Partition{Table: id, ID: PartitionID(n)})
		if err != nil {
			return nil, err
		}
		first, _, err := p.first(Offset(p.end.Load()), func(i Index, _ int64) bool {
			return i < part.Index || i == part.Index && part.Seen == 0
		})
		// The start that counts is the one after the search: it may have moved meanwhile.
		if start := p.start.Load(); start.Index > part.Index || start.Index == part.Index && part.Seen > 0 {
			return nil, problem.New(problem.Trimmed, "the changes after %s are no longer kept", from)
		}
		if err != nil {
			return nil, p.readError(err)
		}
		t.cursors = append(t.cursors, cursor{reader: newReader(p, first, scanChunk)})
	}
	return t, nil
}

// Next waits for changes and returns those of one or more whole entries (minus what the start position had seen), about maxBytes at most
// but at least one entry. Its error is ctx's, or tells that the table or the log has ended, or, as Trimmed, that retention has removed what is
// to come next.
func (t *Tail) Next(ctx context.Context, maxBytes int) ([]Record, error) {
	for {
		records, err := t.poll(maxBytes)
		if err != nil || len(records) > 0 {
			return records, err
		}
		t.rest()
		if err := t.wait(ctx); err != nil {
			t.settle()
			return nil, err
		}
	}
}

// rest frees the buffers that a tail has read with: thousands of them may wait at a time.
func (t *Tail) rest() {
	t.records = nil
	for i := range t.cursors {
		if w := &t.cursors[i].reader.window; w.buf != nil { // an empty one keeps its array alive too
			w.buf = append([]byte(nil), w.buf...)
		}
	}
}

// wait returns when the table may have changes beyond the tail's position.
func (t *Tail) wait(ctx context.Context) error {
	ready := func() bool { return t.grown() || t.table.dropped.Load() || t.log.store.over() != nil }
	err := t.table.grown.wait(ctx, ready)
	switch {
	case err != nil || t.grown():
		return err
	case t.table.dropped.Load():
		return errDropped(t.id)
	default:
		return t.log.store.over()
	}
}

// grown reports whether poll may find something.
func (t *Tail) grown() bool {
	applied := Index(t.log.store.applied.Load())
	for i := range t.cursors {
		c := &t.cursors[i]
		if c.has && c.head.index <= applied || Offset(c.reader.part.end.Load()) > c.reader.want {
			return true
		}
	}
	return false
}

// settle moves the position over entries that left the table alone.
func (t *Tail) settle() {
	applied := Index(t.log.store.applied.Load())
	if !t.grown() {
		t.moveTo(applied)
	}
}

// poll returns what there is without waiting.
func (t *Tail) poll(maxBytes int) ([]Record, error) {
	if t.closed {
		return nil, errors.New("log: tail is closed")
	}
	t.records = t.records[:0]
	applied := Index(t.log.store.applied.Load()) // before the ends: whatever it covers is below them
	last, size := Index(0), 0
	for {
		c, err := t.least()
		if err != nil {
			return nil, err
		}
		if c == nil || c.head.index > applied {
			t.moveTo(applied)
			return t.records, nil
		}
		if size > 0 && c.head.index != last && size+len(c.head.records) > maxBytes {
			t.moveTo(last)
			return t.records, nil
		}
		last = c.head.index
		if size, err = t.takeFrame(c, size); err != nil {
			return nil, err
		}
	}
}

// least returns the cursor whose head comes next, or nil if there is none.
func (t *Tail) least() (*cursor, error) {
	var best *cursor
	for i := range t.cursors {
		c := &t.cursors[i]
		if !c.has {
			p := c.reader.part
			var err error
			if c.head, c.has, err = c.reader.next(Offset(p.end.Load())); err != nil {
				return nil, p.readError(err)
			}
		}
		if c.has && (best == nil || c.head.index < best.head.index) {
			best = c
		}
	}
	return best, nil
}

// takeFrame moves c's head to the records and returns the new size.
func (t *Tail) takeFrame(c *cursor, size int) (int, error) {
	from := c.head.base
	if t.skip > 0 && c.head.index == t.skipAt {
		seen := min(t.skip, c.head.count)
		from += Offset(seen)
		t.skip -= seen
	}
	n := len(t.records)
	records, err := c.head.appendRecords(t.records, c.reader.part.id, from)
	if err != nil {
		return 0, c.reader.seg.damage(c.reader.window.position-c.head.size, err)
	}
	t.records = records
	for _, r := range records[n:] {
		size += len(r.Data) + recordOverhead
	}
	c.has, c.head = false, frame{}
	return size, nil
}

// moveTo sets the position to all of the entry at i.
func (t *Tail) moveTo(i Index) {
	if p := t.log.positionAt(i); p.Covers(t.position) {
		t.position = p
	}
}

// Position returns how far the tail has read. Entries that left the table alone count, so it moves even when Next finds nothing.
func (t *Tail) Position() Position { return t.position }

// Close ends the tail.
func (t *Tail) Close() { t.closed, t.cursors, t.records = true, nil, nil }
