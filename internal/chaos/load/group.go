package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kalamlog.dev/kalam/internal/chaos/history"
)

// group is a consumer group with one member at a time, which commits what it has processed, and a watcher that asks what is
// committed.
type group struct {
	load *Load
	name string
	rnd  *rand.Rand
	seq  int
	node int
}

func (l *Load) newGroup() *group {
	return &group{load: l, name: l.options.Namespace + "-group", rnd: l.random("group")}
}

// run is one member after the other, each starting at another node.
func (g *group) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := g.member(ctx); err != nil {
			pause(ctx, 200*time.Millisecond)
		}
		g.node = (g.node + 1) % len(g.load.targets)
	}
}

func (g *group) member(ctx context.Context) error {
	t := g.load.targets[g.node]
	client, err := kgo.NewClient(kgo.SeedBrokers(t.Kafka), kgo.ConsumerGroup(g.name), kgo.ConsumeTopics(g.load.table(history.Events)),
		kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(300*time.Millisecond),
		kgo.DialTimeout(time.Second), kgo.RetryTimeout(3*time.Second), kgo.SessionTimeout(6*time.Second), kgo.MetadataMinAge(200*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(5000+g.rnd.IntN(5000))*time.Millisecond)
	defer cancel()
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		last := map[int32]*kgo.Record{}
		for rec := range fetches.RecordsAll() {
			last[rec.Partition] = rec
		}
		for _, rec := range last {
			g.commit(client, t.ID, rec)
		}
		pause(ctx, 100*time.Millisecond)
	}
	return nil
}

// commit commits a record of the partition and records it.
func (g *group) commit(client *kgo.Client, node int, rec *kgo.Record) {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	g.seq++
	op := &history.Op{Client: "group", ID: g.seq, Kind: history.Commit, Node: node, Key: g.name, Partition: rec.Partition, Attempts: 1}
	g.load.options.Recorder.Invoke(op)
	op.Offset = rec.Offset + 1
	if err := client.CommitRecords(ctx, rec); err != nil {
		op.Code, op.Error = "commit", err.Error()
		g.load.options.Recorder.Return(op, history.Info)
		return
	}
	g.load.options.Recorder.Return(op, history.OK)
}

// watch asks the nodes in turn what the group has committed.
func (g *group) watch(ctx context.Context) {
	rnd := g.load.random("watch")
	for id := 0; ctx.Err() == nil; {
		pause(ctx, 500*time.Millisecond)
		t := g.load.targets[rnd.IntN(len(g.load.targets))]
		client, err := kgo.NewClient(kgo.SeedBrokers(t.Kafka), kgo.DialTimeout(time.Second), kgo.RetryTimeout(2*time.Second))
		if err != nil {
			continue
		}
		for p := range int32(partitions) {
			id++
			op := &history.Op{Client: "watch", ID: id, Kind: history.Fetched, Node: t.ID, Key: g.name, Partition: p, Attempts: 1}
			g.load.options.Recorder.Invoke(op)
			offset, err := g.fetch(client, p)
			if err != nil {
				op.Code, op.Error = "fetch", err.Error()
				g.load.options.Recorder.Return(op, history.Fail)
				continue
			}
			op.Offset = offset
			g.load.options.Recorder.Return(op, history.OK)
		}
		client.Close()
	}
}

// fetch returns the committed offset of a partition, 0 if nothing is committed.
func (g *group) fetch(client *kgo.Client, partition int32) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = g.name
	topic := kmsg.NewOffsetFetchRequestTopic()
	topic.Topic, topic.Partitions = g.load.table(history.Events), []int32{partition}
	req.Topics = append(req.Topics, topic)
	inGroup := kmsg.NewOffsetFetchRequestGroup() // newer versions ask by group
	inGroup.Group = g.name
	groupTopic := kmsg.NewOffsetFetchRequestGroupTopic()
	groupTopic.Topic, groupTopic.Partitions = topic.Topic, topic.Partitions
	inGroup.Topics = append(inGroup.Topics, groupTopic)
	req.Groups = append(req.Groups, inGroup)
	res, err := req.RequestWith(ctx, client)
	if err != nil {
		return 0, err
	}
	return fetched(res)
}

func fetched(res *kmsg.OffsetFetchResponse) (int64, error) {
	if err := kerr.ErrorForCode(res.ErrorCode); err != nil {
		return 0, err
	}
	for _, g := range res.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
			return 0, err
		}
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				return max(0, p.Offset), kerr.ErrorForCode(p.ErrorCode)
			}
		}
	}
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			return max(0, p.Offset), kerr.ErrorForCode(p.ErrorCode)
		}
	}
	return 0, fmt.Errorf("no offset in %+v", res)
}
