package log

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// prefix is a deletion that an entry has brought: what lies before start goes.
type prefix struct {
	part  *partition
	start Start
	index Index // of the entry
}

// startAt takes what lies before s from readers. The segment appended to is sealed if s lies behind its beginning, so that it can go in its turn
// however slowly the partition grows. It reports whether s lies behind the start so far. Called by the appender.
func (p *partition) startAt(s Start) bool {
	open, moved := p.moveStart(s)
	if open != nil {
		p.seal(open)
	}
	return moved
}

// moveStart returns the segment that is to be sealed, nil if none is.
func (p *partition) moveStart(s Start) (open *segment, moved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Offset <= p.start.Load().Offset {
		return nil, false
	}
	p.start.Store(&s)
	if n := len(p.segments); n > 0 && p.segments[n-1].limit.Load() == 0 && p.segments[n-1].base < s.Offset {
		open = p.segments[n-1]
	}
	return open, true
}

// firstKeptLocked returns the place in p.segments of the first that holds an offset from start on.
func (p *partition) firstKeptLocked(start Offset) int {
	for i, s := range p.segments {
		end := Offset(s.limit.Load())
		if i+1 < len(p.segments) {
			end = p.segments[i+1].base
		}
		if end == 0 || end > start {
			return i
		}
	}
	return len(p.segments)
}

// deleteOldest deletes the first segment if all of it lies before start, and returns how many bytes that freed.
func (p *partition) deleteOldest(start Offset) (deleted bool, bytes int64, err error) {
	p.mu.RLock()
	due := p.firstKeptLocked(start) > 0
	var s *segment
	if due {
		s = p.segments[0]
	}
	p.mu.RUnlock()
	if !due {
		return false, 0, nil
	}
	bytes = s.fileSize()
	p.store.forgetSegment(s)
	if err := p.removeSegment(s); err != nil {
		return false, 0, err
	}
	p.store.files.forget(s) // a reader may have opened it once more
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.segments) > 0 && p.segments[0] == s {
		p.segments = p.segments[1:]
	}
	return true, bytes, nil
}

// fileSize returns the size of the segment's file, 0 if it cannot be told.
func (s *segment) fileSize() int64 {
	info, err := s.part.store.fs.Stat(s.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// forgetSegment keeps s from being synced and closes its file.
func (s *store) forgetSegment(seg *segment) {
	s.unsynced.Lock()
	defer s.unsynced.Unlock()
	delete(s.unsynced.segments, seg)
	s.files.forget(seg)
}

// prefixQueue deletes the segments before the starts of partitions, oldest first, once a checkpoint covers the entry that moved the start: until
// then a restart may come up with a state that has the older start, and would miss them. Nothing of it needs to survive a restart, which finds
// what is left by its place before the start.
type prefixQueue struct {
	store   *store
	drops   *dropQueue
	metrics *metrics

	mu      sync.Mutex
	pending []prefix // in the order of their entries
}

func newPrefixQueue(s *store, drops *dropQueue, m *metrics) *prefixQueue {
	return &prefixQueue{store: s, drops: drops, metrics: m}
}

// add takes deletions.
func (q *prefixQueue) add(all []prefix) {
	if len(all) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pending = append(q.pending, all...)
}

// run deletes what the durable checkpoint allows, up to most segments. It may run beside everything; what fails stays for the next time.
func (q *prefixQueue) run(checkpoint Index, most int) error {
	var errs []error
	for _, d := range q.due(checkpoint) {
		n, done, err := q.deletePrefix(d, most)
		if err != nil {
			errs = append(errs, fmt.Errorf("delete segments of partition %d of table %d: %w", d.part.id.ID, d.part.id.Table, err))
		}
		if done {
			q.finish(d)
		}
		if most -= n; most <= 0 {
			break
		}
	}
	return errors.Join(errs...)
}

// due returns the last deletion that checkpoint covers of each partition: it includes those before.
func (q *prefixQueue) due(checkpoint Index) []prefix {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.pending) == 0 {
		return nil
	}
	last := map[Partition]prefix{}
	for _, d := range q.pending {
		if d.index <= checkpoint {
			last[d.part.id] = d
		}
	}
	return slices.Collect(maps.Values(last))
}

// finish takes d off the queue, and what it includes.
func (q *prefixQueue) finish(done prefix) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pending = slices.DeleteFunc(q.pending, func(d prefix) bool { return d.part.id == done.part.id && d.index <= done.index })
}

// deletePrefix deletes up to most segments before d.start. It reports how many it did, and whether none is left.
func (q *prefixQueue) deletePrefix(d prefix, most int) (n int, done bool, err error) {
	if d.part.table.dropped.Load() {
		return 0, true, nil
	}
	if err := d.part.load(); err != nil {
		return 0, false, err
	}
	for ; n < most; n++ {
		var deleted bool
		var bytes int64
		held := q.drops.unlessHeld(func() { deleted, bytes, err = d.part.deleteOldest(d.start.Offset) })
		if held || err != nil || !deleted {
			return n, !held && err == nil, err
		}
		q.metrics.deleted.Inc()
		q.metrics.freed.Add(float64(bytes))
	}
	return n, false, nil
}

// unlessHeld calls f, during which no snapshot begins, unless one is being streamed or taken up.
func (q *dropQueue) unlessHeld(f func()) (held bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held == 0 {
		f()
	}
	return q.held > 0
}

// deleteAtOnce is how many segments the keeper deletes between two looks at the rest of its work.
const deleteAtOnce = 32

func (l *Log) deletePrefixes() {
	if err := l.replica.prefixes.run(l.floor.durable(), deleteAtOnce); err != nil {
		l.options.Logger.Warn("old segments are not deleted yet, will be tried again", "error", err)
	}
}

// findLeftovers queues what a deletion has left that the end of the last run has cut short.
func (l *Log) findLeftovers() {
	cut, err := l.replica.cutPartitions()
	if err != nil {
		l.options.Logger.Warn("segments that a deletion may have left stay until the next start", "error", err)
	}
	l.replica.prefixes.add(cut)
}

// cutPartitions lists the partitions with a folder and a start.
func (r *replica) cutPartitions() ([]prefix, error) {
	index := Index(r.store.applied.Load())
	ids, err := r.store.listPartitions()
	if err != nil {
		return nil, err
	}
	var cut []prefix
	for _, id := range ids {
		start, err := r.fold.Start(id)
		if err != nil {
			return nil, err
		}
		if start.Offset == 0 {
			continue
		}
		p, err := r.store.partition(id)
		if err != nil {
			return nil, err
		}
		cut = append(cut, prefix{part: p, start: start, index: index})
	}
	return cut, nil
}

// listPartitions returns the partitions that have a folder, in order.
func (s *store) listPartitions() ([]Partition, error) {
	tables, err := listNumbers(s.fs, s.dir, 32)
	if err != nil {
		return nil, err
	}
	var ids []Partition
	for _, t := range tables {
		parts, err := listNumbers(s.fs, s.tableDir(TableID(t)), 16)
		if err != nil {
			return nil, err
		}
		for _, n := range parts {
			ids = append(ids, Partition{Table: TableID(t), ID: PartitionID(n)})
		}
	}
	return ids, nil
}
