package log

import (
	"errors"
	"log/slog"

	"github.com/lni/dragonboat/v4/raftio"
)

// raftEvents hears what dragonboat tells of the group. Its methods are called one at a time and do not block.
type raftEvents struct {
	noEvents
	leader  *leadership
	logger  *slog.Logger
	removed func() // the group has removed the replica, or is being closed
}

var (
	_ raftio.IRaftEventListener   = (*raftEvents)(nil)
	_ raftio.ISystemEventListener = (*raftEvents)(nil)
)

// LeaderUpdated implements raftio.IRaftEventListener.
func (e *raftEvents) LeaderUpdated(info raftio.LeaderInfo) {
	now := Leader{Replica: ReplicaID(info.LeaderID), Term: info.Term}
	if e.leader.set(now) {
		e.logger.Info("a leader is elected", "node", now.Node(), "term", now.Term)
	}
}

// ErrRemoved reports that the cluster has removed this replica. It can never come back: the node has to be added anew.
var ErrRemoved = errors.New("log: this node was removed from its cluster")

// NodeUnloaded implements raftio.ISystemEventListener. dragonboat unloads a replica that its group has removed.
func (e *raftEvents) NodeUnloaded(raftio.NodeInfo) { e.removed() }

// noEvents ignores every event.
type noEvents struct{}

// NodeHostShuttingDown implements raftio.ISystemEventListener, as do the methods below.
func (noEvents) NodeHostShuttingDown() {}

// NodeUnloaded ignores the event.
func (noEvents) NodeUnloaded(raftio.NodeInfo) {}

// NodeDeleted ignores the event.
func (noEvents) NodeDeleted(raftio.NodeInfo) {}

// NodeReady ignores the event.
func (noEvents) NodeReady(raftio.NodeInfo) {}

// MembershipChanged ignores the event.
func (noEvents) MembershipChanged(raftio.NodeInfo) {}

// ConnectionEstablished ignores the event.
func (noEvents) ConnectionEstablished(raftio.ConnectionInfo) {}

// ConnectionFailed ignores the event.
func (noEvents) ConnectionFailed(raftio.ConnectionInfo) {}

// SendSnapshotStarted ignores the event.
func (noEvents) SendSnapshotStarted(raftio.SnapshotInfo) {}

// SendSnapshotCompleted ignores the event.
func (noEvents) SendSnapshotCompleted(raftio.SnapshotInfo) {}

// SendSnapshotAborted ignores the event.
func (noEvents) SendSnapshotAborted(raftio.SnapshotInfo) {}

// SnapshotReceived ignores the event.
func (noEvents) SnapshotReceived(raftio.SnapshotInfo) {}

// SnapshotRecovered ignores the event.
func (noEvents) SnapshotRecovered(raftio.SnapshotInfo) {}

// SnapshotCreated ignores the event.
func (noEvents) SnapshotCreated(raftio.SnapshotInfo) {}

// SnapshotCompacted ignores the event.
func (noEvents) SnapshotCompacted(raftio.SnapshotInfo) {}

// LogCompacted ignores the event.
func (noEvents) LogCompacted(raftio.EntryInfo) {}

// LogDBCompacted ignores the event.
func (noEvents) LogDBCompacted(raftio.EntryInfo) {}
