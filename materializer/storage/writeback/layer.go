package writeback

import (
	"bytes"

	"github.com/tidwall/btree"
)

// cell is what a layer says about a key of a space: a value, or that there is none.
type cell struct {
	space uint64
	key   []byte
	value []byte
	gone  bool
}

// layer is an ordered set of cells. Copies are cheap and share what neither has changed since.
type layer struct {
	origin *origin
	cells  *btree.BTreeG[cell]
	bytes  int
}

// origin is what copies of a layer have in common; it is not empty, so that each has an address of its own.
type origin struct{ _ byte }

// cellOverhead is about what a cell takes beside its key and value.
const cellOverhead = 96

func newLayer() *layer {
	return &layer{origin: new(origin), cells: btree.NewBTreeGOptions(cellLess, btree.Options{NoLocks: true})}
}

func cellLess(a, b cell) bool {
	if a.space != b.space {
		return a.space < b.space
	}
	return bytes.Compare(a.key, b.key) < 0
}

// set keeps c's bytes.
func (l *layer) set(c cell) {
	was, replaced := l.cells.Set(c)
	if replaced {
		l.bytes -= len(was.key) + len(was.value) + cellOverhead
	}
	l.bytes += len(c.key) + len(c.value) + cellOverhead
}

func (l *layer) find(space uint64, key []byte) (cell, bool) {
	if l == nil || l.cells.Len() == 0 {
		return cell{}, false
	}
	return l.cells.Get(cell{space: space, key: key})
}

// touches reports whether the layer says anything about a space.
func (l *layer) touches(space uint64) bool {
	it := l.cells.Iter()
	defer it.Release()
	return it.Seek(cell{space: space}) && it.Item().space == space
}

// copy returns a layer of the same cells. Neither shows what is set in the other later.
func (l *layer) copy() *layer { return &layer{origin: l.origin, cells: l.cells.Copy(), bytes: l.bytes} }

// cursor walks over the cells of a layer between two keys of a space.
type cursor struct {
	it    btree.IterG[cell]
	space uint64
	upto  []byte // excluded going up, included going down
	down  bool
	now   cell
	valid bool
}

// up walks from key from on, to before key upto.
func (l *layer) up(space uint64, from, upto []byte) *cursor {
	c := &cursor{it: l.cells.Iter(), space: space, upto: upto}
	c.load(c.it.Seek(cell{space: space, key: from}))
	return c
}

// down walks from below key before, to key upto.
func (l *layer) down(space uint64, before, upto []byte) *cursor {
	c := &cursor{it: l.cells.Iter(), space: space, upto: upto, down: true}
	if c.it.Seek(cell{space: space, key: before}) {
		c.load(c.it.Prev())
	} else {
		c.load(c.it.Last())
	}
	return c
}

func (c *cursor) load(found bool) {
	if c.valid = found; !found {
		return
	}
	c.now = c.it.Item()
	switch at := bytes.Compare(c.now.key, c.upto); {
	case c.now.space != c.space, !c.down && at >= 0, c.down && at < 0:
		c.valid = false
	}
}

func (c *cursor) peek() (cell, bool) { return c.now, c.valid }

func (c *cursor) advance() {
	if c.down {
		c.load(c.it.Prev())
	} else {
		c.load(c.it.Next())
	}
}

func (c *cursor) close() { c.it.Release() }
