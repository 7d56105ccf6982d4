package kafka

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// consumer is a franz-go client of the stack.
func (k *stack) consumer(opts ...kgo.Opt) *kgo.Client {
	k.t.Helper()
	c := must(kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(k.addr), kgo.FetchMaxWait(500 * time.Millisecond), kgo.RetryTimeout(10 * time.Second),
	}, opts...)...))(k.t)
	k.t.Cleanup(c.Close)
	return c
}

// poll returns the next n records, in the order they came.
func poll(t testing.TB, c *kgo.Client, n int) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var records []*kgo.Record
	for len(records) < n {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("poll after %d of %d records: %v", len(records), n, err)
		}
		records = append(records, fetches.Records()...)
	}
	if len(records) > n {
		t.Fatalf("%d records, want %d", len(records), n)
	}
	return records
}

func TestRecordsOfATable(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(1)
	before := time.Now().UnixMilli()
	k.putRow(sensors, 9007199254740993, "one \"q\"")
	k.putRow(sensors, 9007199254740993, "two")
	k.remove(sensors, 9007199254740993)
	records := poll(t, k.consumer(kgo.ConsumeTopics("iot.sensors")), 3)
	want := []string{
		`{"id":9007199254740993,"name":"one \"q\"","heat":4503599627370496}`,
		`{"id":9007199254740993,"name":"two","heat":4503599627370496}`, "",
	}
	for i, r := range records {
		if r.Offset != int64(i) || string(r.Key) != "9007199254740993" || string(r.Value) != want[i] {
			t.Errorf("record %d: offset %d, key %s, value %s", i, r.Offset, r.Key, r.Value)
		}
		if ms := r.Timestamp.UnixMilli(); ms < before || ms > time.Now().UnixMilli() {
			t.Errorf("record %d: timestamp %d", i, ms)
		}
	}
	if records[2].Value != nil {
		t.Error("a delete has a value")
	}
}

type envelope struct {
	Before, After map[string]any
	Op            string
	Source        struct {
		Table     string
		Partition int
		Offset    int64
		Position  string
		Version   int `json:"schema_version"`
	}
	Micros int64 `json:"ts_us"`
}

func TestRecordsOfChanges(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(1)
	k.putRow(sensors, 1, "one")
	k.putRow(sensors, 1, "two")
	k.remove(sensors, 1)
	records := poll(t, k.consumer(kgo.ConsumeTopics("iot.sensors.changes")), 3)
	for i, op := range []string{"c", "u", "d"} {
		e := decodeJSON[envelope](t, records[i].Value)
		if e.Op != op || e.Source.Table != "iot.sensors" || e.Source.Offset != int64(i) || e.Source.Version != 1 ||
			e.Micros/1000 != records[i].Timestamp.UnixMilli() || string(records[i].Key) != "1" {
			t.Errorf("change %d: %s", i, records[i].Value)
		}
		if (e.Before == nil) != (op == "c") || (e.After == nil) != (op == "d") {
			t.Errorf("change %d has the wrong rows: %s", i, records[i].Value)
		}
	}
	if e := decodeJSON[envelope](t, records[1].Value); e.Before["name"] != "one" || e.After["name"] != "two" {
		t.Errorf("update: %s", records[1].Value)
	}
}

func TestKeysAndHiddenColumns(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	composite := k.createTable("shop", "stock", 1, 2,
		column("shelf", expr.Text), column("slot", expr.Integer), column("n", expr.Integer))
	m, _, err := k.drafter(composite).Put(materializer.Upsert,
		[]expr.Value{expr.TextOf("a"), expr.IntOf(expr.Integer, 3), {}}, []bool{true, true, true})
	if err != nil {
		t.Fatal(err)
	}
	k.write([]materializer.Mutation{m})
	r := poll(t, k.consumer(kgo.ConsumeTopics("shop.stock")), 1)[0]
	if string(r.Key) != `["a",3]` || string(r.Value) != `{"shelf":"a","slot":3,"n":null}` {
		t.Errorf("composite key: %s %s", r.Key, r.Value)
	}
	stream := k.createTable("shop", "clicks", 1, 0, column("page", expr.Text))
	if m, _, err = k.drafter(stream).Put(materializer.Insert, []expr.Value{expr.TextOf("/")}, []bool{true}); err != nil {
		t.Fatal(err)
	}
	k.write([]materializer.Mutation{m})
	r = poll(t, k.consumer(kgo.ConsumeTopics("shop.clicks")), 1)[0]
	if r.Key != nil || string(r.Value) != `{"page":"/"}` {
		t.Errorf("stream without key: %s %s", r.Key, r.Value)
	}
}

func TestUserTablesHideTheUserColumn(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	notes := k.createAs(&materializer.Table{
		Namespace: "app", Name: "notes", Kind: materializer.User, Partitions: 1,
		Versions: []*materializer.Schema{{
			Version: 1, Key: []int{0, 1},
			Columns: []materializer.Column{
				{Name: materializer.UserColumn, Type: expr.Type{Kind: expr.Text}, NotNull: true, Hidden: true},
				{Name: "id", Type: expr.Type{Kind: expr.Integer}, NotNull: true},
				column("text", expr.Text),
			},
		}},
	})
	m, _, err := k.drafter(notes).Put(materializer.Upsert,
		[]expr.Value{{}, expr.IntOf(expr.Integer, 5), expr.TextOf("hi")}, []bool{false, true, true})
	if err != nil {
		t.Fatal(err)
	}
	k.write([]materializer.Mutation{m})
	r := poll(t, k.consumer(kgo.ConsumeTopics("app.notes")), 1)[0]
	if string(r.Key) != `["root",5]` || string(r.Value) != `{"id":5,"text":"hi"}` {
		t.Errorf("%s %s", r.Key, r.Value)
	}
}

func TestConsumeFromOffsets(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(1)
	for id := range int64(20) {
		k.put(sensors, id)
	}
	from := func(o kgo.Offset) kgo.Opt {
		return kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"iot.sensors": {0: o}})
	}
	for name, c := range map[string]struct {
		at    kgo.Offset
		first int64
	}{
		"start":    {kgo.NewOffset().AtStart(), 0},
		"absolute": {kgo.NewOffset().At(7), 7},
		"relative": {kgo.NewOffset().AtEnd().Relative(-5), 15},
	} {
		records := poll(t, k.consumer(from(c.at)), int(20-c.first))
		if records[0].Offset != c.first {
			t.Errorf("%s: begins at %d, want %d", name, records[0].Offset, c.first)
		}
	}
	c := k.consumer(from(kgo.NewOffset().AtEnd()))
	k.awaitFetch(c)
	k.put(sensors, 100)
	if r := poll(t, c, 1)[0]; r.Offset != 20 {
		t.Errorf("end: %d", r.Offset)
	}
}

// awaitFetch returns when the consumer has resolved its offsets: when it has been told that there is nothing yet.
func (k *stack) awaitFetch(c *kgo.Client) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 100*time.Millisecond)
	defer cancel()
	if f := c.PollFetches(ctx); f.NumRecords() > 0 {
		k.t.Fatalf("%d records where none are", f.NumRecords())
	}
}

func TestConsumeFromTimestamp(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(1)
	k.put(sensors, 0, 1, 2)
	var third time.Time
	eventually(t, "the clock to move", func() bool {
		third = time.Now().Truncate(time.Millisecond)
		return third.After(k.timestampOf(sensors, 2))
	})
	k.put(sensors, 3, 4)
	records := poll(t, k.consumer(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		"iot.sensors": {0: kgo.NewOffset().AfterMilli(third.UnixMilli())},
	})), 2)
	if records[0].Offset != 3 {
		t.Errorf("begins at %d, want 3", records[0].Offset)
	}
}

// timestampOf reads the time of an offset of partition 0.
func (k *stack) timestampOf(table *materializer.Table, offset int64) time.Time {
	k.t.Helper()
	r := poll(k.t, k.consumer(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		table.QualifiedName(): {0: kgo.NewOffset().At(offset)},
	})), int(int64(k.log.End((&topic{table: table}).partition(0)))-offset))[0]
	return r.Timestamp
}

func TestListOffsets(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(2)
	at := k.put(sensors, 1)[0]
	full, empty := int32(at.ID), int32(1-at.ID)
	c := k.consumer()
	list := func(partition int32, millis int64) kmsg.ListOffsetsResponseTopicPartition {
		q := kmsg.NewPtrListOffsetsRequest()
		topic, p := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
		topic.Topic, p.Partition, p.Timestamp = "iot.sensors", partition, millis
		topic.Partitions = append(topic.Partitions, p)
		q.Topics = append(q.Topics, topic)
		return must(q.RequestWith(t.Context(), c.Broker(1)))(t).Topics[0].Partitions[0]
	}
	stamp := list(full, timeMax).Timestamp
	for name, c := range map[string]struct {
		partition    int32
		millis       int64
		offset, when int64
		code         errorCode
	}{
		"latest":           {full, timeLatest, 1, -1, 0},
		"earliest":         {full, timeEarliest, 0, -1, 0},
		"newest":           {full, timeMax, 0, stamp, 0},
		"since ever":       {full, 0, 0, stamp, 0},
		"since its time":   {full, stamp, 0, stamp, 0},
		"after its time":   {full, stamp + 1, -1, -1, 0},
		"far future":       {full, 1<<63 - 1, -1, -1, 0},
		"empty, latest":    {empty, timeLatest, 0, -1, 0},
		"empty, newest":    {empty, timeMax, -1, -1, 0},
		"empty, by time":   {empty, 5, -1, -1, 0},
		"no such time":     {full, -9, -1, -1, errUnsupportedVersion},
		"no such number":   {2, timeLatest, -1, -1, errUnknownTopicOrPartition},
		"negative numbers": {-1, timeLatest, -1, -1, errUnknownTopicOrPartition},
	} {
		got := list(c.partition, c.millis)
		if got.Offset != c.offset || got.Timestamp != c.when || got.ErrorCode != c.code {
			t.Errorf("%s: offset %d at %d, error %d", name, got.Offset, got.Timestamp, got.ErrorCode)
		}
	}
}

func TestManyPartitions(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(16)
	const rows = 500
	k.putBatch(sensors, 0, rows)
	seen := make(map[string]int)
	next := make(map[int32]int64)
	for _, r := range poll(t, k.consumer(kgo.ConsumeTopics("iot.sensors"), kgo.FetchMaxPartitionBytes(300), kgo.FetchMaxBytes(2000)), rows) {
		seen[string(r.Key)]++
		if r.Offset != next[r.Partition] {
			t.Fatalf("partition %d goes on with %d, want %d", r.Partition, r.Offset, next[r.Partition])
		}
		next[r.Partition]++
	}
	if len(seen) != rows || len(next) != 16 {
		t.Errorf("%d keys in %d partitions", len(seen), len(next))
	}
}

func TestOffsetOutOfRange(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	k.put(k.sensors(1), 1)
	c := k.consumer(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"iot.sensors": {0: kgo.NewOffset().At(2)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.PollFetches(ctx).Err(); !isKafka(err, kerr.OffsetOutOfRange) {
		t.Errorf("beyond the end: %v", err)
	}
}

func isKafka(err error, want *kerr.Error) bool {
	got, ok := err.(*kerr.Error) //nolint:errorlint // franz-go hands it out unwrapped
	return ok && got.Code == want.Code
}

// A name without a dot lives in the default namespace, and only there.
func TestAlias(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	k.put(k.createTable("default", "things", 1, 1,
		column("id", expr.BigInt), column("name", expr.Text), column("heat", expr.Double)), 1)
	k.sensors(1)
	if r := poll(t, k.consumer(kgo.ConsumeTopics("things")), 1)[0]; r.Topic != "things" || string(r.Key) != "1" {
		t.Errorf("alias: %s %s", r.Topic, r.Key)
	}
	q := kmsg.NewPtrMetadataRequest()
	var names []string
	for _, topic := range must(q.RequestWith(t.Context(), k.consumer()))(t).Topics {
		names = append(names, *topic.Topic)
	}
	want := []string{"default.things", "default.things.changes", "iot.sensors", "iot.sensors.changes"}
	if !slices.Equal(names, want) {
		t.Errorf("listed: %v, want %v", names, want)
	}
}

func TestDroppedAndNewTopics(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(1)
	first := k.server.currentTopics().topic("iot.sensors").id
	if again := newTopics(k.state.Catalog(), "kalam").topic("iot.sensors").id; again != first {
		t.Error("a topic's id changes")
	}
	k.write(must(k.state.Catalog().DropTable(sensors))(t))
	if k.server.currentTopics().topic("iot.sensors") != nil {
		t.Error("a dropped table is still a topic")
	}
	k.sensors(1)
	if k.server.currentTopics().topic("iot.sensors").id == first {
		t.Error("a table made anew has the id of the one dropped")
	}
}

func TestAddedColumn(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(1)
	k.putRow(sensors, 1, "old")
	wider := *sensors
	added := *sensors.Schema()
	added.Version = 2
	added.Columns = append(slices.Clone(added.Columns), materializer.Column{ID: 4, Name: "place", Type: expr.Type{Kind: expr.Text}})
	wider.Versions = append(slices.Clone(sensors.Versions), &added)
	k.write(must(k.state.Catalog().ReplaceTable(&wider, time.Now().UnixMicro()))(t))
	r := poll(t, k.consumer(kgo.ConsumeTopics("iot.sensors")), 1)[0]
	if string(r.Value) != `{"id":1,"name":"old","heat":0.5,"place":null}` {
		t.Errorf("%s", r.Value)
	}
}
