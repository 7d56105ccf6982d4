package writeback

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/floor"
)

// Options of Open. Zero means default.
type Options struct {
	Base          Base         // required; closed by the backend
	Dir           string       // required: a directory that exists, for the floor file
	FS            vfs.FS       // of Dir, default the operating system's
	BeforeDurable func() error // storage.Backend's hook; nil: none
	Logger        *slog.Logger // default discards
	BufferBytes   int          // of writes in memory before they go to the base, default 16 MiB; at most twice as many wait
	BufferKeys    int          // the same by the number of keys, default 16,384: a base may rewrite a page for each
	UndoBytes     int          // of replaced values that are kept for snapshots and scans, default 128 MiB; past it the oldest of them ends with storage.ErrStale
}

func (o *Options) setDefaults() error {
	if o.Base == nil || o.Dir == "" {
		return errors.New("writeback: Options.Base and Dir are required")
	}
	if o.BufferBytes < 0 || o.BufferKeys < 0 || o.UndoBytes < 0 {
		return errors.New("writeback: Options.BufferBytes, BufferKeys and UndoBytes must not be negative")
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.BeforeDurable == nil {
		o.BeforeDurable = func() error { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.BufferBytes == 0 {
		o.BufferBytes = 16 << 20
	}
	if o.BufferKeys == 0 {
		o.BufferKeys = 16 << 10
	}
	if o.UndoBytes == 0 {
		o.UndoBytes = 128 << 20
	}
	return nil
}

// Backend implements storage.Backend over a Base.
type Backend struct {
	options Options
	base    Base
	views   *views

	failed  chan struct{} // closed once failure is set
	failing sync.Once
	failure error

	// mu guards what follows. It is never held across an access to the base.
	mu         sync.RWMutex
	closed     bool
	partitions partitionSet
	epoch      uint64           // grows with each change of partitions
	nextSpace  uint64           // the ID of the next partition
	active     *layer           // committed, not on its way to the base
	shared     *layer           // a copy of active for readers; nil if active has changed since it was made
	frozen     *layer           // on its way to the base; nil: nothing is. A flush that fails leaves it
	stage      *stage           // of the base, once frozen is in it
	fresh      map[uint64]Space // spaces that the base does not have yet
	garbage    []garbage

	flushing   sync.Mutex // one flush at a time
	generation uint64     // of the last flush; guarded by flushing
	background atomic.Bool
	work       sync.WaitGroup // the background flush
}

// garbage is the space of a partition that was dropped at an epoch.
type garbage struct {
	space Space
	epoch uint64
}

var (
	_ storage.Backend    = (*Backend)(nil)
	_ storage.ManyReader = (*Backend)(nil)
)

// Open opens the store in o.Base, or makes one in an empty base. It closes the base if it fails.
func Open(o Options) (*Backend, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	b := &Backend{
		options: o, base: o.Base, views: newViews(), failed: make(chan struct{}),
		partitions: partitionSet{}, active: newLayer(), stage: &stage{}, fresh: map[uint64]Space{}, nextSpace: 1,
	}
	if err := errors.Join(b.load(), b.checkFloor()); err != nil {
		return nil, errors.Join(err, o.Base.Close())
	}
	return b, nil
}

func (b *Backend) checkFloor() error {
	at, err := floor.Read(b.options.FS, b.options.Dir)
	if err != nil {
		return err
	}
	return floor.Check(b.options.FS, b.options.Dir, at, b.generation)
}

// fail makes every write and Sync from now on fail with err: nobody can say what the base holds.
func (b *Backend) fail(err error) {
	b.failing.Do(func() {
		b.options.Logger.Error("state store has failed", "error", err)
		b.failure = fmt.Errorf("state store has failed: %w", err)
		close(b.failed)
	})
}

// found passes on an error of a read. Damage makes the store unusable for writes.
func (b *Backend) found(err error) error {
	if errors.Is(err, storage.ErrDamaged) {
		b.fail(err)
	}
	return err
}

// usable returns why the store cannot be written. The caller holds mu.
func (b *Backend) usable() error {
	if b.closed {
		return storage.ErrClosed
	}
	return b.broken()
}

func (b *Backend) broken() error {
	select {
	case <-b.failed:
		return b.failure
	default:
		return nil
	}
}

// unborn reports whether the base may have nothing of s yet.
func (b *Backend) unborn(s Space) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	_, fresh := b.fresh[s.ID]
	return fresh
}

// Put implements storage.Backend.
func (b *Backend) Put(p storage.PartitionName, key, value []byte) error {
	batch := b.NewBatch()
	batch.Put(p, key, value)
	return batch.Commit()
}

// Delete implements storage.Backend.
func (b *Backend) Delete(p storage.PartitionName, key []byte) error {
	batch := b.NewBatch()
	batch.Delete(p, key)
	return batch.Commit()
}

// CreatePartition implements storage.Backend.
func (b *Backend) CreatePartition(p storage.PartitionName) error {
	batch := b.NewBatch()
	batch.CreatePartition(p)
	return batch.Commit()
}

// DropPartition implements storage.Backend.
func (b *Backend) DropPartition(p storage.PartitionName) error {
	batch := b.NewBatch()
	batch.DropPartition(p)
	return batch.Commit()
}

// PartitionExists implements storage.Backend.
func (b *Backend) PartitionExists(p storage.PartitionName) (bool, error) {
	if err := p.Check(); err != nil {
		return false, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return false, storage.ErrClosed
	}
	_, ok := b.partitions[p]
	return ok, nil
}

// Partitions implements storage.Backend.
func (b *Backend) Partitions() ([]storage.PartitionName, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return nil, storage.ErrClosed
	}
	names := make([]storage.PartitionName, 0, len(b.partitions))
	for name := range b.partitions {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// closeWait is how long Close waits for open scans and snapshots.
const closeWait = 5 * time.Second

// Close implements storage.Backend. What was written since the last Sync may be lost. It waits for scans and snapshots that are open; if one is held for
// longer than five seconds, Close returns an error and leaves the base open.
func (b *Backend) Close() error {
	if !b.shut() {
		return nil
	}
	b.work.Wait()
	b.flushing.Lock()
	defer b.flushing.Unlock()
	patience := time.NewTimer(closeWait)
	defer patience.Stop()
	select {
	case <-b.views.drain():
	case <-patience.C:
		return errors.New("close state store: it is still being read")
	}
	if err := b.base.Close(); err != nil {
		return fmt.Errorf("close state store: %w", err)
	}
	return nil
}

// shut turns away everybody from now on. It reports false if it was called before.
func (b *Backend) shut() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.closed = true
	return true
}
