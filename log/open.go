package log

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/internal/problem"
)

// Open opens the log in o.Dir or makes it. It returns when the group has a leader and every entry committed before is applied
// again. It refuses with a *CorruptionError what lost or changed bytes.
func Open(ctx context.Context, o Options) (*Log, error) {
	o.setDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	l := &Log{options: o, checkpointing: make(chan struct{}, 1)}
	if err := l.open(ctx); err != nil {
		return nil, fmt.Errorf("open log in %s: %w", o.Dir, errors.Join(err, l.shut()))
	}
	return l, nil
}

func (l *Log) open(ctx context.Context) error {
	if err := refuseRestoring(l.options.Dir); err != nil {
		return err
	}
	if err := l.openStorage(); err != nil {
		return err
	}
	if l.options.Offline {
		return l.replica.whole()
	}
	host, err := l.startRaft()
	if err != nil {
		return err
	}
	l.host = host
	l.sender = l.newProposer()
	l.sender.start(host.GetNoOPSession(uint64(groupID)))
	if err := l.awaitLeader(ctx); err != nil {
		return err
	}
	if _, err := l.Barrier(ctx); err != nil {
		return err
	}
	if err := errors.Join(l.failure.err(), l.replica.whole()); err != nil {
		return err
	}
	l.keeper = startKeeper(l)
	return nil
}

func (l *Log) newProposer() *proposer {
	o := &l.options
	return &proposer{
		host: l.host, group: groupID, clock: o.Clock, metrics: l.metrics, failure: l.failure, leader: &l.leader, barrier: l.Barrier,
		limits: proposerLimits{
			entry: o.MaxEntryBytes, batch: o.MaxBatchBytes, queue: o.QueueBytes, timeout: o.ProposeTimeout, senders: o.Senders,
			settle: settleTicks * o.RTT,
		},
	}
}

// patience is how long awaitLeader waits before it says what it waits for, and between two sayings.
const patience = 10 * time.Second

func (l *Log) awaitLeader(ctx context.Context) error {
	tell := time.NewTicker(patience)
	defer tell.Stop()
	for elected := l.leader.another(); l.leader.now().Replica == 0; {
		select {
		case <-elected:
			return nil
		case <-tell.C:
			l.options.Logger.Warn("waiting for a leader: a majority of the cluster's nodes must be up and reachable")
		case <-l.failure.done:
			return l.failure.err()
		case <-ctx.Done():
			return fmt.Errorf("wait for a leader: %w", context.Cause(ctx))
		}
	}
	return nil
}

// openStorage locks the directory and opens what does not need Raft.
func (l *Log) openStorage() (err error) {
	o := &l.options
	if err := o.FS.MkdirAll(o.Dir, 0o755); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if l.lock, err = lockDir(o.FS, o.Dir); err != nil {
		return err
	}
	if l.metrics, err = newMetrics(o.Registerer); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	l.space = newSpace(o, l.metrics)
	l.failure = newFailure(l.fail)
	l.leader.init()
	segments := o.FS.PathJoin(o.Dir, "segments")
	if err := prepareSegments(o.FS, segments); err != nil {
		return err
	}
	if l.floor, err = openFloor(o.FS, o.FS.PathJoin(o.Dir, "floor")); err != nil {
		return err
	}
	l.store = newStore(o.FS, segments, o.SegmentBytes, o.OpenFiles, o.Fold)
	if err := l.metrics.watch(l.store); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	l.replica, err = openReplica(groupID, l.store, o.Fold, l.floor, l.failure, l.metrics, o.Clock)
	if err == nil {
		l.replica.wrote = l.space.wrote
	}
	return err
}

// lockDir keeps a second process out of dir.
func lockDir(fs vfs.FS, dir string) (interface{ Close() error }, error) {
	lock, err := fs.Lock(fs.PathJoin(dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("another process uses the data directory %s: stop it first: %w", dir, err)
	}
	return lock, nil
}

// fail is told the first failure of storage.
func (l *Log) fail(err error) {
	l.options.Logger.Error("storage failed: nothing more is acknowledged, restart the process", "error", err)
	l.store.end(errFailed(err))
}

// Close checkpoints and closes the log and its Fold. Whoever waits is refused. It is idempotent.
func (l *Log) Close() error {
	l.closing.Do(func() { l.closed = l.shut() })
	return l.closed
}

// shut closes what open has opened, from the top down.
func (l *Log) shut() error {
	var errs []error
	if l.keeper != nil {
		l.keeper.stop()
	}
	if l.sender != nil {
		l.sender.close()
	}
	if l.store != nil {
		l.store.end(problem.New(problem.ShuttingDown, "the server is shutting down"))
	}
	if l.keeper != nil && l.failure.err() == nil {
		errs = append(errs, l.checkpoint(context.Background()))
	}
	if l.host != nil {
		errs = append(errs, closeHost(l.host))
	}
	if l.sender != nil {
		l.sender.done.Wait()
	}
	if l.replica != nil {
		errs = append(errs, l.options.Fold.Close())
	}
	if l.store != nil {
		l.store.files.close()
	}
	if l.floor != nil {
		errs = append(errs, l.floor.close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}
