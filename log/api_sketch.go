package log

import (
	"context"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/internal/clock"
)

// This file holds the agreed signatures until their real files exist; it is deleted by whoever implements them.

// --- position.go
func ParsePosition(s string) (Position, error) { panic("todo") } // *problem.Error PositionInvalid
func PositionOf(parts ...Part) Position        { panic("todo") }
func (p Position) String() string              { panic("todo") }
func (p Position) IsZero() bool                { panic("todo") }
func (p Position) Part(g GroupID) Part         { panic("todo") } // zero Part of g if absent
func (p Position) Parts() []Part               { panic("todo") } // a copy
func (p Position) Covers(q Position) bool      { panic("todo") } // p has seen all that q has
func (p Position) Max(q Position) Position     { panic("todo") }

// --- log.go
// Options: zero means default.
type Options struct {
	Dir               string // required: raft/ and segments/ are made in it
	FS                vfs.FS // for segments; default the operating system's
	Clock             clock.Clock
	Logger            *slog.Logger
	Registerer        prometheus.Registerer // metrics kalam_log_*; nil: none
	Fold              Fold                  // required
	NodeID            uint64                // default 1
	RaftAddress       string                // default: a free loopback port, kept in the data directory
	RTT               time.Duration         // dragonboat's tick, default 50 ms... a single node elects itself quickly
	SegmentBytes      int64                 // size at which a segment is sealed, default 64 MiB
	MaxEntryBytes     int                   // how much one Raft entry takes of waiting batches, default 1 MiB; a larger single batch is refused above MaxBatchBytes
	MaxBatchBytes     int                   // default 16 MiB
	CheckpointEntries uint64                // raft snapshot/compaction interval
}

// Log is one node's share of the Raft groups. Safe for concurrent use.
type Log struct{}

func Open(ctx context.Context, o Options) (*Log, error) { panic("todo") } // returns when the group has a leader and every entry committed before is applied again

// Receipt answers a proposal.
type Receipt struct {
	Position Position // a reader that has applied this sees the write
	Result   []byte   // what Step.Apply returned
}

// Propose commits batch and returns when it is applied here. On return the batch survives the loss of any minority of
// nodes. Many callers share an entry and a sync. Propose does not retain batch. A *problem.Error Timeout means that the outcome is unknown.
func (l *Log) Propose(ctx context.Context, batch []byte) (Receipt, error) { panic("todo") }

func (l *Log) Position() Position                                            { panic("todo") } // applied and readable here
func (l *Log) Wait(ctx context.Context, p Position) error                    { panic("todo") } // until Position covers p
func (l *Log) Barrier(ctx context.Context) (Position, error)                 { panic("todo") } // ReadIndex: a position that covers everything acknowledged before the call
func (l *Log) Start(p Partition) Offset                                      { panic("todo") } // first offset kept
func (l *Log) End(p Partition) Offset                                        { panic("todo") } // one past the last readable change
func (l *Log) OffsetAtTime(p Partition, micros int64) (Offset, int64, error) { panic("todo") } // first change with timestamp >= micros, and its timestamp; End if none
func (l *Log) Checkpoint(ctx context.Context) error                          { panic("todo") } // sync segments and Fold, snapshot and compact the Raft log
func (l *Log) Drop(t TableID, partitions int) error                          { panic("todo") } // removes the segments of a dropped table
func (l *Log) Close() error                                                  { panic("todo") } // idempotent; checkpoints first

// --- tail.go
// Record is one change as stored. Data is valid until the next call of the reader that returned it.
type Record struct {
	Partition Partition
	Offset    Offset
	Index     Index
	Timestamp int64
	Data      []byte
}

// Read returns records of p from offset on, up to about maxBytes but at least one, in order and without waiting; none if offset is at the end. Offsets
// below Start give *problem.Error Trimmed, beyond End OutOfRange. Data is freshly allocated.
func (l *Log) Read(p Partition, from Offset, maxBytes int) ([]Record, error) { panic("todo") }

// WaitEnd returns when End(p) > end or ctx is done.
func (l *Log) WaitEnd(ctx context.Context, p Partition, end Offset) error { panic("todo") }

// Tail reads the partitions 0..n-1 of one table as one stream in the order (index, partition, offset).
type Tail struct{}

// Tail starts after from (whose Seen is honoured).
func (l *Log) Tail(table TableID, partitions int, from Position) (*Tail, error) { panic("todo") }

// Next waits for changes and returns those of one or more whole entries (minus what from had Seen), about maxBytes at most but at least one entry.
func (t *Tail) Next(ctx context.Context, maxBytes int) ([]Record, error) { panic("todo") }

// Position is how far the tail has read: quiet stretches included, so it moves even when Next finds nothing.
func (t *Tail) Position() Position { panic("todo") }
func (t *Tail) Close()             { panic("todo") }
