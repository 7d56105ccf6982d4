package kafka

import (
	"context"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Version 9 is that of the newer group protocol.
func (s *Server) offsetCommitKey() (apiKey, error) {
	return newKey(keySpec{
		name: "OffsetCommit", min: 2, max: 8,
		layout: "str v1:i32 v1:str v7:nstr v2-4:i64 (str (i32 i64 v1-1:i64 v6:i32 nstr))",
	}, kmsg.NewPtrOffsetCommitRequest, s.serveOffsetCommit)
}

// maxOffsetMetadata is how many bytes a consumer may store beside an offset.
const maxOffsetMetadata = 4096

// serveOffsetCommit answers when the offsets are as durable as any write.
func (s *Server) serveOffsetCommit(ctx context.Context, _ *peer, q *kmsg.OffsetCommitRequest) (kmsg.Response, error) {
	if !validGroupID(q.Group) {
		return commitResponse(q, errInvalidGroupID), nil
	}
	if code := s.coordinate(ctx); code != errNone {
		return commitResponse(q, code), nil
	}
	done, code := s.groups.beginCommit(q)
	defer done()
	if code != errNone {
		return commitResponse(q, code), nil
	}
	r := commitResponse(q, errNone)
	entries := s.checkCommit(q, r)
	if len(entries) == 0 {
		return r, nil
	}
	switch err := s.storeOffsets(ctx, q.Group, entries); {
	case deposed(err):
		s.resign()
		return commitResponse(q, errNotCoordinator), nil
	case err != nil:
		s.o.Logger.Error("kafka: commit offsets failed", "group", q.Group, "error", err)
		return commitResponse(q, errCoordinatorNotAvailable), nil
	}
	return r, nil
}

// checkCommit returns what is to be stored, and enters what is refused into r.
func (s *Server) checkCommit(q *kmsg.OffsetCommitRequest, r *kmsg.OffsetCommitResponse) []groupOffset {
	var entries []groupOffset
	topics := s.currentTopics()
	for i := range q.Topics {
		t := topics.topic(q.Topics[i].Topic)
		for j := range q.Topics[i].Partitions {
			p, code := &q.Topics[i].Partitions[j], &r.Topics[i].Partitions[j].ErrorCode
			switch {
			case t == nil || !t.has(p.Partition):
				*code = errUnknownTopicOrPartition
			case p.Metadata != nil && len(*p.Metadata) > maxOffsetMetadata:
				*code = errOffsetMetadataTooLarge
			case p.Offset < 0, p.Metadata != nil && !utf8.ValidString(*p.Metadata):
				*code = errInvalidRequest
			default:
				entries = append(entries, newGroupOffset(t.name, p))
			}
		}
	}
	return entries
}

// commitResponse answers every partition of q with the code.
func commitResponse(q *kmsg.OffsetCommitRequest, code errorCode) *kmsg.OffsetCommitResponse {
	r := kmsg.NewPtrOffsetCommitResponse()
	for i := range q.Topics {
		t := kmsg.NewOffsetCommitResponseTopic()
		t.Topic = q.Topics[i].Topic
		for j := range q.Topics[i].Partitions {
			p := kmsg.NewOffsetCommitResponseTopicPartition()
			p.Partition, p.ErrorCode = q.Topics[i].Partitions[j].Partition, code
			t.Partitions = append(t.Partitions, p)
		}
		r.Topics = append(r.Topics, t)
	}
	return r
}
