package log

import (
	"fmt"
	"io"

	"github.com/lni/dragonboat/v4/statemachine"
)

// machine hands what dragonboat's on-disk state machine gets to a replica, and nothing else. The replica was opened before the group
// started.
type machine struct {
	replica *replica
	opened  Index
}

var _ statemachine.IOnDiskStateMachine = (*machine)(nil)

// Open returns the index of the durable checkpoint.
func (m *machine) Open(<-chan struct{}) (uint64, error) { return uint64(m.opened), nil }

// Update applies entries. After a failure of storage it swallows them: dragonboat would end the process on an error, whereas this way
// the owner of the Log learns of it, nothing is acknowledged, and the next start applies them again.
func (m *machine) Update(entries []statemachine.Entry) ([]statemachine.Entry, error) {
	start := m.replica.clock.Now()
	batch := make([]committed, len(entries))
	for i, e := range entries {
		batch[i] = committed{index: Index(e.Index), data: e.Cmd}
	}
	results, err := m.replica.apply(batch)
	if err != nil {
		return entries, nil //nolint:nilerr // the replica has told its owner; the proposer does not acknowledge
	}
	for i := range entries {
		entries[i].Result = statemachine.Result{Value: entries[i].Index, Data: results[i]}
	}
	m.replica.metrics.apply.Observe(m.replica.clock.Now().Sub(start).Seconds())
	return entries, nil
}

// Lookup returns the applied index. Behind a ReadIndex it covers everything acknowledged before.
func (m *machine) Lookup(any) (any, error) { return Index(m.replica.store.applied.Load()), nil }

// Sync makes everything applied durable. An error ends the process: a snapshot that claims more than is durable must not exist.
func (m *machine) Sync() error { return m.replica.sync() }

// PrepareSnapshot implements statemachine.IOnDiskStateMachine.
func (m *machine) PrepareSnapshot() (any, error) { return m.replica.prepareSnapshot() }

// SaveSnapshot implements statemachine.IOnDiskStateMachine.
func (m *machine) SaveSnapshot(view any, w io.Writer, stop <-chan struct{}) error {
	v, ok := view.(*snapshotView)
	if !ok {
		return fmt.Errorf("save snapshot: unexpected view %T", view)
	}
	return m.replica.saveSnapshot(v, w, stop)
}

// RecoverFromSnapshot implements statemachine.IOnDiskStateMachine.
func (m *machine) RecoverFromSnapshot(r io.Reader, stop <-chan struct{}) error {
	return m.replica.restoreSnapshot(r, stop)
}

// Close does nothing: the Log owns the replica and closes it after the group.
func (m *machine) Close() error { return nil }
