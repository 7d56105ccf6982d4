package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (s *Server) syncGroupKey() (apiKey, error) {
	return newKey(keySpec{
		name: "SyncGroup", min: 0, max: 5,
		layout: "str i32 str v3:nstr v5:nstr v5:nstr (str bytes)",
	}, kmsg.NewPtrSyncGroupRequest, s.serveSyncGroup)
}

func (s *Server) serveSyncGroup(ctx context.Context, _ *peer, q *kmsg.SyncGroupRequest) (kmsg.Response, error) {
	if code := s.coordinate(ctx); code != errNone {
		return syncFailed(code), nil
	}
	return s.groups.sync(ctx, q), nil
}
