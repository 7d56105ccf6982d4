package kafka

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// fetcher gathers the records of one Fetch request. Its limits are soft as the protocol wants them: the first record of a response comes whole
// whatever its size. Used by one goroutine.
type fetcher struct {
	s          *Server
	q          *kmsg.FetchRequest
	partitions []*fetchPartition // in the order of the request
	turn       int               // where filling begins, so that no partition starves behind a full one
	bytes      int               // of records so far
	maxBytes   int
	epoch      int32
	ahead      bool // an offset lies beyond the end known here
	encoder    recordEncoder
}

// fetchPartition is one partition's share.
type fetchPartition struct {
	request *kmsg.FetchRequestTopicPartition
	topic   *topic // nil if unknown
	batch   *batchBuilder
	code    errorCode
	full    bool // nothing more fits
}

func newFetcher(s *Server, q *kmsg.FetchRequest, turn int) *fetcher {
	f := &fetcher{s: s, q: q, turn: turn, maxBytes: min(max(1, int(q.MaxBytes)), s.o.MaxFetchBytes), epoch: s.epoch()}
	topics := s.currentTopics()
	for i := range q.Topics {
		t := topics.topic(q.Topics[i].Topic)
		for j := range q.Topics[i].Partitions {
			f.partitions = append(f.partitions, f.open(t, &q.Topics[i].Partitions[j]))
		}
	}
	f.refuseRepeated()
	return f
}

// refuseRepeated leaves each partition in one place: what a request can make the server do is bounded by what there is.
func (f *fetcher) refuseRepeated() {
	type place struct {
		topic     topicID
		partition int32
	}
	seen := make(map[place]bool, len(f.partitions))
	for _, p := range f.partitions {
		if p.topic == nil {
			continue
		}
		at := place{p.topic.id, p.request.Partition}
		if seen[at] {
			p.code, p.batch = errInvalidRequest, nil
		}
		seen[at] = true
	}
}

// open checks a partition's part of the request.
func (f *fetcher) open(t *topic, r *kmsg.FetchRequestTopicPartition) *fetchPartition {
	p := &fetchPartition{request: r, topic: t}
	if t == nil || !t.has(r.Partition) {
		p.topic, p.code = nil, errUnknownTopicOrPartition
		return p
	}
	if r.CurrentLeaderEpoch > f.epoch {
		p.code = errUnknownLeaderEpoch
		return p
	}
	at := t.partition(r.Partition)
	f.ahead = f.ahead || r.FetchOffset > int64(f.s.o.Log.End(at))
	if r.FetchOffset < 0 || log.Offset(r.FetchOffset) < f.s.o.Log.Start(at) || log.Offset(r.FetchOffset) > f.s.o.Log.End(at) {
		p.code = errOffsetOutOfRange
		return p
	}
	p.batch = newBatch(log.Offset(r.FetchOffset))
	return p
}

// giveUp answers every partition that lies beyond the end known here with the code instead: whether it is out of range cannot be told.
func (f *fetcher) giveUp(code errorCode) {
	for _, p := range f.partitions {
		if p.code == errOffsetOutOfRange && p.topic != nil && p.request.FetchOffset > int64(f.s.o.Log.End(p.topic.partition(p.request.Partition))) {
			p.code = code
		}
	}
}

// fill reads what is there and fits, each partition in turn.
func (f *fetcher) fill() {
	n := len(f.partitions)
	for i := range n {
		p := f.partitions[(i+f.turn)%n]
		if p.batch != nil && !p.full && p.code == errNone {
			f.fillPartition(p)
		}
	}
}

// readBytes is how much is read of the log at a time.
const readBytes = 256 << 10

func (f *fetcher) fillPartition(p *fetchPartition) {
	at := p.topic.partition(p.request.Partition)
	for !p.full && p.batch.next < f.s.o.Log.End(at) {
		room := f.room(p)
		if room <= 0 && f.bytes > 0 {
			p.full = true
			return
		}
		records, err := f.s.o.Log.Read(at, p.batch.next, min(readBytes, max(1, room)))
		if err == nil && len(records) > 0 {
			err = f.add(p, records)
		}
		if err != nil {
			f.fail(p, err)
			return
		}
		if len(records) == 0 {
			return
		}
	}
}

// room is how many bytes of records the partition may still take.
func (f *fetcher) room(p *fetchPartition) int {
	return min(f.maxBytes-f.bytes, int(p.request.PartitionMaxBytes)-p.batch.size())
}

// add encodes records until one does not fit.
func (f *fetcher) add(p *fetchPartition, records []log.Record) error {
	// The table may have a newer schema by now than when the request began; rows of it decode with nothing older.
	t := f.s.currentTopics().byID[p.topic.id]
	if t == nil {
		p.code = errUnknownTopicOrPartition
		return nil
	}
	p.batch.reserve(min(max(0, f.room(p)), jsonGrowth*bytesOf(records)))
	for i := range records {
		c, err := materializer.DecodeChange(records[i])
		if err != nil {
			return err
		}
		key, value, err := f.encoder.encode(t, &c)
		if err != nil {
			return err
		}
		if f.bytes > 0 && len(key)+len(value)+recordOverhead > f.room(p) {
			p.full = true
			return nil
		}
		before := p.batch.size()
		p.batch.add(floorMillis(c.Timestamp), key, value)
		f.bytes += p.batch.size() - before
	}
	return nil
}

// jsonGrowth is about how many bytes of JSON come from one stored byte, for sizing buffers.
const jsonGrowth = 2

func bytesOf(records []log.Record) int {
	n := 0
	for i := range records {
		n += len(records[i].Data)
	}
	return n
}

// floorMillis turns microseconds into milliseconds.
func floorMillis(micros int64) int64 {
	millis := micros / 1000
	if micros%1000 < 0 {
		millis--
	}
	return millis
}

// fail ends a partition's share. What was gathered before the failure is still delivered: the next request meets it again.
func (f *fetcher) fail(p *fetchPartition, err error) {
	p.full = true
	if p.batch.size() > 0 {
		return
	}
	if problem.Is(err, problem.Trimmed) || problem.Is(err, problem.OutOfRange) {
		p.code = errOffsetOutOfRange
		return
	}
	p.code = errStorage
	f.s.o.Logger.Error("kafka: fetch failed", "topic", p.topic.name, "partition", p.request.Partition,
		"offset", uint64(p.batch.next), "error", err)
}

// complete reports whether there is nothing to wait for.
func (f *fetcher) complete() bool {
	waiting := false
	for _, p := range f.partitions {
		if p.code != errNone {
			return true
		}
		waiting = waiting || !p.full
	}
	return f.bytes >= max(0, int(f.q.MinBytes)) || f.bytes >= f.maxBytes || !waiting && len(f.partitions) > 0
}

// await fills on until the request is complete, the wait is over or ctx ends.
func (f *fetcher) await(ctx context.Context, wait time.Duration) {
	if wait <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for !f.complete() && f.waitAny(ctx) {
		f.fill()
	}
}

// waitAny returns true when a partition has more than was read of it, false when ctx is done.
func (f *fetcher) waitAny(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	woken := make(chan struct{}, 1)
	var waiters sync.WaitGroup
	for _, p := range f.partitions {
		if p.batch == nil || p.full {
			continue
		}
		at, next := p.topic.partition(p.request.Partition), p.batch.next
		waiters.Go(func() {
			if f.s.o.Log.WaitEnd(ctx, at, next) != nil {
				return
			}
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	}
	more := false
	select {
	case <-woken:
		more = true
	case <-ctx.Done():
	}
	cancel()
	waiters.Wait()
	return more
}

// response lists the partitions as they were asked for.
func (f *fetcher) response() []kmsg.FetchResponseTopic {
	topics := make([]kmsg.FetchResponseTopic, len(f.q.Topics))
	next := 0
	for i := range topics {
		topics[i] = kmsg.NewFetchResponseTopic()
		topics[i].Topic = f.q.Topics[i].Topic
		for range f.q.Topics[i].Partitions {
			topics[i].Partitions = append(topics[i].Partitions, f.partitionResponse(f.partitions[next]))
			next++
		}
	}
	return topics
}

func (f *fetcher) partitionResponse(p *fetchPartition) kmsg.FetchResponseTopicPartition {
	r := kmsg.NewFetchResponseTopicPartition()
	r.Partition = p.request.Partition
	r.ErrorCode = p.code
	r.PreferredReadReplica = -1
	r.HighWatermark, r.LastStableOffset, r.LogStartOffset = -1, -1, -1
	r.RecordBatches = []byte{}
	if f.q.IsolationLevel == readCommitted {
		r.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
	}
	if p.topic == nil {
		return r
	}
	at := p.topic.partition(p.request.Partition)
	r.HighWatermark = int64(f.s.o.Log.End(at)) // read after the records: it never lies below them
	r.LastStableOffset = r.HighWatermark
	r.LogStartOffset = int64(f.s.o.Log.Start(at))
	if p.batch != nil {
		r.RecordBatches = p.batch.finish(f.epoch)
	}
	return r
}
