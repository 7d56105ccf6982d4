package log

import (
	"container/list"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// openFile is a segment's file while it is open, with what was read of its index.
type openFile struct {
	vfs.File
	seg  *segment
	refs int // guarded by fileCache.mu

	index struct {
		once    sync.Once
		entries []indexEntry
		err     error
	}
}

// fileCache bounds how many segment files are open. Files in use and files with unsynced writes stay open beyond the
// bound: an fsync on a reopened file may miss the error of a write-back that failed before.
type fileCache struct {
	fs  vfs.FS
	max int

	mu     sync.Mutex
	closed bool
	open   map[*segment]*list.Element // of *openFile
	lru    list.List                  // front: used last
}

func newFileCache(fs vfs.FS, limit int) *fileCache {
	return &fileCache{fs: fs, max: limit, open: make(map[*segment]*list.Element)}
}

// acquire opens s's file or returns it if it is open. The caller releases it.
func (c *fileCache) acquire(s *segment) (*openFile, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.New("open segment: the log is closed")
	}
	if el, ok := c.open[s]; ok {
		c.lru.MoveToFront(el)
		f := el.Value.(*openFile)
		f.refs++
		return f, nil
	}
	file, err := c.openLocked(s)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	f := &openFile{File: file, seg: s, refs: 1}
	c.open[s] = c.lru.PushFront(f)
	c.evictLocked()
	return f, nil
}

func (c *fileCache) openLocked(s *segment) (vfs.File, error) {
	if s.limit.Load() == 0 {
		return c.fs.OpenReadWrite(s.path, vfs.WriteCategoryUnspecified)
	}
	return c.fs.Open(s.path)
}

func (c *fileCache) release(f *openFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.refs--
	if _, kept := c.open[f.seg]; !kept && f.refs == 0 {
		f.Close() // nothing unsynced is lost: the file was forgotten
		return
	}
	c.evictLocked()
}

func (c *fileCache) evictLocked() {
	for el := c.lru.Back(); el != nil && len(c.open) > c.max; {
		f, before := el.Value.(*openFile), el.Prev()
		if f.refs == 0 && !f.seg.dirty.Load() {
			c.removeLocked(el)
		}
		el = before
	}
}

func (c *fileCache) removeLocked(el *list.Element) {
	f := c.lru.Remove(el).(*openFile)
	delete(c.open, f.seg)
	if f.refs == 0 {
		f.Close() // clean or forgotten: nothing to learn from its error
	}
}

// forget closes s's file as soon as nobody uses it, whatever is unsynced.
func (c *fileCache) forget(s *segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.open[s]; ok {
		c.removeLocked(el)
	}
}

// close closes every file, those in use when they are released, and lets none be opened again.
func (c *fileCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for el := c.lru.Front(); el != nil; el = c.lru.Front() {
		c.removeLocked(el)
	}
}
