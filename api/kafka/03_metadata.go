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
	brokers := s.brokers(p)
	r.Brokers = metadataBrokers(brokers)
	r.ClusterID = new(s.o.ClusterID)
	at := whereabouts{leader: s.leader(brokers), epoch: s.epoch(), nodes: nodesOf(brokers)}
	r.ControllerID = at.leader
	topics := s.currentTopics()
	// A null list asks for all topics; so does an empty one of version 0, which has no null.
	if q.Topics == nil || q.Version == 0 && len(q.Topics) == 0 {
		for _, t := range topics.listed {
			r.Topics = append(r.Topics, describeTopic(t, t.name, at))
		}
		return r, nil
	}
	for i := range q.Topics {
		r.Topics = append(r.Topics, findTopic(topics, &q.Topics[i], at))
	}
	return r, nil
}

// findTopic describes one topic by the name it was asked for, or by its id.
func findTopic(topics *topics, q *kmsg.MetadataRequestTopic, at whereabouts) kmsg.MetadataResponseTopic {
	if q.Topic == nil {
		if t := topics.byID[q.TopicID]; t != nil {
			return describeTopic(t, t.name, at)
		}
		r := missingTopic(errUnknownTopicID)
		r.TopicID = q.TopicID
		return r
	}
	if t := topics.topic(*q.Topic); t != nil {
		return describeTopic(t, *q.Topic, at)
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

// whereabouts is where every partition is.
type whereabouts struct {
	leader int32 // -1: there is none now
	epoch  int32
	nodes  []int32
}

func describeTopic(t *topic, name string, at whereabouts) kmsg.MetadataResponseTopic {
	r := kmsg.NewMetadataResponseTopic()
	r.Topic = new(name)
	r.TopicID = t.id
	for i := range t.table.Partitions {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Partition = int32(i)
		p.Leader, p.LeaderEpoch = at.leader, at.epoch
		if at.leader < 0 {
			p.ErrorCode = errLeaderNotAvailable
		}
		p.Replicas, p.ISR, p.OfflineReplicas = at.nodes, at.nodes, []int32{}
		r.Partitions = append(r.Partitions, p)
	}
	return r
}
