package kafka

import (
	"context"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

func (s *Server) listOffsetsKey() (apiKey, error) {
	return newKey(keySpec{
		name: "ListOffsets", min: 1, max: 7,
		layout: "i32 v2:i8 (str (i32 v4:i32 i64 v0-0:i32))",
	}, kmsg.NewPtrListOffsetsRequest, s.serveListOffsets)
}

// Times with a meaning of their own.
const (
	timeLatest   = -1
	timeEarliest = -2
	timeMax      = -3
)

func (s *Server) serveListOffsets(ctx context.Context, _ *peer, q *kmsg.ListOffsetsRequest) (kmsg.Response, error) {
	r := kmsg.NewPtrListOffsetsResponse()
	behind := s.catchUp(ctx) // the latest offset of a node that lags is none
	topics := s.currentTopics()
	for i := range q.Topics {
		t := kmsg.NewListOffsetsResponseTopic()
		t.Topic = q.Topics[i].Topic
		found := topics.topic(t.Topic)
		for j := range q.Topics[i].Partitions {
			p := s.listOffset(found, &q.Topics[i].Partitions[j])
			if behind != errNone {
				p.ErrorCode = behind
			}
			t.Partitions = append(t.Partitions, p)
		}
		r.Topics = append(r.Topics, t)
	}
	return r, nil
}

func (s *Server) listOffset(t *topic, q *kmsg.ListOffsetsRequestTopicPartition) kmsg.ListOffsetsResponseTopicPartition {
	r := kmsg.NewListOffsetsResponseTopicPartition()
	r.Partition = q.Partition
	if t == nil || !t.has(q.Partition) {
		r.ErrorCode = errUnknownTopicOrPartition
		return r
	}
	if q.CurrentLeaderEpoch > s.epoch() {
		r.ErrorCode = errUnknownLeaderEpoch
		return r
	}
	offset, millis, err := s.offsetAt(t.partition(q.Partition), q.Timestamp)
	if err != nil {
		s.o.Logger.Error("kafka: list offsets failed", "topic", t.name, "partition", q.Partition, "error", err)
		r.ErrorCode = errStorage
		return r
	}
	if q.Timestamp < timeMax {
		r.ErrorCode = errUnsupportedVersion
		return r
	}
	if r.Offset, r.Timestamp = offset, millis; offset >= 0 {
		r.LeaderEpoch = s.epoch()
	}
	return r
}

// offsetAt finds the offset for a time in milliseconds, or one of the special times, and the timestamp of the record there. Both are -1 if there
// is none; the timestamp also for the earliest and latest offset, as clients expect.
func (s *Server) offsetAt(at log.Partition, millis int64) (offset, timestamp int64, err error) {
	switch {
	case millis == timeLatest:
		return int64(s.o.Log.End(at)), -1, nil
	case millis == timeEarliest:
		return int64(s.o.Log.Start(at)), -1, nil
	case millis == timeMax:
		return s.newest(at)
	case millis < 0 || millis > math.MaxInt64/1000:
		return -1, -1, nil
	}
	found, micros, err := s.o.Log.OffsetAtTime(at, millis*1000)
	if err != nil || found >= s.o.Log.End(at) {
		return -1, -1, err
	}
	return int64(found), floorMillis(micros), nil
}

// newest is the last record: timestamps never go back, so none is later.
func (s *Server) newest(at log.Partition) (offset, timestamp int64, err error) {
	end := s.o.Log.End(at)
	if end == s.o.Log.Start(at) {
		return -1, -1, nil
	}
	records, err := s.o.Log.Read(at, end-1, 1)
	if problem.Is(err, problem.Trimmed) { // meanwhile
		return -1, -1, nil
	}
	if err != nil || len(records) == 0 {
		return -1, -1, err
	}
	c, err := materializer.DecodeChange(records[0])
	return int64(end - 1), floorMillis(c.Timestamp), err
}
