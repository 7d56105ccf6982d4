package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (s *Server) heartbeatKey() (apiKey, error) {
	return newKey(keySpec{
		name: "Heartbeat", min: 0, max: 4,
		layout: "str i32 str v3:nstr",
	}, kmsg.NewPtrHeartbeatRequest, s.serveHeartbeat)
}

func (s *Server) serveHeartbeat(ctx context.Context, _ *peer, q *kmsg.HeartbeatRequest) (kmsg.Response, error) {
	r := kmsg.NewPtrHeartbeatResponse()
	if r.ErrorCode = s.coordinate(ctx); r.ErrorCode == errNone {
		r.ErrorCode = s.groups.heartbeat(q)
	}
	return r, nil
}
