package pebble

import (
	"fmt"
	"maps"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"kalamlog.dev/kalam/materializer/storage"
)

// batch implements storage.Batch. used and missing follow which partitions it needs, so that Commit can check them in one go.
type batch struct {
	b       *Backend
	writes  *pebbledb.Batch
	last    storage.PartitionName // of the last write, known to be in used or in set
	used    map[storage.PartitionName]struct{}
	set     map[storage.PartitionName]bool // partitions created (true) or dropped (false) by the batch
	err     error
	settled bool
}

// NewBatch implements storage.Backend.
func (b *Backend) NewBatch() storage.Batch {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return &batch{b: b, err: storage.ErrClosed}
	}
	return &batch{b: b, writes: b.db.NewBatch()}
}

// enter notes a write to p. It reports false if the batch can only fail.
func (t *batch) enter(p storage.PartitionName) bool {
	if t.err != nil {
		return false
	}
	if p == t.last {
		return true
	}
	exists, touched := t.set[p]
	switch {
	case touched && !exists:
		t.err = fmt.Errorf("write to %q: %w", p, storage.ErrNoPartition)
		return false
	case !touched:
		if t.used == nil {
			t.used = make(map[storage.PartitionName]struct{}, 4)
		}
		t.used[p] = struct{}{}
	}
	t.last = p
	return true
}

// Put implements storage.Batch.
func (t *batch) Put(p storage.PartitionName, key, value []byte) {
	if !t.enter(p) {
		return
	}
	op := t.writes.SetDeferred(len(p)+1+len(key), len(value))
	fillKey(op.Key, p, key)
	copy(op.Value, value)
	t.err = op.Finish()
}

// Delete implements storage.Batch.
func (t *batch) Delete(p storage.PartitionName, key []byte) {
	if !t.enter(p) {
		return
	}
	op := t.writes.DeleteDeferred(len(p) + 1 + len(key))
	fillKey(op.Key, p, key)
	t.err = op.Finish()
}

func fillKey(dst []byte, p storage.PartitionName, key []byte) {
	n := copy(dst, p)
	dst[n] = 0
	copy(dst[n+1:], key)
}

// CreatePartition implements storage.Batch.
func (t *batch) CreatePartition(p storage.PartitionName) {
	if !t.change(p, true) {
		return
	}
	t.err = t.writes.Set(registryKey(p), nil, nil)
}

// DropPartition implements storage.Batch.
func (t *batch) DropPartition(p storage.PartitionName) {
	if !t.change(p, false) {
		return
	}
	lower, upper := bounds(p, storage.Range{})
	t.err = t.writes.DeleteRange(lower, upper, nil)
	if t.err == nil {
		t.err = t.writes.Delete(registryKey(p), nil)
	}
}

func (t *batch) change(p storage.PartitionName, exists bool) bool {
	if t.err != nil {
		return false
	}
	if t.err = p.Check(); t.err != nil {
		return false
	}
	if t.set == nil {
		t.set = map[storage.PartitionName]bool{}
	}
	t.set[p] = exists
	t.last = ""
	return true
}

// Commit implements storage.Batch.
func (t *batch) Commit() error {
	defer t.Discard()
	if t.err != nil {
		return t.err
	}
	if t.settled {
		return fmt.Errorf("commit batch: %w", pebbledb.ErrClosed)
	}
	if len(t.set) > 0 {
		t.b.mu.Lock()
		defer t.b.mu.Unlock()
	} else {
		t.b.mu.RLock()
		defer t.b.mu.RUnlock()
	}
	return t.commitLocked()
}

func (t *batch) commitLocked() error {
	if err := t.b.usable(); err != nil {
		return err
	}
	set := *t.b.partitions.Load()
	for p := range t.used {
		if _, ok := set[p]; !ok {
			return fmt.Errorf("write to %q: %w", p, storage.ErrNoPartition)
		}
	}
	if err := t.b.db.Apply(t.writes, pebbledb.NoSync); err != nil {
		return fmt.Errorf("commit batch: %w", err)
	}
	if len(t.set) > 0 {
		set = maps.Clone(set)
		for p, exists := range t.set {
			if exists {
				set[p] = struct{}{}
			} else {
				delete(set, p)
			}
		}
		t.b.partitions.Store(&set)
	}
	return nil
}

// Discard implements storage.Batch.
func (t *batch) Discard() {
	if t.settled || t.writes == nil {
		return
	}
	t.settled = true
	_ = t.writes.Close()
}
