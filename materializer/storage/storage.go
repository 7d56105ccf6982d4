// Package storage is the interface between the materializer and the key-value stores that hold its state, and the contract that every
// backend fulfils (the suite in storagetest checks it). Keys are ordered bytewise within a partition.
package storage

import (
	"errors"
	"iter"
)

// PartitionName names an independent, ordered key space of a backend: 1 to 64 bytes of [a-z0-9/_-].
type PartitionName string

// MaxPartitionName is the longest PartitionName in bytes.
const MaxPartitionName = 64

// Errors that every backend answers with, wrapped or not.
var (
	ErrNotFound    = errors.New("storage: key not found")
	ErrNoPartition = errors.New("storage: no such partition")
	ErrName        = errors.New("storage: a partition name has 1 to 64 bytes of [a-z0-9/_-]")
	ErrKey         = errors.New("storage: a key has up to 32,752 bytes") // backends without that limit may take longer ones
	ErrClosed      = errors.New("storage: backend is closed")
	ErrDamaged     = errors.New("storage: damaged")                             // what was stored is not what is read
	ErrStale       = errors.New("storage: too much was written since it began") // a snapshot or scan that its backend had to give up
)

// MaxKey is the longest key in bytes that every backend takes.
const MaxKey = 32<<10 - 16

// Check returns ErrName if p is not a valid name.
func (p PartitionName) Check() error {
	if len(p) == 0 || len(p) > MaxPartitionName {
		return ErrName
	}
	for i := range len(p) {
		c := p[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '/' && c != '_' && c != '-' {
			return ErrName
		}
	}
	return nil
}

// Entry is one key and its value, valid until the iteration goes on.
type Entry struct{ Key, Value []byte }

// Range limits a scan: Start included, End excluded, nil for open ends.
type Range struct {
	Start, End []byte
	Reverse    bool
}

// Reader reads one state of the store.
type Reader interface {
	// Value returns a copy of the key's value, or ErrNotFound.
	Value(p PartitionName, key []byte) ([]byte, error)
	// Scan streams entries in key order with memory that does not grow with the range. An error ends it; it is yielded with a zero Entry. A
	// scan sees one state of the store: writes that come after its first entry do not show.
	Scan(p PartitionName, r Range) iter.Seq2[Entry, error]
}

// ManyReader is a Reader that looks up many keys faster than one by one.
type ManyReader interface {
	// Values calls each for every key, in the order of keys, which must ascend: with its value, valid during the call, or nil if there is none.
	Values(p PartitionName, keys [][]byte, each func(i int, value []byte)) error
}

// Values looks up keys in r as ManyReader says, whether r is one or not.
func Values(r Reader, p PartitionName, keys [][]byte, each func(i int, value []byte)) error {
	if many, ok := r.(ManyReader); ok {
		return many.Values(p, keys, each)
	}
	for i, key := range keys {
		v, err := r.Value(p, key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		each(i, v)
	}
	return nil
}

// Snapshot is a Reader of one moment, its partitions included: one that is dropped later stays readable in it. It must be closed; its backend's
// Close waits for that. Safe for concurrent use.
type Snapshot interface {
	Reader
	Close() error
}

// Backend is a store. It is safe for concurrent use. Writes are atomic and visible on return, durable after Sync. Before a backend makes any write durable, for
// whatever reason of its own (a full memtable, say), it calls the BeforeDurable hook it was opened with and fails the write if that fails.
type Backend interface {
	Reader
	Put(p PartitionName, key, value []byte) error
	Delete(p PartitionName, key []byte) error
	NewBatch() Batch
	Snapshot() (Snapshot, error)

	CreatePartition(p PartitionName) error // no error if it exists
	PartitionExists(p PartitionName) (bool, error)
	Partitions() ([]PartitionName, error) // sorted
	DropPartition(p PartitionName) error  // no error if it does not exist; its space is given back in time

	Sync() error
	// Close refuses what comes later with ErrClosed and waits a while for open scans and snapshots. It is idempotent.
	Close() error
}

// Batch is an atomic group of writes over partitions. A write to a partition that neither exists nor was created earlier in the batch makes Commit
// fail with ErrNoPartition, and nothing is written. Later writes win over earlier ones. Used from one goroutine; key and value are copied.
type Batch interface {
	Put(p PartitionName, key, value []byte)
	Delete(p PartitionName, key []byte)
	CreatePartition(p PartitionName)
	DropPartition(p PartitionName)
	Commit() error // the batch is spent afterwards
	Discard()      // allowed after Commit, and then without effect
}
