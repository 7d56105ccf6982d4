package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (s *Server) metadataKey() (apiKey, error) {
	return newKey(keySpec{
		name: "Metadata", min: 0, max: 12,
		layout: "(v10:uuid v0-9:str v10:nstr) v4:bool v8-10:bool v8:bool",
	}, kmsg.NewPtrMetadataRequest, s.serveMetadata)
}

func (s *Server) serveMetadata(_ context.Context, p *peer, q *kmsg.MetadataRequest) (kmsg.Response, error) {
	r := kmsg.NewPtrMetadataResponse()
	b := kmsg.NewMetadataResponseBroker()
	b.NodeID = s.o.NodeID
	b.Host, b.Port = s.address(p)
	r.Brokers = []kmsg.MetadataResponseBroker{b}
	r.ClusterID = new(s.o.ClusterID)
	r.ControllerID = s.o.NodeID
	topics := s.currentTopics()
	// A null list asks for all topics; so does an empty one of version 0, which has no null.
	if q.Topics == nil || q.Version == 0 && len(q.Topics) == 0 {
		for _, t := range topics.listed {
			r.Topics = append(r.Topics, s.describeTopic(t, t.name))
		}
		return r, nil
	}
	for i := range q.Topics {
		r.Topics = append(r.Topics, s.findTopic(topics, &q.Topics[i]))
	}
	return r, nil
}

// findTopic describes one topic by the name it was asked for, or by its id.
func (s *Server) findTopic(topics *topics, q *kmsg.MetadataRequestTopic) kmsg.MetadataResponseTopic {
	if q.Topic == nil {
		if t := topics.byID[q.TopicID]; t != nil {
			return s.describeTopic(t, t.name)
		}
		r := missingTopic(errUnknownTopicID)
		r.TopicID = q.TopicID
		return r
	}
	if t := topics.topic(*q.Topic); t != nil {
		return s.describeTopic(t, *q.Topic)
	}
	r := missingTopic(errUnknownTopicOrPartition)
	if !validTopicName(*q.Topic) {
		r = missingTopic(errInvalidTopic)
	}
	r.Topic = q.Topic
	return r
}

func missingTopic(code errorCode) kmsg.MetadataResponseTopic {
	r := kmsg.NewMetadataResponseTopic()
	r.ErrorCode = code
	r.Partitions = []kmsg.MetadataResponseTopicPartition{}
	return r
}

func (s *Server) describeTopic(t *topic, name string) kmsg.MetadataResponseTopic {
	r := kmsg.NewMetadataResponseTopic()
	r.Topic = new(name)
	r.TopicID = t.id
	node := []int32{s.o.NodeID}
	for i := range t.table.Partitions {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Partition = int32(i)
		p.Leader = s.o.NodeID
		p.LeaderEpoch = leaderEpoch
		p.Replicas, p.ISR, p.OfflineReplicas = node, node, []int32{}
		r.Partitions = append(r.Partitions, p)
	}
	return r
}
