package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (s *Server) describeGroupsKey() (apiKey, error) {
	return newKey(keySpec{
		name: "DescribeGroups", min: 0, max: 5,
		layout: "[str] v3:bool",
	}, kmsg.NewPtrDescribeGroupsRequest, s.serveDescribeGroups)
}

func (s *Server) serveDescribeGroups(ctx context.Context, _ *peer, q *kmsg.DescribeGroupsRequest) (kmsg.Response, error) {
	r := kmsg.NewPtrDescribeGroupsResponse()
	coordinated := s.coordinate(ctx)
	for _, id := range q.Groups {
		g := kmsg.NewDescribeGroupsResponseGroup()
		g.Group = id
		if g.ErrorCode = coordinated; coordinated != errNone {
			r.Groups = append(r.Groups, g)
			continue
		}
		if !s.groups.with(id, false, func(live *group) { live.describe(&g) }) {
			g.State, g.ErrorCode = s.describeAbsent(id)
		}
		r.Groups = append(r.Groups, g)
	}
	return r, nil
}

// describeAbsent is the state of a group without members: it may have committed offsets.
func (s *Server) describeAbsent(id string) (string, errorCode) {
	stored, err := s.groupOffsets(id)
	switch {
	case err != nil:
		s.o.Logger.Error("kafka: describe group failed", "group", id, "error", err)
		return "", errCoordinatorNotAvailable
	case len(stored) > 0:
		return string(groupEmpty), errNone
	}
	return string(groupDead), errNone
}

func (g *group) describe(r *kmsg.DescribeGroupsResponseGroup) {
	r.State = string(g.state)
	r.ProtocolType, r.Protocol = g.protocolType, g.protocol
	for _, m := range g.inOrder() {
		d := kmsg.NewDescribeGroupsResponseGroupMember()
		d.MemberID, d.InstanceID = m.id, m.instanceID()
		d.ClientID, d.ClientHost = m.clientID, "/"+m.host
		d.ProtocolMetadata = m.metadata(g.protocol)
		d.MemberAssignment = append([]byte{}, m.assignment...)
		r.Members = append(r.Members, d)
	}
}
