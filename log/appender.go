package log

import (
	"fmt"
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
	err       error // the first failure; Append cannot report it
}

// pending is what an update has for one partition so far.
type pending struct {
	part    *partition
	next    Offset
	buf     []byte
	frames  []frame
	start   int   // of the unfinished frame in buf, -1 if there is none
	current frame // the unfinished frame
}

// keepBuffer is the size up to which a partition's buffer is kept for the next update.
const keepBuffer = 256 << 10

// keepOpen is how many partitions keep their buffers from one update to the next.
const keepOpen = 1024

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
	offset := p.next
	p.next++
	if len(p.buf)-p.start >= frameTarget {
		a.fail(p.seal())
	}
	return offset
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
	if len(p.buf) == 0 {
		p.next = p.part.next
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
			a.fail(p.seal())
		}
	}
}

func (p *pending) seal() error {
	p.current.size = int64(len(p.buf) - p.start)
	if err := sealFrame(p.buf[p.start:], p.part.seed, p.current); err != nil {
		return fmt.Errorf("append to partition %d of table %d: %w", p.part.id.ID, p.part.id.Table, err)
	}
	p.frames = append(p.frames, p.current)
	p.start = -1
	return nil
}

// write appends every frame to its partition's segment and adds the new end offsets to ends. It returns the bytes written.
func (a *appender) write(ends map[Partition]Offset) (int, error) {
	if a.err != nil {
		return 0, a.err
	}
	total := 0
	for _, p := range a.dirty {
		if err := p.part.append(p.buf, p.frames); err != nil {
			return total, fmt.Errorf("write partition %d of table %d: %w", p.part.id.ID, p.part.id.Table, err)
		}
		ends[p.part.id] = p.next
		total += len(p.buf)
	}
	return total, nil
}

// publish lets readers see what was written.
func (a *appender) publish() {
	for _, p := range a.dirty {
		p.part.publish()
	}
}

// wake tells those who wait for a table, and makes ready for the next update.
func (a *appender) wake() {
	for _, p := range a.dirty {
		p.part.table.grown.broadcast()
	}
	a.reset()
}

func (a *appender) reset() {
	if len(a.open) > keepOpen {
		clear(a.open)
	}
	for _, p := range a.dirty {
		p.buf, p.frames, p.start = p.buf[:0], p.frames[:0], -1
		if cap(p.buf) > keepBuffer {
			p.buf = nil
		}
	}
	a.dirty, a.last, a.err = a.dirty[:0], nil, nil
}
