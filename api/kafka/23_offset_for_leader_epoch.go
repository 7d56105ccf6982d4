package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (s *Server) offsetForLeaderEpochKey() (apiKey, error) {
	return newKey(keySpec{
		name: "OffsetForLeaderEpoch", min: 2, max: 4,
		layout: "v3:i32 (str (i32 v2:i32 i32))",
	}, kmsg.NewPtrOffsetForLeaderEpochRequest, s.serveOffsetForLeaderEpoch)
}

// serveOffsetForLeaderEpoch tells clients where an epoch ended, by which they see whether what they read was cut off since. It never is.
func (s *Server) serveOffsetForLeaderEpoch(
	_ context.Context, _ *peer, q *kmsg.OffsetForLeaderEpochRequest,
) (kmsg.Response, error) {
	r := kmsg.NewPtrOffsetForLeaderEpochResponse()
	topics := s.currentTopics()
	for i := range q.Topics {
		t := kmsg.NewOffsetForLeaderEpochResponseTopic()
		t.Topic = q.Topics[i].Topic
		found := topics.topic(t.Topic)
		for j := range q.Topics[i].Partitions {
			t.Partitions = append(t.Partitions, s.epochEnd(found, &q.Topics[i].Partitions[j]))
		}
		r.Topics = append(r.Topics, t)
	}
	return r, nil
}

func (s *Server) epochEnd(
	t *topic, q *kmsg.OffsetForLeaderEpochRequestTopicPartition,
) kmsg.OffsetForLeaderEpochResponseTopicPartition {
	r := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
	r.Partition = q.Partition
	switch {
	case t == nil || !t.has(q.Partition):
		r.ErrorCode = errUnknownTopicOrPartition
	case q.CurrentLeaderEpoch > s.epoch():
		r.ErrorCode = errUnknownLeaderEpoch
	case q.LeaderEpoch <= s.epoch():
		r.LeaderEpoch = q.LeaderEpoch
		r.EndOffset = int64(s.o.Log.End(t.partition(q.Partition)))
	}
	return r
}
