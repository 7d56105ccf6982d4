package pebble

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"kalamlog.dev/kalam/materializer/storage"
)

var _ storage.ManyReader = (*Backend)(nil)

// source is what a store and a snapshot of it have in common.
type source interface {
	Get(key []byte) ([]byte, io.Closer, error)
	NewIter(o *pebbledb.IterOptions) (*pebbledb.Iterator, error)
}

// Value implements storage.Reader.
func (b *Backend) Value(p storage.PartitionName, key []byte) ([]byte, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return nil, storage.ErrClosed
	}
	return value(b.db, *b.partitions.Load(), p, key)
}

// Values implements storage.ManyReader. Its iterator reads the bloom filters of the lowest level too, which Get does not, and goes on from key to key.
func (b *Backend) Values(p storage.PartitionName, keys [][]byte, each func(i int, value []byte)) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return storage.ErrClosed
	}
	if _, ok := (*b.partitions.Load())[p]; !ok {
		return fmt.Errorf("read %q: %w", p, storage.ErrNoPartition)
	}
	it, err := b.db.NewIter(&pebbledb.IterOptions{UseL6Filters: true})
	if err != nil {
		return fmt.Errorf("read %q: %w", p, err)
	}
	if err := errors.Join(seekEach(it, p, keys, each), it.Close()); err != nil {
		return fmt.Errorf("read %q: %w", p, err)
	}
	return nil
}

func seekEach(it *pebbledb.Iterator, p storage.PartitionName, keys [][]byte, each func(i int, value []byte)) error {
	var buf []byte
	for i, key := range keys {
		buf = appendKey(buf[:0], p, key)
		if !it.SeekPrefixGE(buf) {
			if err := it.Error(); err != nil {
				return err
			}
			each(i, nil)
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if v == nil {
			v = []byte{}
		}
		each(i, v)
	}
	return nil
}

// Scan implements storage.Reader.
func (b *Backend) Scan(p storage.PartitionName, r storage.Range) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		it, err := b.startScan(p, r)
		if err != nil {
			yield(storage.Entry{}, err)
			return
		}
		defer b.readers.leave()
		runScan(it, len(p)+1, r.Reverse, yield)
	}
}

// startScan enters the readers unless it fails.
func (b *Backend) startScan(p storage.PartitionName, r storage.Range) (*pebbledb.Iterator, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return nil, storage.ErrClosed
	}
	it, err := openScan(b.db, *b.partitions.Load(), p, r)
	if err == nil {
		b.readers.enter()
	}
	return it, err
}

// snapshot implements storage.Snapshot.
type snapshot struct {
	of         *pebbledb.Snapshot
	partitions partitionSet
	readers    *readers

	mu     sync.RWMutex // held for writing by Close
	closed bool
}

// Snapshot implements storage.Backend.
func (b *Backend) Snapshot() (storage.Snapshot, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return nil, storage.ErrClosed
	}
	b.readers.enter()
	return &snapshot{of: b.db.NewSnapshot(), partitions: *b.partitions.Load(), readers: b.readers}, nil
}

func (s *snapshot) Value(p storage.PartitionName, key []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, storage.ErrClosed
	}
	return value(s.of, s.partitions, p, key)
}

func (s *snapshot) Scan(p storage.PartitionName, r storage.Range) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		it, err := s.startScan(p, r)
		if err != nil {
			yield(storage.Entry{}, err)
			return
		}
		defer s.readers.leave()
		runScan(it, len(p)+1, r.Reverse, yield)
	}
}

// startScan enters the readers unless it fails.
func (s *snapshot) startScan(p storage.PartitionName, r storage.Range) (*pebbledb.Iterator, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, storage.ErrClosed
	}
	it, err := openScan(s.of, s.partitions, p, r)
	if err == nil {
		s.readers.enter()
	}
	return it, err
}

// Close implements storage.Snapshot. Scans that run go on.
func (s *snapshot) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	defer s.readers.leave()
	return s.of.Close()
}

func value(from source, set partitionSet, p storage.PartitionName, key []byte) ([]byte, error) {
	if _, ok := set[p]; !ok {
		return nil, fmt.Errorf("read %q: %w", p, storage.ErrNoPartition)
	}
	var space [128]byte
	found, closer, err := from.Get(appendKey(space[:0], p, key))
	if errors.Is(err, pebbledb.ErrNotFound) {
		return nil, storage.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", p, err)
	}
	v := bytes.Clone(found)
	if v == nil {
		v = []byte{}
	}
	if err := closer.Close(); err != nil {
		return nil, fmt.Errorf("read %q: %w", p, err)
	}
	return v, nil
}

// openScan returns nil for a range that is empty by its bounds.
func openScan(from source, set partitionSet, p storage.PartitionName, r storage.Range) (*pebbledb.Iterator, error) {
	if _, ok := set[p]; !ok {
		return nil, fmt.Errorf("scan %q: %w", p, storage.ErrNoPartition)
	}
	lower, upper := bounds(p, r)
	if bytes.Compare(lower, upper) >= 0 {
		return nil, nil
	}
	it, err := from.NewIter(&pebbledb.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("scan %q: %w", p, err)
	}
	return it, nil
}

// runScan yields what it iterates over, without the first skip bytes of each key, and closes it.
func runScan(it *pebbledb.Iterator, skip int, reverse bool, yield func(storage.Entry, error) bool) {
	if it == nil {
		return
	}
	closed := false
	defer func() { // the loop over the scan may break, return or panic
		if !closed {
			_ = it.Close()
		}
	}()
	start, next := it.First, it.Next
	if reverse {
		start, next = it.Last, it.Prev
	}
	for ok := start(); ok; ok = next() {
		v, err := it.ValueAndErr()
		if err != nil {
			break // Close gives it again
		}
		if !yield(storage.Entry{Key: it.Key()[skip:], Value: v}, nil) {
			return
		}
	}
	closed = true
	if err := it.Close(); err != nil {
		yield(storage.Entry{}, fmt.Errorf("scan: %w", err))
	}
}
