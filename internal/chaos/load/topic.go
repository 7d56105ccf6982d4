package load

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"kalamlog.dev/kalam/internal/chaos/history"
)

// topicReader consumes a table as a Kafka topic from offset 0. Its client is replaced every few seconds by one that starts at
// another node, at the offset that is due.
type topicReader struct {
	load    *Load
	trail   *history.Trail
	rnd     *rand.Rand
	node    int
	session int

	mu   sync.Mutex
	next map[int32]int64
}

func (l *Load) newTopicReader(name string, node int, table string) *topicReader {
	r := &topicReader{load: l, rnd: l.random(name), node: node, next: map[int32]int64{}}
	for p := range int32(partitions) {
		r.next[p] = 0
	}
	r.trail = &history.Trail{Name: name, How: history.Topic, Table: table}
	l.options.Recorder.Start(r.trail)
	return r
}

// run consumes until ctx is done.
func (r *topicReader) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := r.consume(ctx); err != nil {
			pause(ctx, 200*time.Millisecond)
		}
		r.node = (r.node + 1) % len(r.load.targets)
	}
}

// consume is one client from its start to its end.
func (r *topicReader) consume(ctx context.Context) error {
	t := r.load.targets[r.node]
	client, err := kgo.NewClient(kgo.SeedBrokers(t.Kafka), kgo.ConsumePartitions(r.from()), kgo.FetchMaxWait(300*time.Millisecond),
		kgo.DialTimeout(time.Second), kgo.RetryTimeout(3*time.Second), kgo.MetadataMinAge(200*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	r.session++
	r.see(history.Seen{Node: t.ID, Kind: history.Opened})
	ctx, cancel := context.WithTimeout(ctx, time.Duration(2000+r.rnd.IntN(5000))*time.Millisecond)
	defer cancel()
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		for rec := range fetches.RecordsAll() {
			if err := r.take(t.ID, rec); err != nil {
				return err
			}
		}
	}
	r.see(history.Seen{Node: t.ID, Kind: history.Broken})
	return nil
}

func (r *topicReader) from() map[string]map[int32]kgo.Offset {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := map[int32]kgo.Offset{}
	for p, next := range r.next {
		at[p] = kgo.NewOffset().At(next)
	}
	return map[string]map[int32]kgo.Offset{r.load.table(r.trail.Table): at}
}

func (r *topicReader) see(s history.Seen) {
	s.Session = r.session
	r.load.options.Recorder.See(r.trail, s)
}

func (r *topicReader) take(node int, rec *kgo.Record) error {
	c, err := changeOf(rec)
	if err != nil {
		return err
	}
	s := history.Seen{Node: node, Kind: history.Changed, Partition: rec.Partition, Offset: rec.Offset, Key: c.Key, Value: c.Value}
	if c.Gone {
		s.Kind = history.Deleted
	}
	r.see(s)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next[rec.Partition] = rec.Offset + 1
	return nil
}

// changeOf reads a record of a table's topic.
func changeOf(rec *kgo.Record) (history.Change, error) {
	var c history.Change
	if err := json.Unmarshal(rec.Key, &c.Key); err != nil {
		return c, fmt.Errorf("key %q: %w", rec.Key, err)
	}
	if rec.Value == nil {
		c.Gone = true
		return c, nil
	}
	var columns map[string]any
	if err := json.Unmarshal(rec.Value, &columns); err != nil {
		return c, fmt.Errorf("value %q: %w", rec.Value, err)
	}
	_, c.Value = cells(columns)
	return c, nil
}

func (r *topicReader) reached(ends map[int32]int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, end := range ends {
		if r.next[p] < end {
			return false
		}
	}
	return true
}

// ReadTopic reads a table's topic from offset 0 to the given ends through one node.
func (l *Load) ReadTopic(ctx context.Context, node int, table string, ends map[int32]int64) (history.Log, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	at := map[int32]kgo.Offset{}
	missing := maps.Clone(ends)
	for p, end := range ends {
		if end == 0 {
			delete(missing, p)
		}
		at[p] = kgo.NewOffset().At(0)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(l.targets[node].Kafka), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.table(table): at}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	log := history.Log{}
	for len(missing) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("read topic %s at node %d: partitions %v do not come to their ends: %w", table, l.targets[node].ID, missing, ctx.Err())
		}
		for rec := range fetches.RecordsAll() {
			if due := int64(len(log[rec.Partition])); rec.Offset != due {
				return nil, fmt.Errorf("read topic %s at node %d: partition %d offset %d where %d is due", table, l.targets[node].ID, rec.Partition, rec.Offset, due)
			}
			c, err := changeOf(rec)
			if err != nil {
				return nil, err
			}
			log[rec.Partition] = append(log[rec.Partition], c)
			if rec.Offset+1 == missing[rec.Partition] {
				delete(missing, rec.Partition)
			}
		}
	}
	return log, nil
}
