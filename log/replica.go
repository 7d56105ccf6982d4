package log

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"kalamlog.dev/kalam/internal/clock"
)

// replica is one node's copy of a group: the Fold's state and the segments, driven entry by entry. It knows nothing of
// Raft beyond indices. apply, sync, prepare and restore are called by one goroutine at a time.
type replica struct {
	group   GroupID
	store   *store
	fold    Fold
	floor   *floor
	failure *failure
	metrics *metrics
	clock   clock.Clock
	wrote   func(bytes int64) // told what goes to segments; nil: nobody

	checkpoint Checkpoint    // of the last apply
	applying   atomic.Uint64 // the last index handed to apply
	appender   *appender
	entry      entry
	ends       map[Partition]Offset
	drops      *dropQueue
	prefixes   *prefixQueue
	restored   atomic.Uint64 // snapshots taken up
	owed       atomic.Uint64 // the least index that the state has once the snapshot is taken up that a restart has cut off; 0: there is none
	gaps       atomic.Pointer[[]Gap]

	syncing sync.Mutex // guards synced; held across Fold.Sync
	synced  uint64     // an index that the state has durably

	// backlog counts what a restart would have to apply again.
	backlog struct {
		entries atomic.Uint64
		changes atomic.Uint64
		bytes   atomic.Int64
	}
}

// committed is one Raft entry as it comes from the group.
type committed struct {
	index Index
	data  []byte
}

// openReplica opens the Fold, and the store at what the Fold says. It compares both with the floor.
func openReplica(group GroupID, s *store, fold Fold, fl *floor, f *failure, m *metrics, ck clock.Clock) (*replica, error) {
	r := &replica{group: group, store: s, fold: fold, floor: fl, failure: f, metrics: m, clock: ck, ends: make(map[Partition]Offset)}
	c, err := fold.Open(r.beforeDurable)
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	if err := r.compare(c); err != nil {
		return nil, errors.Join(err, fold.Close())
	}
	r.checkpoint = c
	r.synced = uint64(c.Index)
	r.applying.Store(uint64(c.Index))
	s.applied.Store(uint64(c.Index))
	r.appender = newAppender(s)
	r.drops = newDropQueue(s)
	r.prefixes = newPrefixQueue(s, r.drops, m)
	if err := errors.Join(r.drops.load(), r.loadGaps()); err != nil {
		return nil, errors.Join(err, fold.Close())
	}
	return r, nil
}

// compare refuses a state that lies behind the floor, unless a snapshot was being taken up: Raft has that still, and nothing is applied before it is.
func (r *replica) compare(c Checkpoint) error {
	least := r.floor.state.checkpoint
	if c.Index >= least {
		return r.store.endTaking()
	}
	taking, err := r.store.taking()
	if err != nil {
		return err
	}
	if !taking {
		return fmt.Errorf("the state is at index %d although index %d was durable: the state directory "+
			"went back in time; if this node has peers, replace it with \"kalam cluster replace\", else restore a backup", c.Index, least)
	}
	r.owed.Store(uint64(least))
	return nil
}

var errNotWhole = errors.New("the state is not whole: a snapshot was being taken up when the node stopped")

// whole returns an error while the state lacks what a snapshot has yet to bring.
func (r *replica) whole() error {
	if owed := r.owed.Load(); owed > 0 {
		return fmt.Errorf("%w, and it had index %d before", errNotWhole, owed)
	}
	return nil
}

// beforeDurable makes the segments durable that the Fold's state speaks of.
func (r *replica) beforeDurable() error {
	if err := r.failure.err(); err != nil {
		return err
	}
	if err := r.store.sync(); err != nil {
		r.metrics.syncErrors.Inc()
		r.failure.fail(err)
		return err
	}
	return nil
}

// apply folds entries, in order, and returns a result for each that splitResults takes apart. After an error nothing
// more may be applied; nothing of these entries is visible to readers then.
func (r *replica) apply(entries []committed) ([][]byte, error) {
	if err := r.failure.err(); err != nil {
		return nil, err
	}
	results, err := r.foldAll(entries)
	if err != nil {
		r.failure.fail(err)
		return nil, err
	}
	return results, nil
}

func (r *replica) foldAll(entries []committed) ([][]byte, error) {
	if err := r.whole(); err != nil {
		return nil, err
	}
	step := r.fold.Begin()
	results := make([][]byte, 0, len(entries))
	c, size := r.checkpoint, 0
	for _, e := range entries {
		if e.index <= c.Index {
			return nil, fmt.Errorf("apply index %d: index %d was applied before", e.index, c.Index)
		}
		r.applying.Store(uint64(e.index))
		result, timestamp, err := r.applyEntry(step, e, c.Timestamp)
		if err != nil {
			return nil, fmt.Errorf("apply index %d: %w", e.index, err)
		}
		c = Checkpoint{Index: e.index, Timestamp: timestamp}
		results = append(results, result)
		size += len(e.data)
	}
	return results, r.commit(step, c, len(entries), size)
}

// applyEntry folds the batches of e, whose timestamp is raised to least.
func (r *replica) applyEntry(step Step, e committed, least int64) ([]byte, int64, error) {
	if err := decodeEntry(e.data, &r.entry); err != nil {
		return nil, 0, err
	}
	timestamp := max(r.entry.timestamp, least)
	r.appender.begin(e.index, timestamp)
	var results []byte
	for i, batch := range r.entry.batches {
		meta := EntryMeta{Group: r.group, Index: e.index, Batch: i, Timestamp: timestamp}
		result, err := step.Apply(meta, batch, r.appender)
		if err == nil {
			err = r.appender.err
		}
		if err != nil {
			return nil, 0, fmt.Errorf("batch %d: %w", i, err)
		}
		results = appendBytes(results, result)
	}
	r.appender.finishEntry()
	return results, timestamp, nil
}

// commit writes the segments, then the state, then lets everybody see.
func (r *replica) commit(step Step, c Checkpoint, entries, size int) error {
	clear(r.ends)
	written, err := r.appender.write(r.ends)
	if err != nil {
		return err
	}
	if err := step.Commit(c, r.ends); err != nil {
		return fmt.Errorf("commit state: %w", err)
	}
	r.checkpoint = c
	r.backlog.changes.Add(r.appender.changes)
	r.prefixes.add(r.appender.publish())
	r.store.applied.Store(uint64(c.Index))
	r.appender.wake()
	r.store.moved.broadcast()
	r.backlog.entries.Add(uint64(entries))
	r.backlog.bytes.Add(int64(size))
	r.metrics.written.Add(float64(written))
	if r.wrote != nil {
		r.wrote(int64(written))
	}
	return r.floor.raise(c.Index)
}

// sync returns when everything applied is durable.
func (r *replica) sync() error {
	if err := r.failure.err(); err != nil {
		return err
	}
	c := Index(r.store.applied.Load())
	r.backlog.entries.Store(0)
	r.backlog.changes.Store(0)
	r.backlog.bytes.Store(0)
	if err := r.syncState(); err != nil {
		return err
	}
	if err := r.floor.harden(c); err != nil {
		r.metrics.syncErrors.Inc()
		r.failure.fail(err)
		return err
	}
	return r.drops.run(c)
}

// syncState makes the state durable, and the segments before it, if anything was applied since it last did. It may run beside apply.
func (r *replica) syncState() error {
	r.syncing.Lock()
	defer r.syncing.Unlock()
	c := r.store.applied.Load()
	if c == r.synced {
		return nil
	}
	if err := r.fold.Sync(); err != nil {
		err = fmt.Errorf("sync state: %w", err)
		r.metrics.syncErrors.Inc()
		r.failure.fail(err)
		return err
	}
	r.synced = c
	return nil
}

// splitResults returns the results of an entry's count batches.
func splitResults(data []byte, count int) ([][]byte, error) {
	return decodeList(data, count, make([][]byte, 0, count))
}

// failure is the first error after which nothing more may be acknowledged.
type failure struct {
	once sync.Once
	done chan struct{}
	why  error
	tell func(error)
}

func newFailure(tell func(error)) *failure {
	return &failure{done: make(chan struct{}), tell: tell}
}

func (f *failure) fail(err error) {
	f.once.Do(func() {
		f.why = err
		close(f.done)
		f.tell(err)
	})
}

func (f *failure) err() error {
	select {
	case <-f.done:
		return f.why
	default:
		return nil
	}
}
