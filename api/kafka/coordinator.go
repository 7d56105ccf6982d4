package kafka

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Limits on groups. Session timeouts are those of other brokers but for a lower minimum.
const (
	maxGroups         = 10_000
	maxGroupMembers   = 1_000
	maxGroupID        = 1_024 // bytes
	minSessionTimeout = time.Second
	maxSessionTimeout = 30 * time.Minute
)

// coordinator keeps the members of consumer groups, in memory: after a restart members join again. Committed offsets are not its business.
// Safe for concurrent use. Lock order: group.mu before coordinator.mu; coordinator.mu is never held while taking a group's.
type coordinator struct {
	logger *slog.Logger

	// mu guards what follows.
	mu     sync.Mutex
	closed bool
	groups map[string]*group
}

func newCoordinator(logger *slog.Logger) *coordinator {
	return &coordinator{logger: logger, groups: make(map[string]*group)}
}

// validGroupID reports whether id can be stored: ids are TEXT.
func validGroupID(id string) bool { return id != "" && len(id) <= maxGroupID && utf8.ValidString(id) }

// with runs f with the group locked and returns true, or false if there is no such group (with create: if there can be none). A group that f leaves
// without members is forgotten.
func (c *coordinator) with(id string, create bool, f func(*group)) bool {
	for {
		g := c.group(id, create)
		if g == nil {
			return false
		}
		if g.do(f) {
			return true
		}
	}
}

func (c *coordinator) group(id string, create bool) *group {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.groups[id]
	if g == nil && create && !c.closed && len(c.groups) < maxGroups {
		g = newGroup(c, id)
		c.groups[id] = g
	}
	return g
}

// forget drops a group that is dead.
func (c *coordinator) forget(g *group) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.groups, g.id)
}

// list returns the groups that have members, by id.
func (c *coordinator) list() []*group {
	c.mu.Lock()
	defer c.mu.Unlock()
	groups := make([]*group, 0, len(c.groups))
	for _, g := range c.groups {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *group) int { return strings.Compare(a.id, b.id) })
	return groups
}

// reset forgets every group. Members that wait are told to look for the coordinator.
func (c *coordinator) reset() {
	for _, g := range c.list() {
		g.do((*group).shutdown)
	}
}

// close answers whoever waits and stops every timer.
func (c *coordinator) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	for _, g := range c.list() {
		g.do((*group).shutdown)
	}
}

// join answers a JoinGroup request, which may take as long as the group's members take to come together.
func (c *coordinator) join(ctx context.Context, p *peer, q *kmsg.JoinGroupRequest) *kmsg.JoinGroupResponse {
	if code := checkJoin(q); code != errNone {
		return joinFailed(code, q.MemberID)
	}
	answer := make(chan *kmsg.JoinGroupResponse, 1)
	if !c.with(q.Group, q.MemberID == "", func(g *group) { g.join(p, q, answer) }) {
		if q.MemberID == "" {
			return joinFailed(errCoordinatorNotAvailable, "")
		}
		return joinFailed(errUnknownMemberID, q.MemberID)
	}
	select {
	case r := <-answer:
		return r
	case <-ctx.Done():
		c.with(q.Group, false, func(g *group) { g.abandonJoin(answer) })
		return joinFailed(errNotCoordinator, q.MemberID)
	}
}

func checkJoin(q *kmsg.JoinGroupRequest) errorCode {
	session := time.Duration(q.SessionTimeoutMillis) * time.Millisecond
	switch {
	case !validGroupID(q.Group):
		return errInvalidGroupID
	case session < minSessionTimeout || session > maxSessionTimeout:
		return errInvalidSessionTimeout
	case q.ProtocolType == "" || len(q.Protocols) == 0:
		return errInconsistentGroupProtocol
	}
	return errNone
}

func joinFailed(code errorCode, memberID string) *kmsg.JoinGroupResponse {
	r := kmsg.NewPtrJoinGroupResponse()
	r.ErrorCode = code
	r.Generation = -1
	r.MemberID = memberID
	return r
}

// sync answers a SyncGroup request once the leader has sent the assignment.
func (c *coordinator) sync(ctx context.Context, q *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse {
	answer := make(chan *kmsg.SyncGroupResponse, 1)
	if !c.with(q.Group, false, func(g *group) { g.sync(q, answer) }) {
		return syncFailed(errUnknownMemberID)
	}
	select {
	case r := <-answer:
		return r
	case <-ctx.Done():
		c.with(q.Group, false, func(g *group) { g.abandonSync(answer) })
		return syncFailed(errNotCoordinator)
	}
}

func syncFailed(code errorCode) *kmsg.SyncGroupResponse {
	r := kmsg.NewPtrSyncGroupResponse()
	r.ErrorCode = code
	return r
}

// heartbeat keeps a member alive and tells it whether to join again.
func (c *coordinator) heartbeat(q *kmsg.HeartbeatRequest) errorCode {
	code := errUnknownMemberID
	c.with(q.Group, false, func(g *group) { code = g.heartbeat(q) })
	return code
}

// leave removes a member, named by its id or its instance id.
func (c *coordinator) leave(groupID, memberID string, instanceID *string) errorCode {
	code := errUnknownMemberID
	c.with(groupID, false, func(g *group) { code = g.leave(memberID, instanceID) })
	return code
}

// beginCommit checks that the sender of a commit may make it. Until done is called, which must happen, the group does not start a new generation: a
// late commit of an old owner could otherwise overtake one of the new.
func (c *coordinator) beginCommit(q *kmsg.OffsetCommitRequest) (done func(), code errorCode) {
	done = func() {}
	exists := c.with(q.Group, false, func(g *group) {
		if code = g.mayCommit(q); code == errNone {
			g.commits++
			done = func() { g.do((*group).endCommit) }
		}
	})
	if !exists && q.Generation >= 0 {
		return done, errIllegalGeneration
	}
	return done, code
}
