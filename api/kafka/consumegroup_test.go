package kafka

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kalamlog.dev/kalam/materializer"
)

func inGroup(name string, topics ...string) []kgo.Opt {
	return []kgo.Opt{
		kgo.ConsumerGroup(name), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(), kgo.HeartbeatInterval(200 * time.Millisecond), kgo.SessionTimeout(6 * time.Second),
	}
}

func commit(t *testing.T, c *kgo.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if err := c.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
}

// keysOf returns the records' keys, sorted.
func keysOf(records []*kgo.Record) []string {
	var keys []string
	for _, r := range records {
		keys = append(keys, string(r.Key))
	}
	slices.Sort(keys)
	return keys
}

func TestGroupResumesAfterRestart(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(3)
	k.put(sensors, 0, 1, 2, 3, 4)
	c := k.consumer(inGroup("readers", "iot.sensors")...)
	poll(t, c, 5)
	commit(t, c)
	c.Close()
	k.put(sensors, 5, 6)
	k.restart()
	k.put(sensors, 7)
	again := k.consumer(inGroup("readers", "iot.sensors")...)
	if got := keysOf(poll(t, again, 3)); !slices.Equal(got, []string{"5", "6", "7"}) {
		t.Errorf("after a restart: %v", got)
	}
	other := k.consumer(inGroup("others", "iot.sensors")...)
	poll(t, other, 8)
}

// A consumer that lives through a restart joins again and goes on, with what it had committed and nothing twice.
func TestGroupLivesThroughRestart(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(2)
	k.put(sensors, 0, 1)
	c := k.consumer(inGroup("readers", "iot.sensors")...)
	poll(t, c, 2)
	commit(t, c)
	k.restart()
	k.put(sensors, 2, 3)
	if got := keysOf(pollThrough(t, c, 2)); !slices.Equal(got, []string{"2", "3"}) {
		t.Errorf("after a restart: %v", got)
	}
	eventually(t, "a commit in the new membership", func() bool { return c.CommitUncommittedOffsets(t.Context()) == nil })
}

// pollThrough is poll for a time when the broker may be away.
func pollThrough(t *testing.T, c *kgo.Client, n int) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var records []*kgo.Record
	for len(records) < n && ctx.Err() == nil {
		records = append(records, c.PollFetches(ctx).Records()...)
	}
	if len(records) != n {
		t.Fatalf("%d records, want %d", len(records), n)
	}
	return records
}

// Two members share the partitions; when one leaves, the other has them all.
func TestGroupOfTwoShares(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(4)
	a := k.consumer(append(inGroup("pair", "iot.sensors"), kgo.Balancers(kgo.RangeBalancer()))...)
	b := k.consumer(append(inGroup("pair", "iot.sensors"), kgo.Balancers(kgo.RangeBalancer()))...)
	collected := make(chan *kgo.Record, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{}, 2)
	for name, c := range map[string]*kgo.Client{"a": a, "b": b} {
		go func() {
			defer func() { done <- struct{}{} }()
			for ctx.Err() == nil {
				for _, r := range c.PollFetches(ctx).Records() {
					r.Context = context.WithValue(ctx, ownerKey{}, name)
					collected <- r
				}
			}
		}()
	}
	eventually(t, "both to own partitions", func() bool {
		return owned(k, "pair") == [2]int{2, 2}
	})
	k.putBatch(sensors, 0, 200)
	owners, keys := make(map[string]int), make(map[string]int)
	for range 200 {
		r := <-collected
		owners[r.Context.Value(ownerKey{}).(string)]++
		keys[string(r.Key)]++
	}
	if len(keys) != 200 || owners["a"] == 0 || owners["b"] == 0 {
		t.Errorf("%d keys, shared %v", len(keys), owners)
	}
	cancel()
	<-done
	<-done
	commit(t, a)
	commit(t, b)
	b.Close()
	k.putBatch(sensors, 1000, 50)
	rest := make(map[string]int)
	eventually(t, "the one left to read all", func() bool {
		for _, r := range a.PollFetches(t.Context()).Records() {
			rest[string(r.Key)]++ // those read before the rebalance, and not committed, twice
		}
		return len(rest) >= 50
	})
	if len(rest) != 50 {
		t.Errorf("the one left gets %d", len(rest))
	}
}

type ownerKey struct{}

// owned tells how many partitions each of two members is assigned, as DescribeGroups reports it.
func owned(k *stack, group string) [2]int {
	q := kmsg.NewPtrDescribeGroupsRequest()
	q.Version, q.Groups = 5, []string{group}
	g := exchange[*kmsg.DescribeGroupsResponse](k.dial(), q).Groups[0]
	var n [2]int
	if len(g.Members) != 2 || g.State != "Stable" {
		return n
	}
	for i, m := range g.Members {
		var a kmsg.ConsumerMemberAssignment
		if a.ReadFrom(m.MemberAssignment) == nil {
			for _, topic := range a.Topics {
				n[i] += len(topic.Partitions)
			}
		}
	}
	return n
}

// simpleCommit commits without a group membership, as consumers that assign partitions themselves do.
func (k *stack) simpleCommit(group, topic string, partition int32, offset int64, metadata string) errorCode {
	k.t.Helper()
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Version, q.Group, q.Generation = 8, group, -1
	t, p := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	t.Topic, p.Partition, p.Offset, p.Metadata, p.LeaderEpoch = topic, partition, offset, &metadata, 0
	t.Partitions = append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return exchange[*kmsg.OffsetCommitResponse](k.dial(), q).Topics[0].Partitions[0].ErrorCode
}

// offsets fetches a group's offsets at a version, as "topic/partition=offset metadata"; of all its partitions without topics.
func (k *stack) offsets(version int16, group string, topics map[string][]int32) []string {
	k.t.Helper()
	q := kmsg.NewPtrOffsetFetchRequest()
	q.Version, q.Group = version, group
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	for name, partitions := range topics {
		q.Topics = append(q.Topics, kmsg.OffsetFetchRequestTopic{Topic: name, Partitions: partitions})
		g.Topics = append(g.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: name, Partitions: partitions})
	}
	q.Groups = append(q.Groups, g)
	r := exchange[*kmsg.OffsetFetchResponse](k.dial(), q)
	var got []string
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			got = append(got, fmt.Sprintf("%s/%d=%d %s", t.Topic, p.Partition, p.Offset, *p.Metadata))
		}
	}
	for _, g := range r.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				got = append(got, fmt.Sprintf("%s/%d=%d %s", t.Topic, p.Partition, p.Offset, *p.Metadata))
			}
		}
	}
	return got
}

func TestCommittedOffsets(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	k.createTable("default", "things", 2, 1, k.sensors(1).Schema().Columns[0])
	for _, c := range []struct {
		topic     string
		partition int32
		offset    int64
		metadata  string
		want      errorCode
	}{
		{"things", 0, 5, "five", errNone},
		{"default.things", 1, 6, "", errNone},
		{"iot.sensors", 0, 7, "\u2713", errNone},
		{"iot.sensors", 0, 8, "", errNone},
		{"iot.sensors", 1, 9, "", errUnknownTopicOrPartition},
		{"nope", 0, 9, "", errUnknownTopicOrPartition},
		{"iot.sensors", 0, -5, "", errInvalidRequest},
		{"iot.sensors", 0, 9, "\xff", errInvalidRequest},
		{"iot.sensors", 0, 9, string(make([]byte, maxOffsetMetadata+1)), errOffsetMetadataTooLarge},
	} {
		if code := k.simpleCommit("g", c.topic, c.partition, c.offset, c.metadata); code != c.want {
			t.Errorf("commit %d to %s/%d: error %d, want %d", c.offset, c.topic, c.partition, code, c.want)
		}
	}
	k.simpleCommit("g2", "iot.sensors", 0, 1, "")
	check := func() {
		t.Helper()
		all := []string{"default.things/0=5 five", "default.things/1=6 ", "iot.sensors/0=8 "}
		for version := int16(2); version <= 8; version++ {
			if got := k.offsets(version, "g", nil); !slices.Equal(got, all) {
				t.Errorf("version %d, all: %q", version, got)
			}
		}
		for version := int16(1); version <= 8; version++ {
			got := k.offsets(version, "g", map[string][]int32{"things": {1, 9}})
			if want := []string{"things/1=6 ", "things/9=-1 "}; !slices.Equal(got, want) {
				t.Errorf("version %d, some: %q", version, got)
			}
		}
		if got := k.offsets(8, "unknown", nil); got != nil {
			t.Errorf("unknown group: %q", got)
		}
	}
	check()
	k.restart()
	check()
}

// What was committed for a table that is dropped does not hold for another that takes its name.
func TestOffsetsOfADroppedTable(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(1)
	k.simpleCommit("g", "iot.sensors", 0, 7, "")
	k.write(must(k.state.Catalog().DropTable(sensors))(t))
	if got := k.offsets(8, "g", nil); got != nil {
		t.Errorf("of a table that is gone: %q", got)
	}
	k.sensors(1)
	if got := k.offsets(8, "g", map[string][]int32{"iot.sensors": {0}}); !slices.Equal(got, []string{"iot.sensors/0=-1 "}) {
		t.Errorf("of its successor: %q", got)
	}
}

func TestListDescribeAndDeleteGroups(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	k.put(k.sensors(1), 1)
	k.simpleCommit("past", "iot.sensors", 0, 1, "")
	c := k.consumer(inGroup("live", "iot.sensors")...)
	poll(t, c, 1)
	commit(t, c)
	list := func(states ...string) string {
		q := kmsg.NewPtrListGroupsRequest()
		q.Version, q.StatesFilter = 4, states
		var out strings.Builder
		for _, g := range exchange[*kmsg.ListGroupsResponse](k.dial(), q).Groups {
			out.WriteString(g.Group + " " + g.GroupState + ";")
		}
		return out.String()
	}
	if got := list(); got != "live Stable;past Empty;" {
		t.Errorf("list: %s", got)
	}
	if got := list("empty"); got != "past Empty;" {
		t.Errorf("list of the empty: %s", got)
	}
	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Version, describe.Groups = 5, []string{"live", "past", "never"}
	got := exchange[*kmsg.DescribeGroupsResponse](k.dial(), describe).Groups
	if len(got[0].Members) != 1 || got[0].Members[0].ClientHost != "/127.0.0.1" || got[1].State != "Empty" || got[2].State != "Dead" {
		t.Errorf("describe: %+v", got)
	}
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Version, remove.Groups = 2, []string{"live", "past", "never", ""}
	var codes []errorCode
	for _, g := range exchange[*kmsg.DeleteGroupsResponse](k.dial(), remove).Groups {
		codes = append(codes, g.ErrorCode)
	}
	if !slices.Equal(codes, []errorCode{errNonEmptyGroup, errNone, errGroupIDNotFound, errInvalidGroupID}) {
		t.Errorf("delete: %v", codes)
	}
	if got := list(); got != "live Stable;" {
		t.Errorf("list after deletion: %s", got)
	}
}

// brokenState has no views.
type brokenState struct{ Materializer }

func (brokenState) View() (*materializer.View, error) { return nil, fmt.Errorf("no view today") }

func TestUnreadableOffsets(t *testing.T) {
	t.Parallel()
	k := startStack(t, func(o *Options) { o.Materializer = brokenState{o.Materializer} })
	q := kmsg.NewPtrOffsetFetchRequest()
	q.Version, q.Group = 7, "g"
	if r := exchange[*kmsg.OffsetFetchResponse](k.dial(), q); r.ErrorCode != errCoordinatorNotAvailable {
		t.Errorf("%+v", r)
	}
}

func TestFindCoordinator(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	for version := range int16(5) {
		q := kmsg.NewPtrFindCoordinatorRequest()
		q.Version, q.CoordinatorKey, q.CoordinatorKeys = version, "g", []string{"g", "h"}
		r := exchange[*kmsg.FindCoordinatorResponse](k.dial(), q)
		host, port := r.Host, r.Port
		if version >= 4 {
			host, port = r.Coordinators[1].Host, r.Coordinators[1].Port
		}
		if got := fmt.Sprintf("%s:%d", host, port); got != k.addr || r.ErrorCode != 0 {
			t.Errorf("version %d: %s, error %d", version, got, r.ErrorCode)
		}
		if q.CoordinatorType = coordinatorTransaction; version >= 1 && version < 4 {
			if r = exchange[*kmsg.FindCoordinatorResponse](k.dial(), q); r.ErrorCode != errTransactionalIDAuthorization {
				t.Errorf("version %d, transactions: error %d", version, r.ErrorCode)
			}
		}
	}
}
