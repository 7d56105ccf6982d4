package kafka

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// member is one consumer of a group. Guarded by the group's mu.
type member struct {
	id, instance     string
	clientID, host   string
	order            int // of joining the group first
	sessionTimeout   time.Duration
	rebalanceTimeout time.Duration
	protocols        []memberProtocol // by preference
	assignment       []byte
	synced           bool // has asked for the assignment of this generation

	joining chan<- *kmsg.JoinGroupResponse // takes one answer; nil unless the member waits for it
	syncing chan<- *kmsg.SyncGroupResponse // likewise

	expiry *time.Timer // of the session
	beat   int         // tells a timer that fired late from the one in force
}

// memberProtocol is an assignment strategy a member offers, and what it tells the leader under it.
type memberProtocol struct {
	name     string
	metadata []byte
}

// update takes over what a join request says.
func (m *member) update(p *peer, q *kmsg.JoinGroupRequest) {
	m.clientID, m.host = p.clientID, p.remote
	m.sessionTimeout = time.Duration(q.SessionTimeoutMillis) * time.Millisecond
	m.rebalanceTimeout = m.sessionTimeout
	if q.Version >= 1 && q.RebalanceTimeoutMillis > 0 {
		m.rebalanceTimeout = time.Duration(q.RebalanceTimeoutMillis) * time.Millisecond
	}
	m.protocols = m.protocols[:0]
	for i := range q.Protocols {
		// A copy: the request's bytes should not live as long as the member.
		m.protocols = append(m.protocols, memberProtocol{q.Protocols[i].Name, bytes.Clone(q.Protocols[i].Metadata)})
	}
}

// offers reports whether q has the protocols that m has already, metadata included.
func (m *member) offers(q *kmsg.JoinGroupRequest) bool {
	return slices.EqualFunc(m.protocols, q.Protocols, func(have memberProtocol, now kmsg.JoinGroupRequestProtocol) bool {
		return have.name == now.Name && bytes.Equal(have.metadata, now.Metadata)
	})
}

func (m *member) metadata(protocol string) []byte {
	for i := range m.protocols {
		if m.protocols[i].name == protocol {
			return m.protocols[i].metadata
		}
	}
	return []byte{}
}

func (m *member) instanceID() *string {
	if m.instance == "" {
		return nil
	}
	return &m.instance
}

func (m *member) answerJoin(r *kmsg.JoinGroupResponse) {
	if m.joining != nil {
		m.joining <- r
		m.joining = nil
	}
}

func (m *member) answerSync(r *kmsg.SyncGroupResponse) {
	if m.syncing != nil {
		m.syncing <- r
		m.syncing = nil
	}
}

// touch begins m's session anew.
func (g *group) touch(m *member) {
	if m.expiry != nil {
		m.expiry.Stop()
	}
	m.beat++
	beat := m.beat
	m.expiry = time.AfterFunc(m.sessionTimeout, func() {
		g.do(func(g *group) {
			// A member that waits for the others to join cannot send heartbeats.
			if g.members[m.id] == m && m.beat == beat && m.joining == nil {
				g.drop(m)
				g.afterDrop()
			}
		})
	})
}

// inOrder returns the members, the first to join first.
func (g *group) inOrder() []*member {
	members := make([]*member, 0, len(g.members))
	for _, m := range g.members {
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b *member) int { return cmp.Compare(a.order, b.order) })
	return members
}

func (g *group) firstJoining() *member {
	members := g.inOrder()
	return members[slices.IndexFunc(members, func(m *member) bool { return m.joining != nil })]
}

// supports reports whether every member, but for the one named, offers one of the protocols.
func (g *group) supports(q *kmsg.JoinGroupRequest, except string) bool {
	return slices.ContainsFunc(q.Protocols, func(p kmsg.JoinGroupRequestProtocol) bool {
		return g.allOffer(p.Name, except)
	})
}

func (g *group) allOffer(protocol, except string) bool {
	for _, m := range g.members {
		has := func(p memberProtocol) bool { return p.name == protocol }
		if m.id != except && !slices.ContainsFunc(m.protocols, has) {
			return false
		}
	}
	return true
}

// selectProtocol picks, among the protocols that all members offer, the one that most of them prefer.
func (g *group) selectProtocol() string {
	votes := make(map[string]int)
	best := ""
	for _, m := range g.inOrder() {
		for i := range m.protocols {
			if name := m.protocols[i].name; g.allOffer(name, "") {
				votes[name]++
				if best == "" || votes[name] > votes[best] {
					best = name
				}
				break
			}
		}
	}
	return best
}

// memberOf finds the sender of a request and checks that it is in the generation it believes to be in.
func (g *group) memberOf(id string, instance *string, generation int32) (*member, errorCode) {
	if instance != nil {
		switch current, known := g.instances[*instance]; {
		case !known:
			return nil, errUnknownMemberID
		case current != id:
			return nil, errFencedInstanceID
		}
	}
	m := g.members[id]
	switch {
	case m == nil:
		return nil, errUnknownMemberID
	case generation != g.generation:
		return nil, errIllegalGeneration
	}
	return m, errNone
}
