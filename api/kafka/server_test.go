package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// wire is a bare connection to the door.
type wire struct {
	t testing.TB
	net.Conn
	next int32
}

func (k *stack) dial() *wire {
	k.t.Helper()
	c := must((&net.Dialer{}).DialContext(k.t.Context(), "tcp", k.addr))(k.t)
	k.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		k.t.Fatal(err)
	}
	return &wire{t: k.t, Conn: c}
}

func (w *wire) send(b []byte) {
	w.t.Helper()
	if _, err := w.Write(b); err != nil {
		w.t.Fatal(err)
	}
}

// request sends a request and returns its correlation id.
func (w *wire) request(q kmsg.Request) int32 {
	w.t.Helper()
	w.next++
	w.send(kmsg.NewRequestFormatter(kmsg.FormatterClientID("wire")).AppendRequest(nil, q, w.next))
	return w.next
}

// response reads the next frame: its correlation id and what follows.
func (w *wire) response() (int32, []byte) {
	w.t.Helper()
	var prefix [8]byte
	if _, err := io.ReadFull(w, prefix[:]); err != nil {
		w.t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint32(prefix[:])-4)
	if _, err := io.ReadFull(w, body); err != nil {
		w.t.Fatal(err)
	}
	return int32(binary.BigEndian.Uint32(prefix[4:])), body
}

// exchange sends q and decodes the response.
func exchange[R kmsg.Response](w *wire, q kmsg.Request) R {
	w.t.Helper()
	id := w.request(q)
	return receive[R](w, q, id)
}

func receive[R kmsg.Response](w *wire, q kmsg.Request, id int32) R {
	w.t.Helper()
	got, body := w.response()
	if got != id {
		w.t.Fatalf("response %d, want that to %d", got, id)
	}
	r := q.ResponseKind()
	if r.IsFlexible() && r.Key() != apiVersionsCode {
		body = body[1:]
	}
	if err := r.ReadFrom(body); err != nil {
		w.t.Fatal(err)
	}
	return r.(R)
}

// closed fails the test unless the server closes the connection without another word.
func (w *wire) closed() {
	w.t.Helper()
	if n, err := w.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		w.t.Fatalf("the connection is still open: %d bytes, %v", n, err)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func apiVersions(version int16) *kmsg.ApiVersionsRequest {
	q := kmsg.NewPtrApiVersionsRequest()
	q.Version, q.ClientSoftwareName, q.ClientSoftwareVersion = version, "wire", "1.0"
	return q
}

// The versions are part of the contract: clients decide by them what they ask for.
func TestAdvertisedVersions(t *testing.T) {
	want := [][3]int16{
		{0, 0, 9},
		{1, 4, 12},
		{2, 1, 7},
		{3, 0, 12},
		{8, 2, 8},
		{9, 1, 8},
		{10, 0, 4},
		{11, 0, 9},
		{12, 0, 4},
		{13, 0, 5},
		{14, 0, 5},
		{15, 0, 5},
		{16, 0, 4},
		{18, 0, 4},
		{23, 2, 4},
		{42, 0, 2},
		{60, 0, 1},
	}
	k := startStack(t, nil)
	for version := range int16(5) {
		var got [][3]int16
		for _, a := range exchange[*kmsg.ApiVersionsResponse](k.dial(), apiVersions(version)).ApiKeys {
			got = append(got, [3]int16{a.ApiKey, a.MinVersion, a.MaxVersion})
		}
		if !slices.Equal(got, want) {
			t.Errorf("version %d advertises %v, want %v", version, got, want)
		}
	}
	if len(k.server.keys.keys) != len(want) {
		t.Errorf("%d keys in the registry", len(k.server.keys.keys))
	}
}

// A client newer than the server is told, in the oldest form, what to ask instead; and the connection lives on.
func TestApiVersionsOfTheFuture(t *testing.T) {
	t.Parallel()
	w := startStack(t, nil).dial()
	w.send(rawFrame(apiVersionsCode, 77, 5, 1, 2, 3, 4, 5))
	id, body := w.response()
	if want := []byte{0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4}; id != 5 || !bytes.Equal(body, want) {
		t.Fatalf("response %d: %v, want %v", id, body, want)
	}
	w.next = 5
	exchange[*kmsg.ApiVersionsResponse](w, apiVersions(4))
	q := apiVersions(3)
	q.ClientSoftwareName = "no spaces"
	if r := exchange[*kmsg.ApiVersionsResponse](w, q); r.ErrorCode != errInvalidRequest {
		t.Errorf("a software name with a space: error %d", r.ErrorCode)
	}
}

// What breaks the protocol ends the connection that it came on, and no other.
func TestBrokenFrames(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	witness := k.dial()
	for name, frame := range map[string][]byte{
		"oversized":                  {0x7f, 0xff, 0xff, 0xff, 0, 1, 0, 4, 0, 0, 0, 1},
		"negative length":            {0xff, 0xff, 0xff, 0xff, 0, 1, 0, 4, 0, 0, 0, 1},
		"shorter than a header":      {0, 0, 0, 3, 0, 1, 0},
		"unknown API key":            rawFrame(1234, 0, 1, 0, 0),
		"negative API key":           rawFrame(-1, 0, 1, 0, 0),
		"unknown version":            rawFrame(1, 99, 1, 0, 0),
		"version below the least":    rawFrame(1, 0, 1, 0, 0),
		"client id cut short":        rawFrame(3, 4, 1, 0, 9, 'x'),
		"no body":                    rawFrame(3, 4, 1, 0, 1, 'x'),
		"array of billions":          rawFrame(3, 4, 1, 0, 1, 'x', 0x7f, 0xff, 0xff, 0xff),
		"billions of tags in header": rawFrame(3, 12, 1, 0, 1, 'x', 0xff, 0xff, 0xff, 0xff, 0x0f),
		"billions of tags in body":   rawFrame(18, 4, 1, 0, 1, 'x', 0, 2, 'a', 2, 'b', 0xff, 0xff, 0xff, 0xff, 0x0f),
		"TLS hello":                  []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		"HTTP":                       []byte("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			w := k.dial()
			w.t = t
			w.send(frame)
			w.closed()
		})
	}
	cut := k.dial()
	cut.send(rawFrame(3, 4, 1, 0, 1, 'x')[:10])
	cut.Close()
	exchange[*kmsg.ApiVersionsResponse](witness, apiVersions(0))
}

// Requests may be sent ahead; their responses keep the order, also behind one that waits.
func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	k.sensors(1)
	w := k.dial()
	fetch := fetchRequest(0, 200*time.Millisecond)
	first := w.request(fetch)
	var rest []int32
	for range 50 {
		rest = append(rest, w.request(apiVersions(4)))
	}
	receive[*kmsg.FetchResponse](w, fetch, first)
	for _, id := range rest {
		receive[*kmsg.ApiVersionsResponse](w, apiVersions(4), id)
	}
}

func fetchRequest(offset int64, wait time.Duration, partitions ...int32) *kmsg.FetchRequest {
	q := kmsg.NewPtrFetchRequest()
	q.Version, q.MaxWaitMillis, q.MinBytes, q.MaxBytes = 12, int32(wait.Milliseconds()), 1, 1<<20
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = "iot.sensors"
	for _, number := range append([]int32{}, partitions...) {
		topic.Partitions = append(topic.Partitions, fetchPartitionRequest(number, offset))
	}
	if len(partitions) == 0 {
		topic.Partitions = append(topic.Partitions, fetchPartitionRequest(0, offset))
	}
	q.Topics = append(q.Topics, topic)
	return q
}

func fetchPartitionRequest(number int32, offset int64) kmsg.FetchRequestTopicPartition {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = number, offset, 1<<20
	return p
}

func TestFetchVersions(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	k.put(k.sensors(1), 1, 2)
	for version := int16(4); version <= 12; version++ {
		q := fetchRequest(1, time.Second)
		q.Version = version
		r := exchange[*kmsg.FetchResponse](k.dial(), q)
		p := r.Topics[0].Partitions[0]
		var b kmsg.RecordBatch
		if err := b.ReadFrom(p.RecordBatches); err != nil {
			t.Fatal(err)
		}
		if r.SessionID != 0 || p.ErrorCode != 0 || p.HighWatermark != 2 || b.FirstOffset != 1 || b.NumRecords != 1 || b.Magic != 2 ||
			version >= 4 && p.LastStableOffset != 2 || version >= 5 && p.LogStartOffset != 0 {
			t.Errorf("version %d: %+v", version, p)
		}
	}
}

func TestFetchErrors(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	k.put(k.sensors(1), 1)
	w := k.dial()
	edits := map[string]struct {
		edit func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition)
		want errorCode
	}{
		"beyond the end":  {func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.FetchOffset = 2 }, errOffsetOutOfRange},
		"below the start": {func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.FetchOffset = -1 }, errOffsetOutOfRange},
		"no partition":    {func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.Partition = 1 }, errUnknownTopicOrPartition},
		"no topic":        {func(q *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { q.Topics[0].Topic = "x" }, errUnknownTopicOrPartition},
		"system table": {func(q *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) {
			q.Topics[0].Topic = "system.consumer_groups"
		}, errUnknownTopicOrPartition},
		"later epoch": {func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = 1 }, errUnknownLeaderEpoch},
	}
	for name, c := range edits {
		q := fetchRequest(0, 10*time.Second)
		c.edit(q, &q.Topics[0].Partitions[0])
		begun := time.Now()
		p := exchange[*kmsg.FetchResponse](w, q).Topics[0].Partitions[0]
		if p.ErrorCode != c.want || p.RecordBatches == nil || time.Since(begun) > 5*time.Second {
			t.Errorf("%s: error %d after %s, records %v", name, p.ErrorCode, time.Since(begun), p.RecordBatches)
		}
	}
	q := fetchRequest(0, time.Second)
	q.SessionID = 7
	if r := exchange[*kmsg.FetchResponse](w, q); r.ErrorCode != errFetchSessionIDNotFound {
		t.Errorf("a session nobody gave: error %d", r.ErrorCode)
	}
}

func TestRepeatedPartitionIsRefused(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	k.put(k.sensors(1), 1)
	got := exchange[*kmsg.FetchResponse](k.dial(), fetchRequest(0, time.Hour, 0, 0)).Topics[0].Partitions
	if got[0].ErrorCode != errNone || len(got[0].RecordBatches) == 0 || got[1].ErrorCode != errInvalidRequest || got[1].RecordBatches == nil {
		t.Errorf("%+v", got)
	}
}

// A fetch at the end waits: for the time given if nothing comes, and not a moment longer than needed if something does.
func TestLongPoll(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(4)
	w := k.dial()
	begun := time.Now()
	r := exchange[*kmsg.FetchResponse](w, fetchRequest(0, 150*time.Millisecond, 0, 1, 2, 3))
	if took := time.Since(begun); took < 150*time.Millisecond {
		t.Errorf("an empty fetch answers after %s", took)
	}
	for _, p := range r.Topics[0].Partitions {
		if p.RecordBatches == nil || len(p.RecordBatches) > 0 || p.ErrorCode != 0 || p.HighWatermark != 0 {
			t.Errorf("empty fetch: %+v", p)
		}
	}
	q := fetchRequest(0, time.Minute, 0, 1, 2, 3)
	id := w.request(q)
	eventually(t, "the fetch to wait", func() bool { return k.waiting() == 1 })
	at := k.put(sensors, 1)[0]
	p := receive[*kmsg.FetchResponse](w, q, id).Topics[0].Partitions[at.ID]
	if len(p.RecordBatches) == 0 || p.HighWatermark != 1 {
		t.Errorf("woken fetch: %+v", p)
	}
}

// waiting counts the connections whose request is being answered.
func (k *stack) waiting() int {
	k.server.mu.Lock()
	defer k.server.mu.Unlock()
	n := 0
	for c := range k.server.conns {
		if c.busy.Load() {
			n++
		}
	}
	return n
}

func TestMinBytes(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(1)
	w := k.dial()
	q := fetchRequest(0, time.Minute)
	q.MinBytes = 500
	id := w.request(q)
	var n int64
	for range 20 {
		k.put(sensors, n)
		n++
	}
	p := receive[*kmsg.FetchResponse](w, q, id).Topics[0].Partitions[0]
	if len(p.RecordBatches) < 500 {
		t.Errorf("%d bytes", len(p.RecordBatches))
	}
}

// However small the limits, a response carries a record, and over a few of them every partition has its turn.
func TestTinyLimits(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	k.putBatch(k.sensors(4), 0, 100)
	w := k.dial()
	served := make(map[int32]int)
	for range 8 {
		q := fetchRequest(0, time.Second, 0, 1, 2, 3)
		q.MaxBytes = 1
		for i := range q.Topics[0].Partitions {
			q.Topics[0].Partitions[i].PartitionMaxBytes = 1
		}
		full := 0
		for _, p := range exchange[*kmsg.FetchResponse](w, q).Topics[0].Partitions {
			if len(p.RecordBatches) > 0 {
				served[p.Partition]++
				full++
			}
		}
		if full != 1 {
			t.Fatalf("%d partitions in a response", full)
		}
	}
	if len(served) != 4 {
		t.Errorf("served %v", served)
	}
}

func TestOffsetForLeaderEpoch(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	k.put(k.sensors(1), 1, 2)
	q := kmsg.NewPtrOffsetForLeaderEpochRequest()
	q.Version = 4
	topic := kmsg.NewOffsetForLeaderEpochRequestTopic()
	topic.Topic = "iot.sensors"
	for _, epoch := range []int32{0, 1} {
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.LeaderEpoch = epoch
		topic.Partitions = append(topic.Partitions, p)
	}
	q.Topics = append(q.Topics, topic)
	got := exchange[*kmsg.OffsetForLeaderEpochResponse](k.dial(), q).Topics[0].Partitions
	if got[0].EndOffset != 2 || got[0].LeaderEpoch != 0 || got[1].EndOffset != -1 {
		t.Errorf("%+v", got)
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	k := startStack(t, func(o *Options) { o.AdvertisedAddress = "kalam.example:9999" })
	k.sensors(2)
	id := k.server.currentTopics().topic("iot.sensors").id
	name := func(n string) kmsg.MetadataRequestTopic { return kmsg.MetadataRequestTopic{Topic: &n} }
	for version := range int16(13) {
		ask := func(topics []kmsg.MetadataRequestTopic) *kmsg.MetadataResponse {
			q := kmsg.NewPtrMetadataRequest()
			q.Version, q.Topics = version, topics
			r := exchange[*kmsg.MetadataResponse](k.dial(), q)
			if b := r.Brokers; len(b) != 1 || b[0].Host != "kalam.example" || b[0].Port != 9999 || b[0].NodeID != 1 {
				t.Fatalf("version %d: brokers %+v", version, b)
			}
			if version >= 1 && r.ControllerID != 1 || version >= 2 && (r.ClusterID == nil || *r.ClusterID == "") {
				t.Fatalf("version %d: %+v", version, r)
			}
			return r
		}
		none := 0
		if version == 0 {
			none = 2
		}
		if got := len(ask([]kmsg.MetadataRequestTopic{}).Topics); got != none {
			t.Errorf("version %d: %d topics for an empty list", version, got)
		}
		if version >= 1 {
			if got := len(ask(nil).Topics); got != 2 {
				t.Errorf("version %d: %d topics for no list", version, got)
			}
		}
		got := ask([]kmsg.MetadataRequestTopic{name("iot.sensors"), name("nope"), name("")}).Topics
		if got[0].ErrorCode != 0 || len(got[0].Partitions) != 2 || got[1].ErrorCode != errUnknownTopicOrPartition || got[2].ErrorCode != errInvalidTopic {
			t.Errorf("version %d: %+v", version, got)
		}
		if version >= 10 && (got[0].TopicID != id || id == topicID{}) {
			t.Errorf("version %d: topic id %v", version, got[0].TopicID)
		}
		if version >= 12 {
			got = ask([]kmsg.MetadataRequestTopic{{TopicID: id}, {TopicID: topicID{9}}}).Topics
			if got[0].ErrorCode != 0 || *got[0].Topic != "iot.sensors" || got[1].ErrorCode != errUnknownTopicID {
				t.Errorf("by id: %+v", got)
			}
		}
	}
}

func TestDescribeCluster(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	q := kmsg.NewPtrDescribeClusterRequest()
	q.Version, q.EndpointType = 1, endpointBrokers
	r := exchange[*kmsg.DescribeClusterResponse](k.dial(), q)
	host, _, _ := net.SplitHostPort(k.addr)
	if r.ErrorCode != 0 || len(r.Brokers) != 1 || r.Brokers[0].Host != host || r.ClusterID != "kalam" || r.ControllerID != 1 {
		t.Errorf("%+v", r)
	}
}

func TestProduceIsRefused(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	k.sensors(1)
	w := k.dial()
	q := kmsg.NewPtrProduceRequest()
	q.Version, q.Acks = 9, -1
	topic, p := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	topic.Topic, p.Records = "iot.sensors", []byte("whatever")
	topic.Partitions = append(topic.Partitions, p)
	q.Topics = append(q.Topics, topic)
	r := exchange[*kmsg.ProduceResponse](w, q).Topics[0].Partitions[0]
	if r.ErrorCode != errPolicyViolation || r.ErrorMessage == nil || !strings.Contains(*r.ErrorMessage, "iot.sensors") {
		t.Errorf("%+v", r)
	}
	q.Version = 2
	if r = exchange[*kmsg.ProduceResponse](w, q).Topics[0].Partitions[0]; r.ErrorCode != errUnsupportedVersion {
		t.Errorf("old records: %+v", r)
	}
	q.Version, q.Acks = 9, 0
	w.request(q)
	w.closed()
}

// Close answers what waits, and returns when all connections are closed.
func TestCloseDrains(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	k.sensors(1)
	idle, polling := k.dial(), k.dial()
	exchange[*kmsg.ApiVersionsResponse](idle, apiVersions(0))
	q := fetchRequest(0, time.Hour)
	id := polling.request(q)
	eventually(t, "the fetch to wait", func() bool { return k.waiting() == 1 })
	k.stopServer()
	receive[*kmsg.FetchResponse](polling, q, id)
	polling.closed()
	idle.closed()
	if err := k.server.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	k.serve(k.addr)
}

// A client that hangs up while its fetch waits does not keep the server busy.
func TestHangUpEndsTheWait(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	k.sensors(1)
	w := k.dial()
	w.request(fetchRequest(0, time.Hour))
	eventually(t, "the fetch to wait", func() bool { return k.waiting() == 1 })
	w.Close()
	eventually(t, "the connection to end", func() bool {
		k.server.mu.Lock()
		defer k.server.mu.Unlock()
		return len(k.server.conns) == 0
	})
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	k := startStack(t, func(o *Options) { o.IdleTimeout = 50 * time.Millisecond })
	k.sensors(1)
	k.dial().closed()
	w := k.dial()
	q := fetchRequest(0, 200*time.Millisecond) // longer than the timeout: a connection that waits for us is not idle
	receive[*kmsg.FetchResponse](w, q, w.request(q))
	w.closed()
}

func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	k := startStack(t, func(o *Options) { o.MaxConnections = 1 })
	w := k.dial()
	exchange[*kmsg.ApiVersionsResponse](w, apiVersions(0))
	k.dial().closed()
	w.Close()
	eventually(t, "room for another", func() bool {
		k.server.mu.Lock()
		defer k.server.mu.Unlock()
		return len(k.server.conns) == 0
	})
	exchange[*kmsg.ApiVersionsResponse](k.dial(), apiVersions(0))
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	k := startStack(t, func(o *Options) { o.Registerer = r })
	k.put(k.sensors(1), 1)
	w := k.dial()
	exchange[*kmsg.FetchResponse](w, fetchRequest(0, 0))
	got := make(map[string]float64)
	for _, f := range must(r.Gather())(t) {
		for _, m := range f.GetMetric() {
			got[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if got["kalam_kafka_requests_total"] != 1 || got["kalam_kafka_connections"] != 1 || got["kalam_kafka_fetch_bytes_total"] < 100 {
		t.Errorf("%v", got)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := New(Options{AdvertisedAddress: "nowhere"}); err == nil || !strings.Contains(err.Error(), "required") ||
		!strings.Contains(err.Error(), "nowhere") {
		t.Errorf("%v", err)
	}
}

// retain deletes what lies before offset from partition 0 of a table, as retention does once it is flushed.
func (k *stack) retain(t *materializer.Table, offset log.Offset) {
	k.t.Helper()
	p := log.Partition{Table: t.ID}
	last := must(k.log.Read(p, offset-1, 1))(k.t)
	flushed, starts := k.state.Catalog().TableByID(materializer.SystemFlushed), k.state.Catalog().TableByID(materializer.SystemLogStarts)
	one := expr.IntOf(expr.BigInt, 1)
	k.write([]materializer.Mutation{
		must(flushed.NewRow(materializer.Upsert, []expr.Value{
			expr.IntOf(expr.BigInt, int64(t.ID)), expr.IntOf(expr.Integer, 0), expr.IntOf(expr.BigInt, int64(offset)), one,
		}))(k.t),
		must(starts.NewRow(materializer.Upsert, materializer.LogStartRow(p, materializer.LogStart{
			Start: log.Start{Offset: offset, Index: last[0].Index},
		}, 1)))(k.t),
	})
}

func TestTrimmedLog(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(1)
	k.put(sensors, 1, 2, 3)
	behind := k.consumer(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"iot.sensors": {0: kgo.NewOffset().At(0)}}), kgo.FetchMaxBytes(1), kgo.MaxBufferedRecords(1))
	if first := poll(t, behind, 1); first[0].Offset != 0 {
		t.Fatalf("offset %d", first[0].Offset)
	}
	k.retain(sensors, 2)
	w := k.dial()
	for offset, want := range []errorCode{errOffsetOutOfRange, errOffsetOutOfRange, errNone} {
		p := exchange[*kmsg.FetchResponse](w, fetchRequest(int64(offset), 0)).Topics[0].Partitions[0]
		if p.ErrorCode != want || p.LogStartOffset != 2 || p.HighWatermark != 3 {
			t.Errorf("offset %d: %+v", offset, p)
		}
	}
	records := poll(t, k.consumer(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		"iot.sensors": {0: kgo.NewOffset().At(0)},
	})), 1)
	if records[0].Offset != 2 {
		t.Errorf("a consumer of what is gone is set to %d", records[0].Offset)
	}
	if got := k.kcat("-C", "-q", "-e", "-t", "iot.sensors", "-o", "beginning", "-f", "%o\n"); !slices.Equal(got, []string{"2"}) {
		t.Errorf("kcat from the beginning has %v", got)
	}
	k.retain(sensors, 3)
	if got := k.kcat("-Q", "-t", "iot.sensors:0:-2"); !slices.Equal(got, []string{"iot.sensors [0] offset 3"}) {
		t.Errorf("the earliest offset of an empty log: %v", got)
	}
	k.put(sensors, 4)
	for at := int64(1); at < 3; { // the records it had fetched may come first
		records := poll(t, behind, 1)
		if at = records[0].Offset; at != 1 && at != 2 && at != 3 {
			t.Errorf("a consumer that was overtaken goes on at %d", at)
		}
	}
}

// brokenLog fails to read.
type brokenLog struct{ Log }

func (brokenLog) Read(log.Partition, log.Offset, int) ([]log.Record, error) {
	return nil, errors.New("disk on fire")
}

func TestUnreadableLog(t *testing.T) {
	t.Parallel()
	k := startStack(t, func(o *Options) { o.Log = brokenLog{o.Log} })
	k.put(k.sensors(1), 1)
	w := k.dial()
	if p := exchange[*kmsg.FetchResponse](w, fetchRequest(0, time.Hour)).Topics[0].Partitions[0]; p.ErrorCode != errStorage {
		t.Errorf("%+v", p)
	}
	exchange[*kmsg.ApiVersionsResponse](w, apiVersions(0))
}
