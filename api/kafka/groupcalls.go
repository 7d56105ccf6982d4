package kafka

import (
	"bytes"
	"crypto/rand"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file has what a group does for each of its members' requests.

// join takes a member in. The answer, exactly one, may come at once or when the join phase ends.
func (g *group) join(p *peer, q *kmsg.JoinGroupRequest, answer chan<- *kmsg.JoinGroupResponse) {
	known := g.members[q.MemberID]
	if code := g.refuseJoin(q, known); code != errNone {
		answer <- joinFailed(code, q.MemberID)
		return
	}
	_, isPending := g.pending[q.MemberID]
	switch {
	case q.MemberID == "":
		g.joinNew(p, q, answer)
	case isPending:
		g.endPending(q.MemberID)
		g.admit(q.MemberID, p, q, answer)
	case known != nil:
		g.rejoin(known, p, q, answer)
	default:
		answer <- joinFailed(errUnknownMemberID, q.MemberID)
	}
}

func (g *group) refuseJoin(q *kmsg.JoinGroupRequest, known *member) errorCode {
	except := q.MemberID
	if q.InstanceID != nil {
		current, exists := g.instances[*q.InstanceID]
		if exists && q.MemberID != "" && current != q.MemberID {
			return errFencedInstanceID
		}
		if exists && q.MemberID == "" {
			except, known = current, g.members[current]
		}
	}
	switch {
	case len(g.members) > 0 && (g.protocolType != q.ProtocolType || !g.supports(q, except)):
		return errInconsistentGroupProtocol
	case known == nil && q.MemberID == "" && len(g.members)+len(g.pending) >= maxGroupMembers:
		return errGroupMaxSizeReached
	}
	return errNone
}

// memberIDRequired is the version from which on a new member joins in two steps, so that a lost answer leaves no ghost behind.
const memberIDRequired = 4

// joinNew gives a new member its id.
func (g *group) joinNew(p *peer, q *kmsg.JoinGroupRequest, answer chan<- *kmsg.JoinGroupResponse) {
	if q.InstanceID != nil {
		id := newMemberID(*q.InstanceID)
		if current, exists := g.instances[*q.InstanceID]; exists {
			g.replace(g.members[current], id, p, q, answer)
			return
		}
		g.admit(id, p, q, answer)
		return
	}
	id := newMemberID(p.clientID)
	if q.Version < memberIDRequired {
		g.admit(id, p, q, answer)
		return
	}
	session := time.Duration(q.SessionTimeoutMillis) * time.Millisecond
	g.pending[id] = time.AfterFunc(session, func() {
		g.do(func(g *group) {
			g.endPending(id)
			g.completeJoinIfAll()
		})
	})
	answer <- joinFailed(errMemberIDRequired, id)
}

// newMemberID makes an id that cannot be guessed: whoever knows it can act as the member.
func newMemberID(prefix string) string {
	const most = 200
	return prefix[:min(len(prefix), most)] + "-" + rand.Text()
}

func (g *group) endPending(id string) {
	if t := g.pending[id]; t != nil {
		t.Stop()
		delete(g.pending, id)
	}
}

// admit adds a member and has the group rebalance.
func (g *group) admit(id string, p *peer, q *kmsg.JoinGroupRequest, answer chan<- *kmsg.JoinGroupResponse) {
	g.joined++
	m := &member{id: id, order: g.joined, joining: answer}
	m.update(p, q)
	if q.InstanceID != nil {
		m.instance = *q.InstanceID
		g.instances[m.instance] = id
	}
	g.protocolType = q.ProtocolType
	g.members[id] = m
	g.touch(m)
	g.gather()
}

// gather goes on with the join phase, or begins one.
func (g *group) gather() {
	if g.state == groupPreparing {
		g.completeJoinIfAll()
		return
	}
	g.rebalance()
}

// rejoin has a member join the next generation, or repeats the answer for the current one if the member brings nothing new.
func (g *group) rejoin(m *member, p *peer, q *kmsg.JoinGroupRequest, answer chan<- *kmsg.JoinGroupResponse) {
	m.answerJoin(joinFailed(errRebalanceInProgress, m.id)) // to an earlier request, on a connection since given up
	same := m.offers(q)
	m.update(p, q)
	g.touch(m)
	switch {
	case g.state == groupCompleting && same, g.state == groupStable && same && m.id != g.leader:
		answer <- g.joinAnswer(m)
		return
	}
	m.joining = answer
	g.gather()
}

// skipAssignmentVersion is the version from which on a leader can be told that there is nothing to assign.
const skipAssignmentVersion = 9

// replace puts a restarted member with an instance id in the place of its former self. If it offers what it did before, the others notice nothing and
// it goes on with its assignment.
func (g *group) replace(
	m *member, id string, p *peer, q *kmsg.JoinGroupRequest, answer chan<- *kmsg.JoinGroupResponse,
) {
	m.answerJoin(joinFailed(errFencedInstanceID, m.id))
	m.answerSync(syncFailed(errFencedInstanceID))
	same, old, leads := m.offers(q), m.id, m.id == g.leader
	delete(g.members, old)
	m.id = id
	g.members[id], g.instances[m.instance] = m, id
	if leads {
		g.leader = id
	}
	m.update(p, q)
	g.touch(m)
	if g.state != groupStable || !same {
		m.joining = answer
		g.gather()
		return
	}
	r := g.joinAnswer(m)
	if leads && q.Version < skipAssignmentVersion {
		r.LeaderID, r.Members = old, nil // it would assign anew if it took itself for the leader
	}
	r.SkipAssignment = leads
	answer <- r
}

// abandonJoin forgets a waiting request whose sender is gone. The member has until the end of its session to come back.
func (g *group) abandonJoin(answer chan<- *kmsg.JoinGroupResponse) {
	for _, m := range g.members {
		if m.joining == answer {
			m.joining = nil
			g.touch(m)
		}
	}
}

func (g *group) abandonSync(answer chan<- *kmsg.SyncGroupResponse) {
	for _, m := range g.members {
		if m.syncing == answer {
			m.syncing = nil
		}
	}
}

// sync takes the leader's assignment and hands each member its own.
func (g *group) sync(q *kmsg.SyncGroupRequest, answer chan<- *kmsg.SyncGroupResponse) {
	m, code := g.memberOf(q.MemberID, q.InstanceID, q.Generation)
	switch {
	case code != errNone:
	case q.ProtocolType != nil && *q.ProtocolType != g.protocolType, q.Protocol != nil && *q.Protocol != g.protocol:
		code = errInconsistentGroupProtocol
	case g.state == groupPreparing:
		code = errRebalanceInProgress
	}
	if code != errNone {
		answer <- syncFailed(code)
		return
	}
	m.answerSync(syncFailed(errRebalanceInProgress)) // to an earlier request
	g.touch(m)
	m.synced = true
	m.syncing = answer
	if g.state == groupCompleting && m.id == g.leader {
		g.assign(q.GroupAssignment)
	}
	if g.state == groupStable {
		g.answerSyncs()
	}
}

// assign makes the group stable with the leader's assignment.
func (g *group) assign(assignments []kmsg.SyncGroupRequestGroupAssignment) {
	for i := range assignments {
		if m := g.members[assignments[i].MemberID]; m != nil {
			m.assignment = bytes.Clone(assignments[i].MemberAssignment)
		}
	}
	g.state = groupStable
}

func (g *group) answerSyncs() {
	all := true
	for _, m := range g.members {
		all = all && m.synced
		r := kmsg.NewPtrSyncGroupResponse()
		r.ProtocolType, r.Protocol = new(g.protocolType), new(g.protocol)
		r.MemberAssignment = append([]byte{}, m.assignment...)
		m.answerSync(r)
	}
	if all {
		g.stopPhase()
	}
}

func (g *group) heartbeat(q *kmsg.HeartbeatRequest) errorCode {
	m, code := g.memberOf(q.MemberID, q.InstanceID, q.Generation)
	if code != errNone {
		return code
	}
	g.touch(m)
	if g.state == groupPreparing {
		return errRebalanceInProgress
	}
	return errNone
}

func (g *group) leave(memberID string, instanceID *string) errorCode {
	if instanceID != nil {
		current, known := g.instances[*instanceID]
		switch {
		case !known:
			return errUnknownMemberID
		case memberID != "" && memberID != current:
			return errFencedInstanceID
		}
		memberID = current
	}
	if _, isPending := g.pending[memberID]; isPending {
		g.endPending(memberID)
		g.completeJoinIfAll()
		return errNone
	}
	m := g.members[memberID]
	if m == nil {
		return errUnknownMemberID
	}
	g.drop(m)
	g.afterDrop()
	return errNone
}
