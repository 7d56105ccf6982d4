// Package storage is the interface between the materializer and the key-value stores that hold its state, and the contract that every
// backend fulfils (the suite in storagetest checks it). Keys are ordered bytewise within a partition.
package storage

import (
	"errors"
	"iter"
)

// PartitionName names an independent, ordered key space of a backend: 1 to 64 bytes of [a-z0-9/_-].
type PartitionName string

// ErrNotFound reports that a key does not exist. ErrNoPartition reports that its partition does not.
var (
	ErrNotFound    = errors.New("storage: key not found")
	ErrNoPartition = errors.New("storage: no such partition")
)

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
	// Scan streams entries in key order with memory that does not grow with the range. An error ends it.
	Scan(p PartitionName, r Range) iter.Seq2[Entry, error]
}

// Snapshot is a Reader of one moment. It must be closed.
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
	Close() error // idempotent
}

// Batch is an atomic group of writes over partitions, which must exist. Used from one goroutine.
type Batch interface {
	Put(p PartitionName, key, value []byte)
	Delete(p PartitionName, key []byte)
	CreatePartition(p PartitionName)
	DropPartition(p PartitionName)
	Commit() error // the batch is spent afterwards
	Discard()
}
