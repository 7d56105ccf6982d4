package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/problem"
)

// Options configures a Log. The zero value of a field means its default.
type Options struct {
	Dir        string                // required: raft/, segments/ and the floor file are made in it
	FS         vfs.FS                // for segments and the floor file; default the operating system's
	Clock      clock.Clock           // default the machine's
	Logger     *slog.Logger          // default slog.Default()
	Registerer prometheus.Registerer // gets the metrics kalam_log_*; nil: none
	Fold       Fold                  // required; Open opens it and Close closes it

	Identity Identity      // default: node 1 of a cluster of one
	Network  Network       // to the other nodes; nil: there are none
	Offline  bool          // opens what the last checkpoint covers, to read: Raft does not run and nothing can be proposed
	RTT      time.Duration // dragonboat's tick; default 10 ms without a network, 50 ms with one

	SegmentBytes  int64 // size at which a segment is sealed, default 64 MiB
	OpenFiles     int   // segment files kept open, default 256
	MaxEntryBytes int   // how much one Raft entry takes of waiting batches, default 1 MiB
	MaxBatchBytes int   // size above which a batch is refused, default 16 MiB
	QueueBytes    int   // waiting batches above which Propose waits, default 64 MiB
	Senders       int   // Raft entries in flight, default 8

	ProposeTimeout     time.Duration // after which the outcome of an entry counts as unknown, default 10 s
	CheckpointEntries  uint64        // entries after which a checkpoint is made, default 100,000
	CheckpointChanges  uint64        // changes after which a checkpoint is made, default 200,000
	CheckpointBytes    int64         // bytes of entries after which a checkpoint is made, default 128 MiB
	CheckpointInterval time.Duration // how long the last entries wait for a checkpoint, default 5 s
	MinFreeBytes       uint64        // free disk space below which writes are refused, default 256 MiB

	// PeersFull reports that a write would wait for nodes whose disks are full: writes are then refused as on a full disk of this node's own.
	// It is asked before each write. Default: none are.
	PeersFull func() bool
}

func (o *Options) setDefaults() {
	setDefault(&o.FS, vfs.Default)
	setDefault[clock.Clock](&o.Clock, clock.System{})
	setDefault(&o.Logger, slog.Default())
	if o.Identity.Node == 0 {
		o.Identity = FirstIdentity(1, 1)
	}
	if o.Network == nil {
		setDefault(&o.RTT, 10*time.Millisecond)
	}
	setDefault(&o.RTT, 50*time.Millisecond)
	setDefault(&o.SegmentBytes, 64<<20)
	setDefault(&o.OpenFiles, 256)
	setDefault(&o.MaxEntryBytes, 1<<20)
	setDefault(&o.MaxBatchBytes, 16<<20)
	setDefault(&o.QueueBytes, 64<<20)
	setDefault(&o.Senders, 8)
	setDefault(&o.ProposeTimeout, 10*time.Second)
	setDefault(&o.CheckpointEntries, 100_000)
	setDefault(&o.CheckpointChanges, 200_000)
	setDefault(&o.CheckpointBytes, 128<<20)
	setDefault(&o.CheckpointInterval, 5*time.Second)
	setDefault(&o.MinFreeBytes, 256<<20)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o *Options) validate() error {
	var errs []error
	check := func(ok bool, message string) {
		if !ok {
			errs = append(errs, errors.New("log: "+message))
		}
	}
	check(o.Dir != "", "Options.Dir is required")
	check(o.Fold != nil, "Options.Fold is required")
	check(o.SegmentBytes > 0 && o.MaxEntryBytes > 0 && o.MaxBatchBytes > 0 && o.QueueBytes > 0, "sizes must be positive")
	check(o.MaxBatchBytes <= 1<<30, "Options.MaxBatchBytes must be at most 1 GiB")
	check(o.OpenFiles > 0 && o.Senders > 0, "Options.OpenFiles and Senders must be positive")
	check(o.RTT >= time.Millisecond, "Options.RTT must be at least a millisecond")
	check(o.Offline || o.Network != nil || len(o.Identity.Members) == 1, "the replica has peers: Options.Network is required")
	return errors.Join(append(errs, o.Identity.check())...)
}

// Network makes the transport between the hosts of a cluster: *peer.Net.
type Network interface {
	Transport(valid func(target string) bool) config.TransportFactory
}

// Log is one node's share of the Raft groups. Safe for concurrent use.
type Log struct {
	options Options
	lock    io.Closer
	floor   *floor
	store   *store
	replica *replica
	host    *dragonboat.NodeHost
	sender  *proposer
	failure *failure
	metrics *metrics
	keeper  *keeper
	leader  leadership
	space   *space

	checkpointing chan struct{} // holds a token while a checkpoint is made

	closing sync.Once
	closed  error
}

// Receipt answers a proposal.
type Receipt struct {
	Position Position // a reader that has applied this sees the write
	Result   []byte   // what Step.Apply returned; nil if it was empty
}

// Propose commits batch and returns when it is applied here. On return the batch survives the loss of any minority of
// nodes. Many callers share an entry and a sync. Propose does not retain batch.
//
// A *problem.Error Timeout means that the outcome is unknown. BodyTooLarge, DiskFull, Overloaded, Cancelled and ShuttingDown mean
// that nothing was written.
func (l *Log) Propose(ctx context.Context, batch []byte) (Receipt, error) {
	l.metrics.proposals.Inc()
	if l.options.Offline {
		return Receipt{}, problem.New(problem.Unsupported, "the log is open for reading alone")
	}
	if err := l.space.admit(ctx, len(batch)); err != nil {
		l.metrics.refused.Inc()
		return Receipt{}, err
	}
	defer l.space.done(len(batch))
	r, err := l.sender.propose(ctx, batch)
	if err != nil {
		l.metrics.refused.Inc()
	}
	return r, err
}

// DiskFull reports whether this node refuses writes because its disk is nearly full. Peers that would have to store what a leader
// commits can be told by it (Options.PeersFull): Raft itself knows no refusal.
func (l *Log) DiskFull() bool { return l.space.full() }

// Room returns why nothing that can wait should be written to the data directory now, a *problem.Error DiskFull, or nil.
func (l *Log) Room() error {
	if !l.space.full() {
		return nil
	}
	return errFull(l.options.Dir)
}

// Position returns how far this node has applied: everything up to it is readable here.
func (l *Log) Position() Position { return l.positionAt(Index(l.store.applied.Load())) }

func (l *Log) positionAt(i Index) Position { return PositionOf(Part{Group: groupID, Index: i}) }

// Wait returns when Position covers p. Its error is ctx's, or tells that the log has ended.
func (l *Log) Wait(ctx context.Context, p Position) error {
	want := uint64(p.Part(groupID).Index)
	for _, part := range p.Parts() {
		if part.Group != groupID {
			return problem.New(problem.PositionInvalid, "the position %s speaks of a group %d that does not exist here", p, part.Group)
		}
	}
	err := l.store.moved.wait(ctx, func() bool { return l.store.applied.Load() >= want || l.store.over() != nil })
	if err == nil && l.store.applied.Load() < want {
		return l.store.over()
	}
	return err
}

// reachTimeout bounds how long Reach asks where the log ends.
const reachTimeout = 10 * time.Second

// Reach returns when Position covers p. On a node that lags it asks the group. A *problem.Error PositionInvalid says that p lies in the future, or is
// from another log; Trimmed that it is Lost; Timeout that the group does not answer.
func (l *Log) Reach(ctx context.Context, p Position) error {
	if err := l.Lost(p); err != nil {
		return err
	}
	if p.IsZero() || l.Position().Covers(p) {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	all, err := l.Barrier(asking)
	switch {
	case err != nil && ctx.Err() == nil && asking.Err() != nil:
		return problem.New(problem.Timeout, "this node is at position %s, and the cluster does not answer where the log ends", l.Position()).
			WithHint("ask another node").Because(err)
	case err != nil:
		return err
	case !all.Covers(p):
		return problem.New(problem.PositionInvalid, "the position %s lies in the future: the newest is %s", p, all).
			WithHint("positions belong to the server that gave them; is it from another one, or from before its data were lost?")
	}
	return nil
}

// Barrier returns a position that covers everything acknowledged, on any node, before the call. It is applied here on return.
func (l *Log) Barrier(ctx context.Context) (Position, error) {
	v, err := askAgain(ctx, l, func(ctx context.Context) (any, error) {
		return l.host.SyncRead(ctx, uint64(groupID), nil)
	})
	if err != nil {
		return Position{}, fmt.Errorf("read index: %w", err)
	}
	i, ok := v.(Index)
	if !ok {
		return Position{}, fmt.Errorf("read index: unexpected answer %T", v)
	}
	return l.positionAt(i), nil
}

// askAgain repeats a question to the group until it is answered, ctx ends or the answer cannot come any more. A question sent to a
// leader that is gone is never answered: it is asked again when there can be another.
func askAgain[T any](ctx context.Context, l *Log, ask func(context.Context) (T, error)) (T, error) {
	for {
		v, lost, err := askOnce(ctx, l, ask)
		switch {
		case err == nil:
			return v, nil
		case ctx.Err() != nil:
			return v, context.Cause(ctx)
		case lost:
			continue
		case !dragonboat.IsTempError(err) && !errors.Is(err, dragonboat.ErrTimeoutTooSmall), errors.Is(err, dragonboat.ErrClosed),
			errors.Is(err, dragonboat.ErrShardClosed), l.store.over() != nil:
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, context.Cause(ctx)
		case <-time.After(l.options.RTT):
		}
	}
}

// askOnce gives up when another leader is elected, or could have been; lost reports that it did.
func askOnce[T any](ctx context.Context, l *Log, ask func(context.Context) (T, error)) (v T, lost bool, err error) {
	elected := l.leader.another()
	ctx, cancel := context.WithTimeout(ctx, 2*electionTicks*l.options.RTT)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-elected:
			cancel()
		case <-done:
		}
	}()
	v, err = ask(ctx)
	return v, ctx.Err() != nil, err
}

// Start returns the first offset of p that is kept: the end if none is. It is the same on every node that has applied the same.
func (l *Log) Start(p Partition) Offset {
	part, err := l.store.partition(p)
	if err != nil {
		l.failure.fail(err)
		return 0
	}
	return part.start.Load().Offset
}

// End returns the offset behind the last readable change of p: 0 for a partition never written.
func (l *Log) End(p Partition) Offset {
	part, err := l.store.partition(p)
	if err != nil {
		l.failure.fail(err)
		return 0
	}
	return Offset(part.end.Load())
}

// OffsetAtTime returns the first kept change of p with a timestamp of at least micros, and that timestamp; End and 0 if there is none.
func (l *Log) OffsetAtTime(p Partition, micros int64) (Offset, int64, error) {
	part, err := l.store.partition(p)
	if err != nil {
		return 0, 0, err
	}
	end := Offset(part.end.Load())
	return part.first(end, func(_ Index, timestamp int64) bool { return timestamp < micros })
}

// Drop removes the segments of a dropped table. The entry that drops it must be applied or about to be: no change may
// follow. Readers of the table end with Trimmed at once; the files go with a later checkpoint.
func (l *Log) Drop(t TableID) error {
	return l.replica.drops.add(t, Index(l.replica.applying.Load()))
}

// Failed returns a channel that is closed when storage has failed in a way after which nothing more is acknowledged. The process
// should end then; Err says why.
func (l *Log) Failed() <-chan struct{} { return l.failure.done }

// Err returns why Failed is closed, or nil.
func (l *Log) Err() error { return l.failure.err() }
