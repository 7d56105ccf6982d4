package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (s *Server) joinGroupKey() (apiKey, error) {
	return newKey(keySpec{
		name: "JoinGroup", min: 0, max: 9,
		layout: "str i32 v1:i32 str v5:nstr str (str bytes) v8:nstr",
	}, kmsg.NewPtrJoinGroupRequest, s.serveJoinGroup)
}

func (s *Server) serveJoinGroup(ctx context.Context, p *peer, q *kmsg.JoinGroupRequest) (kmsg.Response, error) {
	if code := s.coordinate(ctx); code != errNone {
		return joinFailed(code, q.MemberID), nil
	}
	return s.groups.join(ctx, p, q), nil
}
