package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (s *Server) deleteGroupsKey() (apiKey, error) {
	return newKey(keySpec{
		name: "DeleteGroups", min: 0, max: 2,
		layout: "[str]",
	}, kmsg.NewPtrDeleteGroupsRequest, s.serveDeleteGroups)
}

func (s *Server) serveDeleteGroups(ctx context.Context, _ *peer, q *kmsg.DeleteGroupsRequest) (kmsg.Response, error) {
	r := kmsg.NewPtrDeleteGroupsResponse()
	for _, id := range q.Groups {
		g := kmsg.NewDeleteGroupsResponseGroup()
		g.Group, g.ErrorCode = id, s.deleteGroup(ctx, id)
		r.Groups = append(r.Groups, g)
	}
	return r, nil
}

// deleteGroup forgets the offsets of a group without members.
func (s *Server) deleteGroup(ctx context.Context, id string) errorCode {
	if !validGroupID(id) {
		return errInvalidGroupID
	}
	if code := s.coordinate(ctx); code != errNone {
		return code
	}
	occupied := false
	s.groups.with(id, false, func(g *group) { occupied = len(g.members) > 0 })
	if occupied {
		return errNonEmptyGroup
	}
	removed, err := s.removeOffsets(ctx, id)
	switch {
	case err != nil:
		s.o.Logger.Error("kafka: delete group failed", "group", id, "error", err)
		return errCoordinatorNotAvailable
	case removed == 0:
		return errGroupIDNotFound
	}
	return errNone
}
