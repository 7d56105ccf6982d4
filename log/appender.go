package log

import (
	"fmt"
	"slices"
)

// appender collects the changes of one Raft update and turns them into frames, one buffer a partition. It implements
// Appender and is reused from update to update.
type appender struct {
	store     *store
	open      map[Partition]*pending
	dirty     []*pending // those with changes in this update, in the order of their first change
	last      *pending
	index     Index
	timestamp int64
	prefixes  []prefix // to be deleted
	changes   uint64   // of this update
	written   int      // bytes of this update that are in segments
	kept      int      // capacity of the buffers in open, about
	err       error    // the first failure; Append cannot report it
}

// pending is what an update has for one partition and has not written yet.
type pending struct {
	part    *partition
	dirty   bool // it has changes of this update, written or not
	counted int  // capacity of buf that appender.kept includes
	next    Offset
	buf     []byte
	frames  []frame
	start   int   // of the unfinished frame in buf, -1 if there is none
	current frame // the unfinished frame
}

const (
	// flushSize is how much of an update one partition collects before it is written. Until Commit nobody looks at it.
	flushSize = 1 << 20
	// keepOpen and keepBuffers are how many partitions keep their buffers from one update to the next, and how much all of them together.
	keepOpen    = 1024
	keepBuffers = 16 << 20
)

func newAppender(s *store) *appender {
	return &appender{store: s, open: make(map[Partition]*pending)}
}

// begin starts the entry that the next changes belong to.
func (a *appender) begin(index Index, timestamp int64) {
	a.index, a.timestamp = index, timestamp
}

// Append implements Appender.
func (a *appender) Append(id Partition, change []byte) Offset {
	p := a.last
	if p == nil || p.part.id != id {
		if p = a.pending(id); p == nil {
			return 0
		}
		a.last = p
	}
	if p.start < 0 {
		p.start = len(p.buf)
		p.buf = append(p.buf, make([]byte, frameHeaderSize)...)
		p.current = frame{base: p.next, index: a.index, timestamp: a.timestamp}
	}
	p.buf = appendBytes(p.buf, change)
	p.current.count++
	a.changes++
	offset := p.next
	p.next++
	if len(p.buf)-p.start >= frameTarget {
		a.seal(p)
	}
	return offset
}

// DeletePrefix implements Appender.
func (a *appender) DeletePrefix(id Partition, s Start) {
	p := a.pending(id)
	if p == nil {
		return
	}
	if s.Offset > p.next {
		a.fail(fmt.Errorf("delete what lies before offset %d of partition %d of table %d, which ends at %d", s.Offset, id.ID, id.Table, p.next))
		return
	}
	a.prefixes = append(a.prefixes, prefix{part: p.part, start: s, index: a.index})
}

// pending returns id's collection, ready for this update, or nil if the partition cannot be opened.
func (a *appender) pending(id Partition) *pending {
	p := a.open[id]
	if p == nil {
		part, err := a.store.partition(id)
		if err == nil {
			err = part.load()
		}
		if err != nil {
			a.fail(err)
			return nil
		}
		p = &pending{part: part, start: -1}
		a.open[id] = p
	}
	if !p.dirty {
		p.dirty, p.next = true, p.part.next
		a.dirty = append(a.dirty, p)
	}
	return p
}

func (a *appender) fail(err error) {
	if a.err == nil && err != nil {
		a.err = err
	}
}

// finishEntry ends the frames of the entry.
func (a *appender) finishEntry() {
	for _, p := range a.dirty {
		if p.start >= 0 {
			a.seal(p)
		}
	}
}

// seal ends p's frame.
func (a *appender) seal(p *pending) {
	p.current.size = int64(len(p.buf) - p.start)
	if err := sealFrame(p.buf[p.start:], p.part.seed, p.current); err != nil {
		a.fail(fmt.Errorf("append to partition %d of table %d: %w", p.part.id.ID, p.part.id.Table, err))
	}
	p.frames = append(p.frames, p.current)
	p.start = -1
	if len(p.buf) >= flushSize {
		a.flush(p)
	}
}

// flush writes p's frames to its segment.
func (a *appender) flush(p *pending) {
	if len(p.buf) == 0 || a.err != nil {
		return
	}
	if err := p.part.append(p.buf, p.frames); err != nil {
		a.fail(fmt.Errorf("write partition %d of table %d: %w", p.part.id.ID, p.part.id.Table, err))
	}
	a.written += len(p.buf)
	p.buf, p.frames = p.buf[:0], p.frames[:0]
}

// write appends every frame to its partition's segment and adds the new end offsets to ends. It returns the bytes written.
func (a *appender) write(ends map[Partition]Offset) (int, error) {
	for _, p := range a.dirty {
		a.flush(p)
		ends[p.part.id] = p.next
	}
	return a.written, a.err
}

// publish lets readers see what was written, and not what was deleted any more, and returns the latter. It belongs to the caller until the next update.
func (a *appender) publish() []prefix {
	for _, p := range a.dirty {
		p.part.publish()
	}
	a.prefixes = slices.DeleteFunc(a.prefixes, func(d prefix) bool { return !d.part.startAt(d.start) })
	return a.prefixes
}

// wake tells those who wait for a table, and makes ready for the next update.
func (a *appender) wake() {
	for _, p := range a.dirty {
		p.part.table.grown.broadcast()
	}
	a.reset()
}

func (a *appender) reset() {
	for _, p := range a.dirty {
		a.kept += cap(p.buf) - p.counted
		p.dirty, p.counted = false, cap(p.buf)
	}
	if len(a.open) > keepOpen || a.kept > keepBuffers {
		clear(a.open)
		a.kept = 0
	}
	a.dirty, a.last, a.changes, a.written, a.err = a.dirty[:0], nil, 0, 0, nil
	a.prefixes = a.prefixes[:0]
}
