package kafka

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupState is a step in a group's round of rebalances. The values are the protocol's names.
type groupState string

const (
	groupEmpty      groupState = "Empty"
	groupPreparing  groupState = "PreparingRebalance"  // waits for every member to join
	groupCompleting groupState = "CompletingRebalance" // waits for the leader's assignment
	groupStable     groupState = "Stable"
	groupDead       groupState = "Dead" // only reported of groups that do not exist
)

// group is the classic group protocol's state machine. Its methods, but for do, are called with mu held, from do.
//
//	Empty ──join──► Preparing ──all joined, or time is up──► Completing ──leader's sync──► Stable
//	                    ▲────────── join with other metadata, leave, session expired ────────┘
type group struct {
	c  *coordinator
	id string

	// mu guards what follows and the members. Nothing blocks while it is held.
	mu           sync.Mutex
	dead         bool // forgotten by the coordinator
	state        groupState
	generation   int32
	protocolType string
	protocol     string
	leader       string // member id
	joined       int    // members ever: orders them
	members      map[string]*member
	instances    map[string]string      // instance id -> member id
	pending      map[string]*time.Timer // member ids given out whose owners have yet to join
	phase        phaseTimer             // ends the wait for joins, or for syncs
	commits      int                    // offset commits in progress: no generation begins before they are done
}

// phaseTimer runs a function once at the end of a phase, with the group locked, unless the phase ended before.
type phaseTimer struct {
	timer *time.Timer
	round int
}

func newGroup(c *coordinator, id string) *group {
	return &group{
		c: c, id: id, state: groupEmpty,
		members: make(map[string]*member), instances: make(map[string]string), pending: make(map[string]*time.Timer),
	}
}

// do runs f with the group locked, then forgets the group if nothing is left of it. It returns false, without running f, if it was forgotten before.
func (g *group) do(f func(*group)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return false
	}
	f(g)
	if len(g.members) == 0 && len(g.pending) == 0 && g.commits == 0 {
		g.bury()
	}
	return true
}

func (g *group) bury() {
	g.stopPhase()
	g.dead = true
	g.c.forget(g)
}

// shutdown answers everyone who waits and ends the group.
func (g *group) shutdown() {
	for _, m := range g.members {
		m.answerJoin(joinFailed(errNotCoordinator, m.id))
		m.answerSync(syncFailed(errNotCoordinator))
		m.expiry.Stop()
	}
	for _, t := range g.pending {
		t.Stop()
	}
	g.members, g.instances, g.pending = nil, nil, nil
	g.bury()
}

// startPhase calls f after d unless stopPhase or startPhase is called before.
func (g *group) startPhase(d time.Duration, f func(*group)) {
	g.stopPhase()
	round := g.phase.round
	g.phase.timer = time.AfterFunc(d, func() {
		g.do(func(g *group) {
			if g.phase.round == round {
				f(g)
			}
		})
	})
}

func (g *group) stopPhase() {
	g.phase.round++
	if g.phase.timer != nil {
		g.phase.timer.Stop()
		g.phase.timer = nil
	}
}

// rebalance asks every member to join again.
func (g *group) rebalance() {
	for _, m := range g.members {
		m.answerSync(syncFailed(errRebalanceInProgress))
	}
	g.state = groupPreparing
	g.startPhase(g.rebalanceTimeout(), (*group).joinTimeUp)
	g.completeJoinIfAll()
}

func (g *group) rebalanceTimeout() time.Duration {
	var d time.Duration
	for _, m := range g.members {
		d = max(d, m.rebalanceTimeout)
	}
	return d
}

// completeJoinIfAll ends the join phase once everyone known has joined.
func (g *group) completeJoinIfAll() {
	if g.state != groupPreparing || len(g.pending) > 0 || g.commits > 0 {
		return
	}
	for _, m := range g.members {
		if m.joining == nil {
			return
		}
	}
	g.completeJoin()
}

// commitGrace is how long a join phase that is over waits at a time for offset commits in progress.
const commitGrace = 100 * time.Millisecond

// joinTimeUp ends the join phase without those who have not come.
func (g *group) joinTimeUp() {
	if g.commits > 0 {
		g.startPhase(commitGrace, (*group).joinTimeUp)
		return
	}
	g.completeJoin()
}

// completeJoin begins the next generation with those who have joined. Members without an instance id who have not are removed; those with one
// keep their place until their session ends.
func (g *group) completeJoin() {
	waiting := 0
	for _, m := range g.members {
		switch {
		case m.joining != nil:
			waiting++
		case m.instance == "":
			g.drop(m)
		}
	}
	switch {
	case len(g.members) == 0:
		g.empty()
	case waiting == 0:
		g.startPhase(g.rebalanceTimeout(), (*group).joinTimeUp)
	default:
		g.beginGeneration()
	}
}

func (g *group) empty() {
	g.stopPhase()
	g.state, g.leader, g.protocol, g.protocolType = groupEmpty, "", "", ""
}

// beginGeneration answers the joined members: the leader learns of all members, to assign partitions to them.
func (g *group) beginGeneration() {
	g.generation++
	g.protocol = g.selectProtocol()
	g.state = groupCompleting
	if l := g.members[g.leader]; l == nil || l.joining == nil {
		g.leader = g.firstJoining().id
	}
	for _, m := range g.inOrder() {
		m.synced = false
		m.assignment = nil
		if m.joining == nil {
			m.synced = true // an absent member with an instance id: its session decides
			continue
		}
		m.answerJoin(g.joinAnswer(m))
		g.touch(m)
	}
	g.startPhase(g.rebalanceTimeout(), (*group).dropUnsynced)
}

// joinAnswer is what a member of the current generation is told.
func (g *group) joinAnswer(m *member) *kmsg.JoinGroupResponse {
	r := kmsg.NewPtrJoinGroupResponse()
	r.Generation = g.generation
	r.ProtocolType, r.Protocol = new(g.protocolType), new(g.protocol)
	r.LeaderID, r.MemberID = g.leader, m.id
	if m.id == g.leader {
		r.Members = g.memberMetadata()
	}
	return r
}

func (g *group) memberMetadata() []kmsg.JoinGroupResponseMember {
	var members []kmsg.JoinGroupResponseMember
	for _, m := range g.inOrder() {
		r := kmsg.NewJoinGroupResponseMember()
		r.MemberID = m.id
		r.InstanceID = m.instanceID()
		r.ProtocolMetadata = m.metadata(g.protocol)
		members = append(members, r)
	}
	return members
}

// dropUnsynced removes the members who joined and then never asked for their assignment.
func (g *group) dropUnsynced() {
	dropped := false
	for _, m := range g.members {
		if !m.synced {
			g.drop(m)
			dropped = true
		}
	}
	if dropped {
		g.afterDrop()
	}
}

// drop takes a member out, without consequences for the others: afterDrop has those.
func (g *group) drop(m *member) {
	m.expiry.Stop()
	delete(g.members, m.id)
	if m.instance != "" && g.instances[m.instance] == m.id {
		delete(g.instances, m.instance)
	}
	m.answerJoin(joinFailed(errUnknownMemberID, m.id))
	m.answerSync(syncFailed(errUnknownMemberID))
}

// afterDrop lets the rest of the group share out what a dropped member had.
func (g *group) afterDrop() {
	switch {
	case len(g.members) == 0:
		g.empty()
	case g.state == groupPreparing:
		g.completeJoinIfAll()
	case g.state == groupCompleting || g.state == groupStable:
		g.rebalance()
	}
}

// mayCommit checks the sender of an offset commit.
func (g *group) mayCommit(q *kmsg.OffsetCommitRequest) errorCode {
	if q.Generation < 0 && q.MemberID == "" && len(g.members) == 0 {
		return errNone
	}
	m, code := g.memberOf(q.MemberID, q.InstanceID, q.Generation)
	if code != errNone {
		return code
	}
	g.touch(m)
	if g.state == groupCompleting {
		return errRebalanceInProgress
	}
	return errNone
}

func (g *group) endCommit() {
	g.commits--
	g.completeJoinIfAll()
}
