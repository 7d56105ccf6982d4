package log

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lni/dragonboat/v4"

	"kalamlog.dev/kalam/internal/problem"
)

// Member is a replica of the group.
type Member struct {
	Replica ReplicaID
	Target  string
	Voter   bool // false: it receives everything and does not count towards a majority, yet
}

// Members are the replicas of the group at one time, ascending.
type Members struct {
	List    []Member
	removed []ReplicaID
	version uint64 // what a change of them must name
}

// Of returns the newest replica of node, or false.
func (m Members) Of(node NodeID) (Member, bool) {
	for _, one := range slices.Backward(m.List) {
		if one.Replica.Node() == node {
			return one, true
		}
	}
	return Member{}, false
}

// NextReplica returns the ReplicaID that node's next life has to have: one that was never used.
func (m Members) NextReplica(node NodeID) ReplicaID {
	next := ReplicaID(node)
	for _, used := range m.used() {
		if used.Node() == node && used >= next {
			next = used.next()
		}
	}
	return next
}

func (m Members) used() []ReplicaID {
	used := slices.Clone(m.removed)
	for _, one := range m.List {
		used = append(used, one.Replica)
	}
	return used
}

func (m Members) voters() int {
	n := 0
	for _, one := range m.List {
		if one.Voter {
			n++
		}
	}
	return n
}

// memberTimeout bounds one question or change if the context does not.
const memberTimeout = 10 * time.Second

// Members returns the replicas as a majority knows them.
func (l *Log) Members(ctx context.Context) (Members, error) {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	s, err := askAgain(ctx, l, func(ctx context.Context) (*dragonboat.Membership, error) {
		return l.host.SyncGetShardMembership(ctx, uint64(groupID))
	})
	if err != nil {
		return Members{}, fmt.Errorf("read members: %w", membersError(err))
	}
	m := Members{version: s.ConfigChangeID}
	for r, target := range s.Nodes {
		m.List = append(m.List, Member{Replica: ReplicaID(r), Target: target, Voter: true})
	}
	for r, target := range s.NonVotings {
		m.List = append(m.List, Member{Replica: ReplicaID(r), Target: target})
	}
	for r := range s.Removed {
		m.removed = append(m.removed, ReplicaID(r))
	}
	slices.SortFunc(m.List, func(a, b Member) int { return cmp.Compare(a.Replica, b.Replica) })
	return m, nil
}

// membersError explains what dragonboat says of a group that does not answer.
func membersError(err error) error {
	switch {
	case errors.Is(err, dragonboat.ErrRejected):
		return problem.New(problem.VersionConflict, "the members were changed at the same time").WithHint("look at the cluster's status and repeat the command").Because(err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, dragonboat.ErrTimeout), dragonboat.IsTempError(err):
		return problem.New(problem.Timeout, "the cluster did not answer in time").WithHint("a majority of its nodes must be up and reachable").Because(err)
	}
	return err
}

// change runs one change of the members that of knows.
func (l *Log) change(ctx context.Context, of Members, f func(ctx context.Context, version uint64) error) error {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	if err := f(ctx, of.version); err != nil {
		return fmt.Errorf("change members: %w", membersError(err))
	}
	return nil
}

// AddMember adds a replica that does not vote, as of.NextReplica names it. It gets everything once its node runs; Promote makes it a
// voter when it has caught up, so that a majority never waits for a node that is empty.
func (l *Log) AddMember(ctx context.Context, of Members, r ReplicaID) error {
	return l.change(ctx, of, func(ctx context.Context, version uint64) error {
		return l.host.SyncRequestAddNonVoting(ctx, uint64(groupID), uint64(r), TargetOf(r.Node()), version)
	})
}

// Promote makes a replica that was added a voter.
func (l *Log) Promote(ctx context.Context, of Members, r ReplicaID) error {
	return l.change(ctx, of, func(ctx context.Context, version uint64) error {
		return l.host.SyncRequestAddReplica(ctx, uint64(groupID), uint64(r), TargetOf(r.Node()), version)
	})
}

// RemoveMember removes a replica for ever. The last voter cannot be removed.
func (l *Log) RemoveMember(ctx context.Context, of Members, r ReplicaID) error {
	for _, m := range of.List {
		if m.Replica == r && m.Voter && of.voters() == 1 {
			return problem.New(problem.Unsupported, "node %d is the last one that votes: without it the cluster would be gone", r.Node())
		}
	}
	return l.change(ctx, of, func(ctx context.Context, version uint64) error {
		return l.host.SyncRequestDeleteReplica(ctx, uint64(groupID), uint64(r), version)
	})
}

// TransferLeader asks the leader to hand over to r. On return r leads, or ctx has ended. Writes stand still meanwhile.
//
// The leader takes no proposals until r leads or an election time has passed, and r does not stand for election while it has a committed entry
// to apply, which under load it mostly has. What is asked meanwhile is ignored, so asking goes on: as soon as the leader has given up, r is asked anew, and
// now it is idle.
func (l *Log) TransferLeader(ctx context.Context, r ReplicaID) error {
	for {
		elected := l.leader.another() // before looking, or an election in between is missed
		if l.leader.now().Replica == r {
			return nil
		}
		if err := l.host.RequestLeaderTransfer(uint64(groupID), uint64(r)); err != nil && !dragonboat.IsTempError(err) {
			return fmt.Errorf("transfer leadership: %w", err)
		}
		retry := time.NewTimer(retransferTicks * l.options.RTT)
		select {
		case <-elected:
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return problem.New(problem.Timeout, "node %d does not lead yet", r.Node()).Because(context.Cause(ctx))
		}
		retry.Stop()
	}
}
