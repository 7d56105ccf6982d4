package kafka

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Produce has to be advertised for Fetch to be used: librdkafka takes a broker without Produce 3 and Fetch 4 for one that does not know record
// batches, and then asks for Fetch 0. Versions below 3 are advertised for the same clients' sake: without them they do not compress.
func (s *Server) produceKey() (apiKey, error) {
	return newKey(keySpec{
		name: "Produce", min: 0, max: 9,
		layout: "v3:nstr i16 i32 (str (i32 nbytes))",
	}, kmsg.NewPtrProduceRequest, s.serveProduce)
}

// recordBatchVersion is the first version whose records are batches.
const recordBatchVersion = 3

// errSilentProducer ends the connection of a producer that wants no responses: it learns in no other way.
var errSilentProducer = errors.New("records without acknowledgement for topics that are read-only")

// serveProduce refuses records: the topics of tables are read-only.
func (s *Server) serveProduce(_ context.Context, _ *peer, q *kmsg.ProduceRequest) (kmsg.Response, error) {
	if q.Acks == 0 {
		return nil, errSilentProducer
	}
	r := kmsg.NewPtrProduceResponse()
	topics := s.currentTopics()
	for i := range q.Topics {
		t := kmsg.NewProduceResponseTopic()
		t.Topic = q.Topics[i].Topic
		found := topics.topic(t.Topic)
		for j := range q.Topics[i].Partitions {
			p := kmsg.NewProduceResponseTopicPartition()
			p.Partition = q.Topics[i].Partitions[j].Partition
			p.BaseOffset = -1
			p.ErrorCode, p.ErrorMessage = refuseRecords(found, p.Partition, q.Version)
			t.Partitions = append(t.Partitions, p)
		}
		r.Topics = append(r.Topics, t)
	}
	return r, nil
}

func refuseRecords(t *topic, partition int32, version int16) (errorCode, *string) {
	switch {
	case version < recordBatchVersion:
		return errUnsupportedVersion, nil
	case t == nil || !t.has(partition):
		return errUnknownTopicOrPartition, nil
	}
	return errPolicyViolation, new("topics are read-only: write to " + t.table.QualifiedName() + " over HTTP or SQL")
}
