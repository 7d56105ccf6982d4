package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"
)

// checkpointTimeout bounds the wait for dragonboat's part of a checkpoint.
const checkpointTimeout = time.Minute

// Checkpoint makes everything applied durable and lets the Raft log forget what a restart does not need. It may run beside
// writes, which it hardly delays. ctx bounds the wait for a checkpoint already under way; one that has begun is finished.
func (l *Log) Checkpoint(ctx context.Context) error {
	if err := l.store.over(); err != nil {
		return err
	}
	return l.checkpoint(ctx)
}

func (l *Log) checkpoint(ctx context.Context) error {
	select {
	case l.checkpointing <- struct{}{}:
		defer func() { <-l.checkpointing }()
	case <-ctx.Done():
		return fmt.Errorf("wait for a checkpoint: %w", context.Cause(ctx))
	}
	keep := l.keepEntries()
	// What this makes durable the snapshot's own Sync, during which nothing is applied, need not.
	if err := l.replica.syncState(); err != nil {
		return err
	}
	if err := l.store.saveIndexes(); err != nil {
		l.options.Logger.Warn("segment indexes are not saved and will be made anew", "error", err)
	}
	// dragonboat takes no further request while one it was not waited for is under way.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkpointTimeout)
	defer cancel()
	_, err := l.host.SyncRequestSnapshot(ctx, uint64(groupID), dragonboat.SnapshotOption{
		OverrideCompactionOverhead: true, CompactionOverhead: keep,
	})
	if err != nil && !errors.Is(err, dragonboat.ErrRejected) { // rejected: there is nothing new
		return fmt.Errorf("snapshot: %w", err)
	}
	l.metrics.checkpoints.Inc()
	return nil
}

// Entries that the Raft log keeps behind a snapshot, for followers that are a little late: as many as keepBytes hold, within bounds.
const (
	keepBytes   = 64 << 20
	keepAtLeast = 10
	keepAtMost  = 10_000
)

// keepEntries goes by the size of the entries since the last checkpoint.
func (l *Log) keepEntries() uint64 {
	if l.options.Network == nil {
		return keepAtLeast
	}
	backlog := &l.replica.backlog
	average := uint64(backlog.bytes.Load())/max(backlog.entries.Load(), 1) + 1
	return min(max(keepBytes/average, keepAtLeast), keepAtMost)
}

// keeper checkpoints in the background and watches the free space of the disk.
type keeper struct {
	log    *Log
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// keeperTick is how often the keeper looks.
const keeperTick = 250 * time.Millisecond

func startKeeper(l *Log) *keeper {
	ctx, cancel := context.WithCancel(context.Background())
	k := &keeper{log: l, cancel: cancel}
	k.done.Go(func() { k.run(ctx) })
	return k
}

// stop ends the keeper and returns when it is gone.
func (k *keeper) stop() {
	k.cancel()
	k.done.Wait()
}

func (k *keeper) run(ctx context.Context) {
	k.log.findLeftovers()
	tick := time.NewTicker(keeperTick)
	defer tick.Stop()
	var waited time.Duration // since the first entry that no checkpoint covers
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.log.failure.done:
			return
		case <-tick.C:
		}
		k.log.space.look()
		k.log.deletePrefixes()
		waited += keeperTick
		if k.log.replica.backlog.entries.Load() == 0 {
			waited = 0
			continue
		}
		if !k.due(waited) {
			continue
		}
		if k.log.space.cramped() {
			k.log.metrics.postponed.Inc()
			continue
		}
		waited = 0
		if err := k.log.checkpoint(ctx); err != nil && ctx.Err() == nil {
			k.log.options.Logger.Warn("checkpoint failed, will be tried again", "error", err)
		}
	}
}

func (k *keeper) due(waited time.Duration) bool {
	o, backlog := &k.log.options, &k.log.replica.backlog
	return backlog.entries.Load() >= o.CheckpointEntries || backlog.changes.Load() >= o.CheckpointChanges ||
		backlog.bytes.Load() >= o.CheckpointBytes || waited >= o.CheckpointInterval
}
