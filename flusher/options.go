package flusher

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/flusher/objstore"
	"kalamlog.dev/kalam/flusher/shard"
	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// Log is what a Flusher reads.
type Log interface {
	HistoryLog
	// OffsetAtTime returns the first kept change of p with a timestamp of at least micros, the end if there is none.
	OffsetAtTime(p log.Partition, micros int64) (log.Offset, int64, error)
	// Segments lists the segments of p that hold kept changes, in order.
	Segments(p log.Partition) ([]log.SegmentInfo, error)
}

// State gives views of the tables.
type State interface {
	View() (*materializer.View, error)
}

// Writer applies batches. An error that is no refusal of the batch leaves open whether it was applied.
type Writer interface {
	Write(ctx context.Context, b *materializer.Batch) (materializer.WriteReceipt, error)
}

// Options configures a Flusher. Zero means default.
type Options struct {
	Log        Log             // required
	State      State           // required
	Writer     Writer          // required
	Store      objstore.Store  // required: the data directory
	Strategies *shard.Registry // required
	Clock      clock.Clock     // default the system's
	Logger     *slog.Logger    // default none
	Registerer prometheus.Registerer
	Room       func() error // why there is no space to flush now, nil if there is; default: there always is

	// Leads reports whether this node is the one of its cluster that flushes; default always. Two that both believe it do no harm: of two commits of
	// the same changes one is refused.
	Leads func() bool
	// Spread copies new data files to other nodes. It returns when enough of them have each durably; default none is needed.
	Spread func(ctx context.Context, files []manifest.File) error

	DefaultStrategy string // of tables that name none, default shard.Default
	Node            uint64 // in system.jobs, default 1
	Jobs            int    // run at the same time, default 1
	KeepJobs        int    // ended jobs that stay in system.jobs, default 1,000
	Mailbox         int    // messages that wait for the actor, default 64
	Memory          int64  // bytes of encoded rows that a job holds before it writes row groups, default 64 MiB

	Rows          int64         // the scheduler flushes a table with so many unflushed changes, default 1,000,000; negative: never
	Bytes         int64         // or about so many bytes of them, default 256 MiB; negative: never
	Interval      time.Duration // or any that have waited so long, default 5 min; negative: never
	CheckInterval time.Duration // how often the scheduler looks, default 5 s; negative: no scheduler

	RetentionAge      time.Duration // of flushed changes that leave the log, of tables that do not say, default 7 days; negative: for ever
	RetentionBytes    int64         // of the log of such a table, above which its oldest flushed segments go, default no bound
	RetentionInterval time.Duration // how often the scheduler looks for such, at most, default 1 min
	FileGrace         time.Duration // from when no manifest names a file to its removal: for queries that still read it, default 10 min
}

func (o *Options) setDefaults() {
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Leads == nil {
		o.Leads = func() bool { return true }
	}
	if o.Spread == nil {
		o.Spread = func(context.Context, []manifest.File) error { return nil }
	}
	if o.Room == nil {
		o.Room = func() error { return nil }
	}
	setDefault(&o.DefaultStrategy, shard.Default)
	setDefault(&o.Node, 1)
	setDefault(&o.Jobs, 1)
	setDefault(&o.KeepJobs, 1000)
	setDefault(&o.Mailbox, 64)
	setDefault(&o.Memory, 64<<20)
	setDefault(&o.Rows, 1_000_000)
	setDefault(&o.Bytes, 256<<20)
	setDefault(&o.Interval, 5*time.Minute)
	setDefault(&o.CheckInterval, 5*time.Second)
	setDefault(&o.RetentionAge, 7*24*time.Hour)
	setDefault(&o.RetentionInterval, time.Minute)
	setDefault(&o.FileGrace, 10*time.Minute)
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

func (o *Options) validate() error {
	var errs []error
	if o.Log == nil || o.State == nil || o.Writer == nil || o.Store == nil || o.Strategies == nil {
		errs = append(errs, errors.New("flusher: Log, State, Writer, Store and Strategies are required"))
	} else if _, err := o.Strategies.Strategy(o.DefaultStrategy); err != nil {
		errs = append(errs, err)
	}
	if o.Jobs < 1 || o.KeepJobs < 1 || o.Mailbox < 1 || o.Memory < 1 {
		errs = append(errs, errors.New("flusher: Jobs, KeepJobs, Mailbox and Memory must not be negative"))
	}
	return errors.Join(errs...)
}
