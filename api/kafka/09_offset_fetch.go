package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Version 9 is that of the newer group protocol.
func (s *Server) offsetFetchKey() (apiKey, error) {
	return newKey(keySpec{
		name: "OffsetFetch", min: 1, max: 8,
		layout: "v0-7:str v0-7:(str [i32]) v8:(str (str [i32])) v7:bool",
	}, kmsg.NewPtrOffsetFetchRequest, s.serveOffsetFetch)
}

// severalGroups is the version from which on a request asks for several groups.
const severalGroups = 8

func (s *Server) serveOffsetFetch(ctx context.Context, _ *peer, q *kmsg.OffsetFetchRequest) (kmsg.Response, error) {
	r := kmsg.NewPtrOffsetFetchResponse()
	if q.Version >= severalGroups {
		for i := range q.Groups {
			r.Groups = append(r.Groups, s.fetchGroupOffsets(ctx, &q.Groups[i]))
		}
		return r, nil
	}
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = q.Group
	for i := range q.Topics {
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, t.Partitions = q.Topics[i].Topic, q.Topics[i].Partitions
		g.Topics = append(g.Topics, t)
	}
	if q.Topics != nil && g.Topics == nil {
		g.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	answer := s.fetchGroupOffsets(ctx, &g)
	r.ErrorCode = answer.ErrorCode
	r.Topics = oneGroupTopics(answer.Topics)
	return r, nil
}

// oneGroupTopics gives topics the form of versions below 8.
func oneGroupTopics(topics []kmsg.OffsetFetchResponseGroupTopic) []kmsg.OffsetFetchResponseTopic {
	converted := make([]kmsg.OffsetFetchResponseTopic, 0, len(topics))
	for i := range topics {
		t := kmsg.NewOffsetFetchResponseTopic()
		t.Topic = topics[i].Topic
		for j := range topics[i].Partitions {
			from := &topics[i].Partitions[j]
			p := kmsg.NewOffsetFetchResponseTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch = from.Partition, from.Offset, from.LeaderEpoch
			p.Metadata, p.ErrorCode = from.Metadata, from.ErrorCode
			t.Partitions = append(t.Partitions, p)
		}
		converted = append(converted, t)
	}
	return converted
}

// fetchGroupOffsets answers for one group: for the partitions asked for, or, without a list, for all that have an offset.
func (s *Server) fetchGroupOffsets(ctx context.Context, q *kmsg.OffsetFetchRequestGroup) kmsg.OffsetFetchResponseGroup {
	r := kmsg.NewOffsetFetchResponseGroup()
	r.Group = q.Group
	if !validGroupID(q.Group) {
		r.ErrorCode = errInvalidGroupID
		return r
	}
	if r.ErrorCode = s.coordinate(ctx); r.ErrorCode != errNone {
		return r
	}
	stored, err := s.currentOffsets(ctx, q.Group)
	if err != nil {
		s.o.Logger.Error("kafka: fetch offsets failed", "group", q.Group, "error", err)
		r.ErrorCode = errCoordinatorNotAvailable
		return r
	}
	if q.Topics == nil {
		r.Topics = allOffsets(stored)
		return r
	}
	topics := s.currentTopics()
	for i := range q.Topics {
		t := kmsg.NewOffsetFetchResponseGroupTopic()
		t.Topic = q.Topics[i].Topic
		name := topics.canonical(t.Topic)
		for _, number := range q.Topics[i].Partitions {
			t.Partitions = append(t.Partitions, stored.response(name, number))
		}
		r.Topics = append(r.Topics, t)
	}
	return r
}

// currentOffsets reads a group's offsets, none older than a commit that was acknowledged before. A coordinator that was deposed and does not know it
// yet has not heard of its successor's commits: its barrier fails.
func (s *Server) currentOffsets(ctx context.Context, group string) (storedOffsets, error) {
	if s.o.Cluster != nil {
		within, cancel := context.WithTimeout(ctx, catchUpTimeout)
		defer cancel()
		if _, err := s.o.Log.Barrier(within); err != nil {
			return nil, err
		}
	}
	return s.groupOffsets(group)
}

func allOffsets(stored storedOffsets) []kmsg.OffsetFetchResponseGroupTopic {
	var topics []kmsg.OffsetFetchResponseGroupTopic
	for _, at := range stored.sorted() {
		if n := len(topics); n == 0 || topics[n-1].Topic != at.topic {
			t := kmsg.NewOffsetFetchResponseGroupTopic()
			t.Topic = at.topic
			topics = append(topics, t)
		}
		last := &topics[len(topics)-1]
		last.Partitions = append(last.Partitions, stored.response(at.topic, at.partition))
	}
	return topics
}
