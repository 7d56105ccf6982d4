package writeback

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/floor"
)

// full reports how many times over the active layer has reached its size.
func (b *Backend) full() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return max(b.active.bytes/b.options.BufferBytes, b.active.cells.Len()/b.options.BufferKeys)
}

// awaitRoom returns when less than twice of what a flush takes has come together. If a flush fails, the commits that follow say so.
func (b *Backend) awaitRoom() {
	if b.full() < 2 {
		return
	}
	b.flushing.Lock()
	defer b.flushing.Unlock()
	if b.full() >= 2 { // or somebody else made room
		_ = b.flush(false)
	}
}

// flushLater starts a flush in the background if enough has come together for one.
func (b *Backend) flushLater() {
	if b.full() == 0 {
		return
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed || !b.background.CompareAndSwap(false, true) {
		return
	}
	b.work.Go(func() {
		defer b.background.Store(false)
		b.flushing.Lock()
		defer b.flushing.Unlock()
		_ = b.flush(false) // it has made the store fail
	})
}

// Sync implements storage.Backend.
func (b *Backend) Sync() error {
	b.flushing.Lock()
	defer b.flushing.Unlock()
	return b.flush(true)
}

// batchOfFlush is what one flush takes to the base.
type batchOfFlush struct {
	cells   *layer
	live    map[uint64]Space // spaces that cells may go to
	born    []Space          // those of them that the base does not have
	removed []Space
	before  *stage // whose changes are to be kept; nil: nobody asks for them
	stage   *stage
}

// flush writes what is committed to the base. The caller holds flushing.
func (b *Backend) flush(refuseClosed bool) error {
	f, err := b.freeze(refuseClosed)
	if err != nil || f == nil {
		return err
	}
	if err := b.writeOut(f); err != nil {
		b.fail(err)
		return b.failure
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.frozen = nil
	for _, s := range append(f.born, f.removed...) {
		delete(b.fresh, s.ID)
	}
	return nil
}

// freeze takes the active layer. It returns nil if there is nothing to write.
func (b *Backend) freeze(refuseClosed bool) (*batchOfFlush, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.usable(); err != nil {
		if !refuseClosed && errors.Is(err, storage.ErrClosed) {
			return nil, nil
		}
		return nil, err
	}
	f := &batchOfFlush{live: map[uint64]Space{registry.ID: registry}}
	if f.removed = b.takeGarbageLocked(); b.active.cells.Len() == 0 && b.generation > 0 {
		return nil, nil
	}
	for p, id := range b.partitions {
		f.live[id] = Space{ID: id, Name: p}
		if _, fresh := b.fresh[id]; fresh || b.active.touches(id) {
			b.active.set(cell{key: partitionKey(p), value: appendPartition(id, b.generation+1)})
		}
	}
	for id := range b.fresh {
		if s, ok := f.live[id]; ok {
			f.born = append(f.born, s)
		}
	}
	slices.SortFunc(f.born, func(a, b Space) int { return cmp.Compare(a.ID, b.ID) })
	b.registryCells(b.active)
	f.cells, b.frozen = b.active, b.active
	b.active, b.shared = newLayer(), nil
	if b.views.pinned() {
		f.before, f.stage = b.stage, &stage{number: b.stage.number + 1}
		b.stage = f.stage
	}
	return f, nil
}

// takeGarbageLocked returns the spaces that nobody reads any more, and notes their end in the registry.
func (b *Backend) takeGarbageLocked() []Space {
	var removed []Space
	oldest, kept := b.views.oldest(b.epoch), b.garbage[:0]
	for _, g := range b.garbage {
		if g.epoch > oldest {
			kept = append(kept, g)
			continue
		}
		removed = append(removed, g.space)
		b.active.set(cell{key: garbageKey(g.space.ID), gone: true})
	}
	b.garbage = kept
	return removed
}

// writeOut does the work of a flush, without mu.
func (b *Backend) writeOut(f *batchOfFlush) error {
	if err := b.options.BeforeDurable(); err != nil {
		return fmt.Errorf("before durable: %w", err)
	}
	writes, err := b.weaveAll(f)
	if err != nil {
		return fmt.Errorf("read state store: %w", err)
	}
	b.views.trim(b.options.UndoBytes, f.cells)
	if err := b.base.Write(writes); err != nil {
		return fmt.Errorf("write state store: %w", err)
	}
	b.generation++
	return floor.Write(b.options.FS, b.options.Dir, b.generation)
}

// weaveAll makes the writes of a flush, and keeps what they replace for who reads the base as it is.
func (b *Backend) weaveAll(f *batchOfFlush) ([]Write, error) {
	undo := newLayer()
	var writes []Write
	err := b.base.Read(func(r Reader) error {
		born := map[uint64]bool{}
		for _, s := range f.born {
			born[s.ID] = true
		}
		weave := func(s Space, cells []cell) error {
			w := &weaver{space: s, generation: b.generation + 1, born: born[s.ID], emit: func(w Write) { writes = append(writes, w) }}
			w.was = func(key, value []byte) {
				if f.before != nil {
					undo.set(cell{space: s.ID, key: key, value: value, gone: value == nil})
				}
			}
			delete(born, s.ID)
			return w.weave(r, cells)
		}
		for id, cells := range bySpace(f.cells) {
			s, ok := f.live[id]
			if !ok {
				continue // dropped since
			}
			if err := weave(s, cells); err != nil {
				return err
			}
		}
		for _, s := range f.born {
			if born[s.ID] {
				if err := weave(s, nil); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, s := range f.removed {
		writes = append(writes, Write{Space: s})
	}
	if f.before != nil {
		f.before.changed = undo
		f.before.next.Store(f.stage)
	}
	return writes, nil
}

// bySpace yields the cells of each space, in order.
func bySpace(l *layer) func(yield func(uint64, []cell) bool) {
	return func(yield func(uint64, []cell) bool) {
		cells := l.cells.Items()
		for from := 0; from < len(cells); {
			to := from + 1
			for to < len(cells) && cells[to].space == cells[from].space {
				to++
			}
			if !yield(cells[from].space, cells[from:to]) {
				return
			}
			from = to
		}
	}
}
