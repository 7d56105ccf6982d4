package writeback

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"kalamlog.dev/kalam/materializer/storage"
)

// stage is a state of the base. When a flush leads from one stage to the next while somebody reads the first, changed holds what the base had before
// under the keys that the flush changes. It is set before the base is written, so who reads the base first and looks at the stages then
// knows what his stage had.
type stage struct {
	number  uint64
	changed *layer // set before next
	next    atomic.Pointer[stage]
}

// view is the right to read one state of the store. While it is open no space that it may read is removed from the base.
type view struct {
	b          *Backend
	partitions partitionSet
	epoch      uint64
	layers     []*layer // the newest first; they do not change
	// at is the stage of the base that the view reads: nil if it reads the base as it is, or if it was given up.
	at    atomic.Pointer[stage]
	stale atomic.Bool
}

// views are the open ones.
type views struct {
	mu      sync.Mutex
	open    map[*view]struct{}
	closing bool
	drained chan struct{} // closed when closing and none is open
}

func newViews() *views { return &views{open: map[*view]struct{}{}, drained: make(chan struct{})} }

func (v *views) enter(one *view) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open[one] = struct{}{}
}

func (v *views) leave(one *view) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.open, one)
	if v.closing && len(v.open) == 0 {
		close(v.drained)
	}
}

// drain returns a channel that is closed when no view is open any more. It is called once, when no more can enter.
func (v *views) drain() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closing = true; len(v.open) == 0 {
		close(v.drained)
	}
	return v.drained
}

// oldest returns the lowest epoch of an open view, or none if there is none.
func (v *views) oldest(none uint64) uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	for one := range v.open {
		none = min(none, one.epoch)
	}
	return none
}

// pinned reports whether a view reads a stage.
func (v *views) pinned() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for one := range v.open {
		if one.at.Load() != nil {
			return true
		}
	}
	return false
}

// trim gives up the oldest views until what is kept for the others is within limit bytes; newest is a layer that is kept anyway.
func (v *views) trim(limit int, newest *layer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for {
		var oldest *stage
		for one := range v.open {
			if at := one.at.Load(); at != nil && (oldest == nil || at.number < oldest.number) {
				oldest = at
			}
		}
		if oldest == nil || v.keptLocked(oldest, newest) <= limit {
			return
		}
		for one := range v.open {
			if one.at.Load() == oldest {
				one.stale.Store(true)
				one.at.Store(nil)
			}
		}
	}
}

// keptLocked returns about how many bytes are kept for views from stage oldest on: what was changed since, and layers that are elsewhere no more. Copies
// of a layer share most of it.
func (v *views) keptLocked(oldest *stage, newest *layer) int {
	kept := 0
	for at, next := oldest, oldest.next.Load(); next != nil; at, next = next, next.next.Load() {
		kept += at.changed.bytes
	}
	layers := map[*origin]int{}
	for one := range v.open {
		if one.at.Load() == nil {
			continue
		}
		for _, l := range one.layers {
			if l.origin != newest.origin {
				layers[l.origin] = max(layers[l.origin], l.bytes)
			}
		}
	}
	for _, n := range layers {
		kept += n
	}
	return kept
}

// view opens a view of the store as it is now. The caller closes it.
func (b *Backend) view() (*view, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, storage.ErrClosed
	}
	if b.shared == nil {
		b.shared = b.active.copy()
	}
	v := &view{b: b, partitions: b.partitions, epoch: b.epoch, layers: []*layer{b.shared}}
	if b.frozen != nil {
		v.layers = append(v.layers, b.frozen)
	}
	v.at.Store(b.stage)
	b.views.enter(v)
	return v, nil
}

func (v *view) close() {
	v.at.Store(nil)
	v.b.views.leave(v)
}

// changed returns what the base held at the view's stage under keys that were changed since, the oldest first. It is called after the base was read.
func (v *view) changed() ([]*layer, error) {
	at := v.at.Load()
	if v.stale.Load() || at == nil {
		return nil, fmt.Errorf("read: %w", storage.ErrStale)
	}
	var changed []*layer
	for next := at.next.Load(); next != nil; at, next = next, next.next.Load() {
		changed = append(changed, at.changed)
	}
	return changed, nil
}

func (v *view) space(p storage.PartitionName) (Space, error) {
	return v.partitions.space(p)
}

// partitionSet is the partitions that exist and their spaces. It is replaced, never changed.
type partitionSet map[storage.PartitionName]uint64

func (set partitionSet) space(p storage.PartitionName) (Space, error) {
	id, ok := set[p]
	if !ok {
		return Space{}, fmt.Errorf("access %q: %w", p, storage.ErrNoPartition)
	}
	return Space{ID: id, Name: p}, nil
}

func (set partitionSet) with(p storage.PartitionName, id uint64) partitionSet {
	next := maps.Clone(set)
	next[p] = id
	return next
}

func (set partitionSet) without(p storage.PartitionName) partitionSet {
	next := maps.Clone(set)
	delete(next, p)
	return next
}

// value returns the value under the base's key, nil for none.
func (v *view) value(s Space, key []byte) ([]byte, error) {
	for _, l := range v.layers {
		if c, ok := l.find(s.ID, key); ok {
			return c.value, nil
		}
	}
	found, err := v.b.lookUp(s, [][]byte{key})
	if err != nil {
		return nil, err
	}
	changed, err := v.changed()
	if err != nil {
		return nil, err
	}
	for _, l := range changed {
		if c, ok := l.find(s.ID, key); ok {
			return c.value, nil
		}
	}
	return found[0], nil
}

// lookUp returns what the base holds under keys, which ascend; nil for nothing, which is proved by the records around the key.
func (b *Backend) lookUp(s Space, keys [][]byte) ([][]byte, error) {
	unborn := b.unborn(s)
	values := make([][]byte, len(keys))
	err := b.base.Read(func(r Reader) error {
		records, err := r.Values(s, keys)
		if err != nil {
			return err
		}
		var missing [][]byte
		for i, record := range records {
			if record == nil {
				missing = append(missing, keys[i])
				continue
			}
			if _, values[i], err = openRecord(s, keys[i], record); err != nil {
				return err
			}
		}
		return b.proveMissing(r, s, missing, unborn)
	})
	if err != nil {
		return nil, b.found(err)
	}
	return values, nil
}

func (b *Backend) proveMissing(r Reader, s Space, keys [][]byte, unborn bool) error {
	if len(keys) == 0 {
		return nil
	}
	around, err := r.Around(s, keys)
	if err != nil {
		return err
	}
	for i, a := range around {
		n, err := checkAround(s, keys[i], a)
		if err != nil {
			return err
		}
		if n.at != nil {
			return damage(s, "key %x is found by one way and not by another", keys[i])
		}
		if !n.hasHead && !unborn {
			return damage(s, "its head is missing")
		}
	}
	return nil
}
