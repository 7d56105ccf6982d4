package kafka

import (
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (s *Server) listGroupsKey() (apiKey, error) {
	return newKey(keySpec{
		name: "ListGroups", min: 0, max: 4,
		layout: "v4:[str]",
	}, kmsg.NewPtrListGroupsRequest, s.serveListGroups)
}

func (s *Server) serveListGroups(ctx context.Context, _ *peer, q *kmsg.ListGroupsRequest) (kmsg.Response, error) {
	r := kmsg.NewPtrListGroupsResponse()
	if s.coordinate(ctx) != errNone { // the coordinator lists them
		return r, nil
	}
	groups := make(map[string]kmsg.ListGroupsResponseGroup)
	ids, err := s.groupIDs()
	if err != nil {
		s.o.Logger.Error("kafka: list groups failed", "error", err)
		r.ErrorCode = errCoordinatorNotAvailable
		return r, nil
	}
	for _, id := range ids {
		g := kmsg.NewListGroupsResponseGroup()
		g.Group, g.ProtocolType, g.GroupState = id, consumerProtocol, string(groupEmpty)
		groups[id] = g
	}
	for _, live := range s.groups.list() {
		g := kmsg.NewListGroupsResponseGroup()
		live.do(func(live *group) {
			g.Group, g.ProtocolType, g.GroupState = live.id, live.protocolType, string(live.state)
		})
		if g.Group != "" {
			groups[g.Group] = g
		}
	}
	for _, g := range groups {
		if len(q.StatesFilter) == 0 || slices.ContainsFunc(q.StatesFilter, sameState(g.GroupState)) {
			r.Groups = append(r.Groups, g)
		}
	}
	slices.SortFunc(r.Groups, func(a, b kmsg.ListGroupsResponseGroup) int { return strings.Compare(a.Group, b.Group) })
	return r, nil
}

// consumerProtocol is the protocol type of a group of which only offsets are left.
const consumerProtocol = "consumer"

func sameState(state string) func(string) bool {
	return func(wanted string) bool { return strings.EqualFold(wanted, state) }
}
