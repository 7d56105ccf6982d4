package log

import (
	"errors"
	"fmt"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/plugin/tan"
	"github.com/lni/dragonboat/v4/raftio"
)

// logGuard makes tan, dragonboat's log storage, and checks once that the log it found is not shorter than it was. tan stops at a
// record whose checksum is wrong, but takes one whose header is damaged for the torn tail of a crash and drops what follows. The check
// comes before the group may add an entry: one that took a lost index again could never be told from the lost one.
type logGuard struct {
	dir  string
	node NodeID
	need Index   // the index that the log had at least
	fs   *raftFS // told when the log is whole

	refused error // what the check said; dragonboat turns it into a panic with its text
}

// Create implements config.LogDBFactory.
func (g *logGuard) Create(c config.NodeHostConfig, cb config.LogDBCallback, dirs, wals []string) (raftio.ILogDB, error) {
	db, err := tan.Factory.Create(c, cb, dirs, wals)
	if err != nil {
		return nil, err
	}
	return &guardedLog{ILogDB: db, guard: g}, nil
}

// Name implements config.LogDBFactory.
func (g *logGuard) Name() string { return tan.Factory.Name() }

// guardedLog is tan with the check.
type guardedLog struct {
	raftio.ILogDB
	guard *logGuard
}

// ReadRaftState implements raftio.ILogDB. dragonboat calls it once, before the group runs; snapshot is the index of the last snapshot.
func (l *guardedLog) ReadRaftState(group, node, snapshot uint64) (raftio.RaftState, error) {
	state, err := l.ILogDB.ReadRaftState(group, node, snapshot)
	if err != nil && !errors.Is(err, raftio.ErrNoSavedLog) {
		return state, err
	}
	last := Index(snapshot)
	if err == nil && state.EntryCount > 0 {
		last = Index(state.FirstIndex + state.EntryCount - 1)
	}
	if last < l.guard.need {
		l.guard.refused = l.guard.refuse(last)
		return state, l.guard.refused
	}
	if err := l.guard.fs.trust(); err != nil {
		return state, err
	}
	return state, err
}

func (g *logGuard) refuse(last Index) error {
	return &CorruptionError{Path: g.dir, Err: fmt.Errorf("the raft log ends at index %d although index %d was committed: "+
		"entries were lost; if this node has peers, replace it with \"kalam cluster replace %d\", else restore a backup",
		last, g.need, g.node)}
}
