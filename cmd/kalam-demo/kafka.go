package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// consume reads the topic demo.quakes from its beginning and folds it: what remains must be what SQL sees.
func (d *demo) consume(ctx context.Context) error {
	changes, err := d.count(ctx, `SELECT count(*) FROM demo.quakes`)
	if err != nil {
		return err
	}
	changes += revisions
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(d.server.Kafka),
		kgo.ConsumeTopics("demo.quakes"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	d.say("   kafka consumer on topic demo.quakes, from the beginning")
	rows := map[string][]byte{}
	next := map[int32]int64{}
	for n := int64(0); n < changes; {
		fetches := client.PollFetches(ctx)
		if err := errors.Join(fetchErrors(fetches)...); err != nil {
			return err
		}
		for r := range fetches.RecordsAll() {
			if r.Offset != next[r.Partition] {
				return fmt.Errorf("partition %d: offset %d where %d was due", r.Partition, r.Offset, next[r.Partition])
			}
			next[r.Partition]++
			rows[string(r.Key)] = r.Value
			n++
		}
	}
	var sum int64
	for _, n := range next {
		sum += n
	}
	if err := check(d, fmt.Sprintf("records in %d partitions, offsets dense from 0", len(next)), sum, changes); err != nil {
		return err
	}
	return check(d, "keys after folding the topic", len(rows), len(d.quakes))
}

// revisions is how many updates reviseQuakes makes.
const revisions = 5

func fetchErrors(f kgo.Fetches) []error {
	var errs []error
	for _, e := range f.Errors() {
		errs = append(errs, fmt.Errorf("fetch %s/%d: %w", e.Topic, e.Partition, e.Err))
	}
	return errs
}
