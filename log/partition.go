package log

import (
	"fmt"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/errors/oserror"
)

// partition owns the segments of one (table, partition). Its files are looked at on first use. One goroutine appends, any
// number read.
type partition struct {
	store *store
	table *table
	id    Partition
	seed  uint32
	dir   string

	end   atomic.Uint64         // first offset that readers must not read yet
	start atomic.Pointer[Start] // what readers must not read any more lies before it; stored under mu
	grown signal                // end moved, or the partition is gone
	era   atomic.Uint64         // raised when a snapshot has replaced the segments

	// mu guards loaded, segments and the index of the last segment. It is held across reads of the disk only while the
	// partition is loaded.
	mu       sync.RWMutex
	loaded   bool
	segments []*segment // ascending; all but the last are sealed, and the last may be; the first may lie before start
	next     Offset     // behind the last frame written; the appender's
}

// load looks at the partition's files unless that was done.
func (p *partition) load() error {
	p.mu.RLock()
	loaded := p.loaded
	p.mu.RUnlock()
	if loaded {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loaded {
		return nil
	}
	segments, err := p.recover(Offset(p.end.Load()))
	if err != nil {
		return fmt.Errorf("open partition %d of table %d: %w", p.id.ID, p.id.Table, err)
	}
	p.segments, p.next, p.loaded = segments, Offset(p.end.Load()), true
	return nil
}

func (p *partition) recover(end Offset) ([]*segment, error) {
	bases, err := p.listSegments()
	if err != nil {
		return nil, err
	}
	plan, err := planTail(bases, p.start.Load().Offset, end)
	if err != nil {
		return nil, &CorruptionError{Path: p.dir, Err: err}
	}
	for _, base := range plan.remove {
		if err := p.removeSegment(newSegment(p, base, base)); err != nil {
			return nil, err
		}
	}
	var segments []*segment
	for i, base := range plan.keep {
		limit := end
		if i+1 < len(plan.keep) {
			limit = plan.keep[i+1]
		}
		segments = append(segments, newSegment(p, base, limit))
	}
	if end == p.start.Load().Offset {
		return segments, nil // all of them are to go, and a power loss may have brought some of them back without others
	}
	return segments, p.recoverTail(segments[len(segments)-1], end)
}

// recoverTail checks the last segment and opens it for appending if it ends at end.
func (p *partition) recoverTail(s *segment, end Offset) error {
	f, err := p.store.files.acquire(s)
	if err != nil {
		return err
	}
	defer p.store.files.release(f)
	x, position, err := s.loadIndex(f, end)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	// Where the start lies within a segment, the next one begins at the next frame: see startAt.
	if continues(info.Size(), position) && s.base >= p.start.Load().Offset {
		p.store.files.forget(s) // it was opened for reading
		s.index, s.size = x, position
		s.bytes.Store(position)
		s.limit.Store(0)
	}
	return nil
}

func (p *partition) listSegments() ([]Offset, error) {
	names, err := p.store.fs.List(p.dir)
	if oserror.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	var bases []Offset
	for _, name := range names {
		if base, ok := parseSegmentName(name); ok {
			bases = append(bases, base)
		}
	}
	return bases, nil
}

// removeSegment removes the files of s, the index first: it must not outlive the segment that it describes.
func (p *partition) removeSegment(s *segment) error {
	if err := p.store.fs.Remove(s.indexPath()); err != nil && !oserror.IsNotExist(err) {
		return fmt.Errorf("remove index: %w", err)
	}
	if err := p.store.fs.Remove(s.path); err != nil && !oserror.IsNotExist(err) {
		return fmt.Errorf("remove segment: %w", err)
	}
	return nil
}

// append writes frames, whose bytes are buf, behind the last. Readers see them once end moves. An error leaves the partition
// unusable for further appends.
func (p *partition) append(buf []byte, frames []frame) error {
	s, err := p.appendable()
	if err != nil {
		return err
	}
	f, err := p.store.files.acquire(s)
	if err != nil {
		return err
	}
	defer p.store.files.release(f)
	if _, err := f.WriteAt(buf, s.size); err != nil {
		return fmt.Errorf("append to segment: %w", err)
	}
	p.store.markDirty(s)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fr := range frames {
		s.index.add(fr, s.size)
		s.size += fr.size
		p.next = fr.end()
	}
	return nil
}

// appendable returns the segment that the next frame goes to.
func (p *partition) appendable() (*segment, error) {
	if s := p.last(); s != nil && s.limit.Load() == 0 {
		if s.size < p.store.segmentBytes {
			return s, nil
		}
		p.seal(s)
	}
	s := newSegment(p, p.next, 0)
	if err := p.store.createSegment(s); err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	s.index = &sparseIndex{}
	s.bytes.Store(0)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.segments = append(p.segments, s)
	return s, nil
}

// last returns the last segment, nil if there is none.
func (p *partition) last() *segment {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if n := len(p.segments); n > 0 {
		return p.segments[n-1]
	}
	return nil
}

// seal ends s at the next offset.
func (p *partition) seal(s *segment) {
	_ = s.saveIndex(s.index) // one that cannot be saved is made again from the segment
	p.mu.Lock()
	defer p.mu.Unlock()
	s.bytes.Store(s.size)
	s.index = nil
	s.limit.Store(uint64(p.next))
}

// saveIndex writes what the index file of the segment appended to lacks.
func (p *partition) saveIndex() error {
	s := p.last()
	if s == nil {
		return nil
	}
	p.mu.RLock()
	x := s.index
	p.mu.RUnlock()
	if x == nil {
		return nil
	}
	return s.saveIndex(x)
}

// publish lets readers see everything appended.
func (p *partition) publish() {
	if s := p.last(); s != nil && s.limit.Load() == 0 {
		s.bytes.Store(s.size)
	}
	p.end.Store(uint64(p.next))
	p.grown.broadcast()
}

// reopen forgets the files, which a snapshot has replaced, and takes up the new bounds.
func (p *partition) reopen(start Start, end Offset) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.segments {
		p.store.files.forget(s)
	}
	p.segments, p.loaded = nil, false
	p.start.Store(&start)
	p.end.Store(uint64(end))
	p.era.Add(1)
}

// segmentOf returns the segment that holds offset, or nil.
func (p *partition) segmentOf(offset Offset) *segment {
	p.mu.RLock()
	defer p.mu.RUnlock()
	i := sort.Search(len(p.segments), func(i int) bool { return p.segments[i].base > offset })
	if i == 0 {
		return nil
	}
	return p.segments[i-1]
}

// first returns the offset and timestamp of the first change from the start to before end for which before does not hold, or end. before holds for
// the frames of a prefix of the partition.
func (p *partition) first(end Offset, before func(Index, int64) bool) (Offset, int64, error) {
	if err := p.load(); err != nil {
		return 0, 0, err
	}
	for {
		start := p.start.Load()
		offset, timestamp, err := p.firstFrom(start.Offset, end, before)
		if err == nil || p.start.Load() == start { // else the files may have gone meanwhile
			return offset, timestamp, err
		}
	}
}

func (p *partition) firstFrom(start, end Offset, before func(Index, int64) bool) (Offset, int64, error) {
	at, err := p.lastIndexed(start, end, before)
	if err != nil {
		return 0, 0, err
	}
	r := newReader(p, max(at, start), scanChunk)
	for {
		f, ok, err := r.next(end)
		if err != nil || !ok {
			return max(end, start), 0, err
		}
		if !before(f.index, f.timestamp) {
			return max(f.base, start), f.timestamp, nil
		}
	}
}

// lastIndexed returns the offset of the last indexed frame, of the segments from start on, for which before holds, or the first one's.
func (p *partition) lastIndexed(start, end Offset, before func(Index, int64) bool) (Offset, error) {
	p.mu.RLock()
	segments := p.segments[p.firstKeptLocked(start):]
	p.mu.RUnlock()
	var failed error
	entries := func(i int) []indexEntry {
		e, err := p.indexOf(segments[i])
		if err != nil {
			failed = err
		}
		return e
	}
	// The first segment that starts at or behind the goal; the goal is in the one before, or starts this one.
	i := sort.Search(len(segments), func(i int) bool {
		if segments[i].base >= end || failed != nil {
			return true
		}
		e := entries(i)
		return len(e) == 0 || !before(e[0].index, e[0].timestamp)
	})
	if failed != nil || len(segments) == 0 {
		return 0, failed
	}
	e := entries(max(i-1, 0))
	if failed != nil || len(e) == 0 {
		return segments[0].base, failed
	}
	return lastBefore(e, func(e indexEntry) bool { return e.offset < end && before(e.index, e.timestamp) }).offset, nil
}

func (p *partition) indexOf(s *segment) ([]indexEntry, error) {
	f, err := p.store.files.acquire(s)
	if err != nil {
		return nil, err
	}
	defer p.store.files.release(f)
	return s.entries(f)
}
