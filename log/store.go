package log

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// store owns the segment files of all partitions. Nothing is opened before its first use.
type store struct {
	fs           vfs.FS
	dir          string // segments/
	segmentBytes int64
	files        *fileCache
	bounds       bounds

	applied atomic.Uint64 // the index up to which readers see everything
	moved   signal        // applied moved, or the log ended
	ended   atomic.Pointer[error]

	mu     sync.RWMutex
	tables map[TableID]*table

	unsynced struct {
		sync.Mutex
		segments map[*segment]struct{}
		dirs     map[string]struct{}
	}
	syncMu sync.Mutex // one sync at a time: a second must not return before the first is done
}

// bounds is what the store asks the Fold: where partitions begin and end in its state.
type bounds interface {
	Start(p Partition) (Start, error)
	End(p Partition) (Offset, error)
}

// table is the partitions of a table as far as they were used.
type table struct {
	id      TableID
	grown   signal // a partition got changes, or the table is gone
	dropped atomic.Bool

	mu    sync.RWMutex
	parts map[PartitionID]*partition
}

func newStore(fs vfs.FS, dir string, segmentBytes int64, openFiles int, b bounds) *store {
	s := &store{
		fs: fs, dir: dir, segmentBytes: segmentBytes, files: newFileCache(fs, openFiles),
		bounds: b, tables: make(map[TableID]*table),
	}
	s.unsynced.segments = make(map[*segment]struct{})
	s.unsynced.dirs = make(map[string]struct{})
	return s
}

func (s *store) tableDir(t TableID) string {
	return s.fs.PathJoin(s.dir, strconv.FormatUint(uint64(t), 10))
}

func (s *store) table(id TableID) *table {
	s.mu.RLock()
	t := s.tables[id]
	s.mu.RUnlock()
	if t != nil {
		return t
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tables[id]; t != nil {
		return t
	}
	t = &table{id: id, parts: make(map[PartitionID]*partition)}
	s.tables[id] = t
	return t
}

// partition returns p, without looking at its files.
func (s *store) partition(id Partition) (*partition, error) {
	t := s.table(id.Table)
	t.mu.RLock()
	p := t.parts[id.ID]
	t.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.parts[id.ID]; p != nil {
		return p, nil
	}
	// The appender makes a partition before the step that writes to it commits, so the Fold's bounds are what is published.
	start, end, err := s.readBounds(id)
	if err != nil {
		return nil, err
	}
	p = &partition{
		store: s, table: t, id: id, seed: partitionSeed(id),
		dir: s.fs.PathJoin(s.tableDir(id.Table), strconv.FormatUint(uint64(id.ID), 10)),
	}
	p.start.Store(&start)
	p.end.Store(uint64(end))
	t.parts[id.ID] = p
	return p, nil
}

// readBounds asks the Fold. The start comes first: it never moves beyond what the end was before.
func (s *store) readBounds(id Partition) (Start, Offset, error) {
	start, err := s.bounds.Start(id)
	if err != nil {
		return Start{}, 0, fmt.Errorf("read start of partition %d of table %d: %w", id.ID, id.Table, err)
	}
	end, err := s.bounds.End(id)
	if err != nil {
		return Start{}, 0, fmt.Errorf("read end of partition %d of table %d: %w", id.ID, id.Table, err)
	}
	return start, end, nil
}

// createSegment makes s's file and the folders above it.
func (s *store) createSegment(seg *segment) error {
	p := seg.part
	if err := s.fs.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	f, err := s.fs.Create(seg.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	s.unsynced.Lock()
	defer s.unsynced.Unlock()
	for _, dir := range []string{p.dir, s.tableDir(p.id.Table), s.dir} {
		s.unsynced.dirs[dir] = struct{}{}
	}
	return nil
}

// markDirty notes that seg was written to. It comes after the write: a sync that takes the mark off covers it then.
func (s *store) markDirty(seg *segment) {
	if seg.dirty.Load() {
		return
	}
	s.unsynced.Lock()
	defer s.unsynced.Unlock()
	seg.dirty.Store(true)
	s.unsynced.segments[seg] = struct{}{}
}

// sync returns when everything written before the call is on disk for good. After an error nothing is known of what is.
func (s *store) sync() error {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	files, dirs, err := s.takeUnsynced()
	if err != nil {
		return err
	}
	for _, f := range files {
		if serr := f.SyncData(); serr != nil && err == nil {
			err = fmt.Errorf("sync segment %s: %w", f.seg.path, serr)
		}
		s.files.release(f)
	}
	if err != nil {
		return err
	}
	for dir := range dirs {
		if err := syncDir(s.fs, dir); err != nil {
			return fmt.Errorf("sync folder %s: %w", dir, err)
		}
	}
	return nil
}

// takeUnsynced returns what the next sync has to cover. Files are acquired before their mark is taken off, or they could be
// closed in between.
func (s *store) takeUnsynced() (files []*openFile, dirs map[string]struct{}, err error) {
	s.unsynced.Lock()
	defer s.unsynced.Unlock()
	for seg := range s.unsynced.segments {
		if seg.part.table.dropped.Load() {
			continue
		}
		f, err := s.files.acquire(seg)
		if err != nil {
			for _, f := range files {
				s.files.release(f)
			}
			return nil, nil, fmt.Errorf("sync segments: %w", err)
		}
		files = append(files, f)
	}
	for seg := range s.unsynced.segments {
		seg.dirty.Store(false) // a write from now on needs the next sync
	}
	dirs = s.unsynced.dirs
	s.unsynced.segments, s.unsynced.dirs = make(map[*segment]struct{}), make(map[string]struct{})
	return files, dirs, nil
}

// saveIndexes writes what the index files of the segments appended to lack.
func (s *store) saveIndexes() error {
	for _, p := range s.loadedPartitions() {
		if err := p.saveIndex(); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) loadedPartitions() []*partition {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var parts []*partition
	for _, t := range s.tables {
		t.mu.RLock()
		for _, p := range t.parts {
			parts = append(parts, p)
		}
		t.mu.RUnlock()
	}
	return parts
}

// end wakes everybody who waits and lets nobody wait any more.
func (s *store) end(why error) {
	s.ended.CompareAndSwap(nil, &why)
	s.wakeAll()
}

func (s *store) wakeAll() {
	s.moved.broadcast()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.tables {
		t.wake()
	}
}

// over returns why nothing will change any more, or nil.
func (s *store) over() error {
	if why := s.ended.Load(); why != nil {
		return *why
	}
	return nil
}

func (t *table) wake() {
	t.grown.broadcast()
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, p := range t.parts {
		p.grown.broadcast()
	}
}
