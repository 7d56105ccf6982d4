package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (s *Server) leaveGroupKey() (apiKey, error) {
	return newKey(keySpec{
		name: "LeaveGroup", min: 0, max: 5,
		layout: "str v0-2:str v3:(str nstr v5:nstr)",
	}, kmsg.NewPtrLeaveGroupRequest, s.serveLeaveGroup)
}

// severalLeave is the version from which on several members can leave at once.
const severalLeave = 3

func (s *Server) serveLeaveGroup(ctx context.Context, _ *peer, q *kmsg.LeaveGroupRequest) (kmsg.Response, error) {
	r := kmsg.NewPtrLeaveGroupResponse()
	if r.ErrorCode = s.coordinate(ctx); r.ErrorCode != errNone {
		return r, nil
	}
	if q.Version < severalLeave {
		r.ErrorCode = s.groups.leave(q.Group, q.MemberID, nil)
		return r, nil
	}
	for i := range q.Members {
		m := kmsg.NewLeaveGroupResponseMember()
		m.MemberID, m.InstanceID = q.Members[i].MemberID, q.Members[i].InstanceID
		m.ErrorCode = s.groups.leave(q.Group, m.MemberID, m.InstanceID)
		r.Members = append(r.Members, m)
	}
	return r, nil
}
