package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/floor"
)

// Backend implements storage.Backend over one Pebble store.
type Backend struct {
	fs            vfs.FS
	dir           string
	beforeDurable func() error
	logger        *slog.Logger
	db            *pebbledb.DB
	closing       chan struct{} // closed when Close begins

	failed  chan struct{} // closed once failure is set
	failing sync.Once
	failure error

	// mu is held for writing while the set of partitions changes and while the store closes, for reading by every other access: a write
	// never lands in a partition that is being dropped.
	mu         sync.RWMutex
	closed     bool
	partitions atomic.Pointer[partitionSet] // replaced, never changed

	readers    *readers
	syncing    sync.Mutex // one Sync at a time
	generation uint64     // of the last Sync; guarded by syncing
}

var _ storage.Backend = (*Backend)(nil)

// partitionSet is the partitions that exist, an immutable set.
type partitionSet map[storage.PartitionName]struct{}

// Open opens the store in o.Dir, or makes one. It fails if the store is damaged as far as can be told without reading all of it, and if it has lost
// what an earlier Sync made durable.
func Open(o Options) (*Backend, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	b := &Backend{
		fs: o.FS, dir: o.Dir, logger: o.Logger,
		closing: make(chan struct{}), failed: make(chan struct{}), readers: newReaders(),
	}
	b.beforeDurable = func() error { return b.runHook(o.BeforeDurable) }
	options, compactions := b.storeOptions(o), newScheduler()
	options.Experimental.CompactionScheduler = compactions
	db, err := openStore(o.Dir, options)
	if err != nil {
		return nil, fmt.Errorf("open state store %s: %w", o.Dir, err)
	}
	compactions.begin()
	b.db = db
	if err := errors.Join(b.loadPartitions(), b.checkFloor()); err != nil {
		return nil, errors.Join(fmt.Errorf("open state store %s: %w", o.Dir, err), b.Close())
	}
	return b, nil
}

// openStore is pebble.Open, with the panics that damaged files provoke in it as errors.
func openStore(dir string, o *pebbledb.Options) (db *pebbledb.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("damaged store: %v", r)
		}
	}()
	return pebbledb.Open(dir, o)
}

// runHook calls the hook and remembers its failure. Pebble retries a failed flush at once and for ever, so a failure is answered slowly.
func (b *Backend) runHook(hook func() error) error {
	err := hook()
	if err == nil {
		return nil
	}
	err = fmt.Errorf("before durable: %w", err)
	b.fail(err)
	retry := time.NewTimer(100 * time.Millisecond)
	defer retry.Stop()
	select {
	case <-b.closing:
	case <-retry.C:
	}
	return err
}

// fail makes every write and Sync from now on fail with err: after a failed sync nobody can say what is on the disk.
func (b *Backend) fail(err error) {
	b.failing.Do(func() {
		b.failure = fmt.Errorf("state store has failed: %w", err)
		close(b.failed)
	})
}

// usable returns why the store cannot be written. The caller holds mu.
func (b *Backend) usable() error {
	if b.closed {
		return storage.ErrClosed
	}
	select {
	case <-b.failed:
		return b.failure
	default:
		return nil
	}
}

// checkFloor refuses a store that Pebble has taken back to an older state: it takes a MANIFEST record that it cannot read for the end of the file.
func (b *Backend) checkFloor() error {
	v, closer, err := b.db.Get(generationKey())
	switch {
	case errors.Is(err, pebbledb.ErrNotFound):
	case err != nil:
		return fmt.Errorf("read generation: %w", err)
	case len(v) != 8:
		return errors.Join(errors.New("damaged generation"), closer.Close())
	default:
		b.generation = binary.LittleEndian.Uint64(v)
		if err := closer.Close(); err != nil {
			return fmt.Errorf("read generation: %w", err)
		}
	}
	at, err := floor.Read(b.fs, b.dir)
	if err != nil {
		return err
	}
	return floor.Check(b.fs, b.dir, at, b.generation)
}

func (b *Backend) loadPartitions() error {
	set := partitionSet{}
	it, err := b.db.NewIter(&pebbledb.IterOptions{LowerBound: registryKey(""), UpperBound: []byte{registryPrefix, registryTag + 1}})
	if err != nil {
		return fmt.Errorf("list partitions: %w", err)
	}
	for it.First(); it.Valid(); it.Next() {
		set[storage.PartitionName(it.Key()[2:])] = struct{}{}
	}
	b.partitions.Store(&set)
	if err := it.Close(); err != nil {
		return fmt.Errorf("list partitions: %w", err)
	}
	return nil
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
	_, ok := (*b.partitions.Load())[p]
	return ok, nil
}

// Partitions implements storage.Backend.
func (b *Backend) Partitions() ([]storage.PartitionName, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return nil, storage.ErrClosed
	}
	set := *b.partitions.Load()
	names := make([]storage.PartitionName, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// Sync implements storage.Backend: it writes the memtable to a table file and waits until the file and the MANIFEST are synced.
func (b *Backend) Sync() error {
	b.syncing.Lock()
	defer b.syncing.Unlock()
	generation := b.generation + 1
	flushed, err := b.startFlush(generation)
	if err != nil {
		return err
	}
	select {
	case <-flushed:
	case <-b.failed:
		return b.failure
	}
	b.generation = generation
	if err := floor.Write(b.fs, b.dir, generation); err != nil {
		b.fail(err)
		return err
	}
	return nil
}

func (b *Backend) startFlush(generation uint64) (<-chan struct{}, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if err := b.usable(); err != nil {
		return nil, err
	}
	if err := b.db.Set(generationKey(), binary.LittleEndian.AppendUint64(nil, generation), pebbledb.NoSync); err != nil {
		return nil, fmt.Errorf("write generation: %w", err)
	}
	flushed, err := b.db.AsyncFlush()
	if err != nil {
		return nil, fmt.Errorf("write memtable: %w", err)
	}
	return flushed, nil
}

// closeWait is how long Close waits for open scans and snapshots.
const closeWait = 5 * time.Second

// Close implements storage.Backend. What was written since the last Sync may be lost. It waits for scans and snapshots that are open; if one is held for
// longer than five seconds, Close returns an error and leaves the store as it is.
func (b *Backend) Close() error {
	b.syncing.Lock()
	defer b.syncing.Unlock()
	if !b.shut() {
		return nil
	}
	patience := time.NewTimer(closeWait)
	defer patience.Stop()
	select {
	case <-b.readers.drain():
	case <-patience.C:
		return errors.New("close state store: it is still being read")
	}
	if err := b.db.Close(); err != nil {
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
	close(b.closing)
	return true
}
