package materializer

import (
	"encoding/binary"
	"slices"

	"kalamlog.dev/kalam/log"
)

// overlay holds what a step has written but not committed, so that its later mutations see its earlier ones, and can take back the writes of a
// batch that is refused half way.
type overlay struct {
	cells map[string]cell // by partition and key
	undo  []undone        // since the last mark
	arena arena
	key   []byte
}

// cell is an overlaid value, nil if the key was deleted.
type cell struct{ value []byte }

// undone is what a key held before a write.
type undone struct {
	key string
	had bool
	was cell
}

// maxIdleCells is the size above which reset gives the map back instead of clearing it.
const maxIdleCells = 1 << 14

func (o *overlay) reset() {
	if o.cells == nil || len(o.cells) > maxIdleCells {
		o.cells = make(map[string]cell, 64)
	}
	clear(o.cells)
	clear(o.undo)
	o.undo = o.undo[:0]
	o.arena.reset()
}

func (o *overlay) address(p log.Partition, key []byte) []byte {
	o.key = binary.LittleEndian.AppendUint32(o.key[:0], uint32(p.Table))
	o.key = binary.LittleEndian.AppendUint16(o.key, uint16(p.ID))
	o.key = append(o.key, key...)
	return o.key
}

// lookup returns the overlaid value, nil for a deleted key; ok is false if the step has not written the key.
func (o *overlay) lookup(p log.Partition, key []byte) (value []byte, ok bool) {
	if len(o.cells) == 0 {
		return nil, false
	}
	c, ok := o.cells[string(o.address(p, key))]
	return c.value, ok
}

// set overlays value, which it keeps; nil marks the key as deleted.
func (o *overlay) set(p log.Partition, key, value []byte) {
	at := o.address(p, key)
	was, had := o.cells[string(at)]
	name := o.arena.text(at)
	o.cells[name] = cell{value}
	o.undo = append(o.undo, undone{key: name, had: had, was: was})
}

// mark makes the writes so far final: rollback takes back later ones only.
func (o *overlay) mark() { o.undo = o.undo[:0] }

// rollback takes back the writes since the last mark.
func (o *overlay) rollback() {
	for _, u := range slices.Backward(o.undo) {
		if u.had {
			o.cells[u.key] = u.was
		} else {
			delete(o.cells, u.key)
		}
	}
	o.undo = o.undo[:0]
}
