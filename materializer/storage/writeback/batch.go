package writeback

import (
	"errors"
	"fmt"

	"kalamlog.dev/kalam/materializer/storage"
)

// operation is one call of a batch.
type operation struct {
	kind  byte
	name  storage.PartitionName
	key   []byte // the base's
	value []byte // never nil for a put
}

const (
	opPut = iota
	opDelete
	opCreate
	opDrop
)

// batch implements storage.Batch.
type batch struct {
	b       *Backend
	ops     []operation
	changes bool // the set of partitions
	err     error
	spent   bool
}

// NewBatch implements storage.Backend. It waits for the base if too much waits for it: here, as the callers of Commit may hold locks that readers need.
func (b *Backend) NewBatch() storage.Batch {
	b.awaitRoom()
	return &batch{b: b}
}

// Put implements storage.Batch.
func (t *batch) Put(p storage.PartitionName, key, value []byte) {
	space := make([]byte, 0, 1+len(key)+len(value))
	space = append(append(append(space, keyTag), key...), value...)
	at := 1 + len(key)
	t.add(operation{kind: opPut, name: p, key: space[:at:at], value: space[at:]})
}

// Delete implements storage.Batch.
func (t *batch) Delete(p storage.PartitionName, key []byte) {
	t.add(operation{kind: opDelete, name: p, key: storedKey(key)})
}

func storedKey(key []byte) []byte {
	return append(append(make([]byte, 0, 1+len(key)), keyTag), key...)
}

func (t *batch) add(o operation) {
	if len(o.key) > storage.MaxKey+1 {
		t.err = errors.Join(t.err, fmt.Errorf("write to %q: %w", o.name, storage.ErrKey))
	}
	t.ops = append(t.ops, o)
}

// CreatePartition implements storage.Batch.
func (t *batch) CreatePartition(p storage.PartitionName) {
	t.err = errors.Join(t.err, p.Check())
	t.ops, t.changes = append(t.ops, operation{kind: opCreate, name: p}), true
}

// DropPartition implements storage.Batch.
func (t *batch) DropPartition(p storage.PartitionName) {
	t.err = errors.Join(t.err, p.Check())
	t.ops, t.changes = append(t.ops, operation{kind: opDrop, name: p}), true
}

// Commit implements storage.Batch.
func (t *batch) Commit() error {
	if t.spent {
		return fmt.Errorf("commit batch: %w", storage.ErrClosed)
	}
	defer t.Discard()
	if t.err != nil {
		return t.err
	}
	if err := t.commit(); err != nil {
		return err
	}
	t.b.flushLater()
	return nil
}

func (t *batch) commit() error {
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	if err := t.b.usable(); err != nil {
		return err
	}
	if len(t.ops) == 0 {
		return nil
	}
	if err := t.check(); err != nil {
		return err
	}
	t.b.shared = nil
	var at Space // of the operation before
	for _, o := range t.ops {
		switch o.kind {
		case opCreate:
			t.b.createLocked(o.name)
		case opDrop:
			t.b.dropLocked(o.name)
			at = Space{}
		default:
			if o.name != at.Name {
				at = Space{ID: t.b.partitions[o.name], Name: o.name}
			}
			t.b.active.set(cell{space: at.ID, key: o.key, value: o.value, gone: o.kind == opDelete})
		}
	}
	return nil
}

// check returns ErrNoPartition if an operation finds no partition.
func (t *batch) check() error {
	var set map[storage.PartitionName]bool
	var last storage.PartitionName
	for _, o := range t.ops {
		switch o.kind {
		case opCreate, opDrop:
			if set == nil {
				set = map[storage.PartitionName]bool{}
			}
			set[o.name], last = o.kind == opCreate, ""
			continue
		}
		if o.name == last {
			continue
		}
		exists, touched := set[o.name]
		if !touched {
			_, exists = t.b.partitions[o.name]
		}
		if !exists {
			return fmt.Errorf("write to %q: %w", o.name, storage.ErrNoPartition)
		}
		last = o.name
	}
	return nil
}

func (b *Backend) createLocked(p storage.PartitionName) {
	if _, ok := b.partitions[p]; ok {
		return
	}
	s := Space{ID: b.nextSpace, Name: p}
	b.nextSpace++
	b.partitions = b.partitions.with(p, s.ID)
	b.epoch++
	b.fresh[s.ID] = s
	// The flush that takes it to the base says when that was.
	b.active.set(cell{key: partitionKey(p), value: appendPartition(s.ID, 0)})
}

func (b *Backend) dropLocked(p storage.PartitionName) {
	id, ok := b.partitions[p]
	if !ok {
		return
	}
	b.partitions = b.partitions.without(p)
	b.epoch++
	b.garbage = append(b.garbage, garbage{Space{id, p}, b.epoch})
	b.active.set(cell{key: partitionKey(p), gone: true})
	b.active.set(cell{key: garbageKey(id), value: []byte(p)})
}

// Discard implements storage.Batch.
func (t *batch) Discard() { t.ops, t.spent = nil, true }
