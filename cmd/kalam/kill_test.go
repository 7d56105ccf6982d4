package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tmaxmax/go-sse"
	"github.com/twmb/franz-go/pkg/kgo"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/process"
	"kalamlog.dev/kalam/materializer/storage/redis/redistest"
)

const (
	kills        = 20
	killsBackend = 6 // of each backend but the default
	killClients  = 4
)

// TestKill kills the server with SIGKILL at random moments under load, sometimes while it is still starting, and checks after each
// restart: nothing acknowledged is lost and no retry is applied twice (P1, P3), offsets are dense and what was read once
// is read again (P2), a live query resumes without gap or repetition (P5), flushes count each row
// once (P8), and the state is the fold of the log (P9).
func TestKill(t *testing.T) { newKillRig(t).run(kills) }

// TestKillBbolt is TestKill with the state in bbolt.
func TestKillBbolt(t *testing.T) {
	newKillRig(t, "KALAM_STORAGE_BACKEND=bbolt").run(killsBackend)
}

// TestKillRedis is TestKill with the state in a Redis server, which is killed and started again too.
func TestKillRedis(t *testing.T) {
	server := redistest.Start(t, redistest.Durable...)
	k := newKillRig(t, "KALAM_STORAGE_BACKEND=redis", "KALAM_STORAGE_REDIS="+server.URL())
	k.between = func() {
		server.Kill()
		server.Restart()
	}
	k.run(killsBackend)
}

func (k *killRig) run(kills int) {
	t, seed := k.t, testSeed(k.t)
	rnd := rand.New(rand.NewPCG(seed, 0))
	k.start()
	k.sql(`CREATE SCHEMA crash; CREATE TABLE crash.items (id TEXT PRIMARY KEY, n BIGINT NOT NULL, note TEXT)`)
	for i := range killClients {
		k.clients = append(k.clients, newKillClient(i, rand.New(rand.NewPCG(seed, uint64(i+1)))))
	}
	for round := range kills {
		live := k.subscribe()
		stop := k.load()
		time.Sleep(time.Duration(50+rnd.IntN(450)) * time.Millisecond) // the load runs until a random moment
		k.server.Kill()
		stop()
		k.collect(live)
		if rnd.IntN(3) == 0 {
			k.killWhileStarting(time.Duration(rnd.IntN(300)) * time.Millisecond)
		}
		if k.between != nil {
			k.between()
		}
		k.verify()
		k.start()
		k.check(round)
	}
	total := 0
	for _, c := range k.clients {
		total += c.acked
	}
	t.Logf("%d kills, %d acknowledged writes, %d changes", kills, total, k.changes())
	if total < kills*killClients {
		t.Errorf("only %d writes were acknowledged: the load did not run", total)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := k.server.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// killRig is one server over its restarts, and what was seen of it.
type killRig struct {
	t       *testing.T
	options process.Options
	between func() // called while the server is down; may be nil
	server  *process.Server
	clients []*killClient
	topic   map[int32][]record // by partition, every change as Kafka showed it
	live    map[int32][]record // the same as the live query showed it
	lastID  string
}

// record is a change as a reader sees it: the row's key and its n after the change, -1 for a delete.
type record struct {
	id string
	n  int64
}

// newKillRig takes settings of the server as variables.
func newKillRig(t *testing.T, env ...string) *killRig {
	t.Helper()
	return &killRig{
		t:       t,
		options: process.Options{Binary: kalamBinary(t), Data: t.TempDir(), Env: env, HTTP: freeAddress(t), Kafka: freeAddress(t)},
		topic:   map[int32][]record{},
		live:    map[int32][]record{},
	}
}

func (k *killRig) start() {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 60*time.Second)
	defer cancel()
	server, err := process.Start(ctx, k.options)
	if err != nil {
		k.t.Fatal(err)
	}
	k.server = server
	k.t.Cleanup(server.Kill)
}

// killWhileStarting starts the server and kills it before or shortly after it is ready.
func (k *killRig) killWhileStarting(after time.Duration) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), after)
	defer cancel()
	server, err := process.Start(ctx, k.options)
	if err == nil {
		server.Kill()
		return
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		k.t.Fatal(err)
	}
}

// verify folds the log of the stopped server again and compares it with its state.
func (k *killRig) verify() {
	k.t.Helper()
	cmd := exec.CommandContext(k.t.Context(), k.options.Binary, "verify", "--data", k.options.Data)
	cmd.Env = append(os.Environ(), k.options.Env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		k.t.Fatalf("kalam verify: %v\n%s", err, out)
	}
}

func (k *killRig) sql(sql string) []wire.Result {
	k.t.Helper()
	results, err := k.server.SQL(k.t.Context(), sql)
	if err != nil {
		k.t.Fatalf("%s: %v\n%s", sql, err, k.server.Output())
	}
	return results
}

// load runs every client, and flushes one after the other, until the server is gone; the returned function waits for them.
func (k *killRig) load() (wait func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if _, err := k.server.SQL(k.t.Context(), `FLUSH TABLE crash.items`); err != nil {
				return
			}
			select {
			case <-k.server.Exited():
			case <-time.After(30 * time.Millisecond):
			}
		}
	})
	for _, c := range k.clients {
		wg.Go(func() { c.run(k.t.Context(), k.server) })
	}
	return wg.Wait
}

// check reads everything back after a restart.
func (k *killRig) check(round int) {
	k.t.Helper()
	rows := map[string]int64{}
	for _, row := range k.sql(`SELECT id, n FROM crash.items`)[0].Rows {
		var id string
		var n int64
		if err := errors.Join(json.Unmarshal(row[0], &id), json.Unmarshal(row[1], &n)); err != nil {
			k.t.Fatal(err)
		}
		if _, twice := rows[id]; twice {
			k.t.Fatalf("round %d: SELECT gave key %s twice", round, id)
		}
		rows[id] = n
	}
	for _, c := range k.clients {
		c.check(k.t, round, rows)
	}
	k.readTopic(round)
	k.catchUp(round)
	k.compareFold(round, rows)
}

// compareFold folds the topic and expects SELECT's rows.
func (k *killRig) compareFold(round int, rows map[string]int64) {
	k.t.Helper()
	fold := map[string]int64{}
	for _, records := range k.topic {
		for _, r := range records {
			if r.n < 0 {
				delete(fold, r.id)
			} else {
				fold[r.id] = r.n
			}
		}
	}
	if !maps.Equal(fold, rows) {
		k.t.Fatalf("round %d: the folded topic has %d rows and differs from SELECT's %d", round, len(fold), len(rows))
	}
}

// readTopic consumes the topic from offset 0 to its end and compares with what it gave before.
func (k *killRig) readTopic(round int) {
	k.t.Helper()
	ends := k.ends()
	client, err := kgo.NewClient(kgo.SeedBrokers(k.server.Kafka), kgo.ConsumeTopics("crash.items"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		k.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(k.t.Context(), 30*time.Second)
	defer cancel()
	fresh := map[int32][]record{}
	for !reached(fresh, ends) {
		fetches := client.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			k.t.Fatalf("round %d: fetch: %v", round, e.Err)
		}
		for r := range fetches.RecordsAll() {
			if got, want := r.Offset, int64(len(fresh[r.Partition])); got != want {
				k.t.Fatalf("round %d: partition %d: offset %d where %d was due", round, r.Partition, got, want)
			}
			fresh[r.Partition] = append(fresh[r.Partition], kafkaRecord(k.t, r))
		}
	}
	for p, before := range k.topic {
		comparePrefix(k.t, round, "the topic", p, before, fresh[p])
	}
	k.topic = fresh
}

func (k *killRig) changes() (n int) {
	for _, records := range k.topic {
		n += len(records)
	}
	return n
}

func comparePrefix(t *testing.T, round int, what string, p int32, before, after []record) {
	t.Helper()
	if len(after) < len(before) {
		t.Fatalf("round %d: %s of partition %d has %d changes, had %d", round, what, p, len(after), len(before))
	}
	for i, r := range before {
		if after[i] != r {
			t.Fatalf("round %d: %s of partition %d at offset %d: %+v, was %+v", round, what, p, i, after[i], r)
		}
	}
}

// ends asks SQL for the number of changes of each partition, by the newest offset of the rows; the topic's own end may be later.
func (k *killRig) ends() map[int32]int64 {
	k.t.Helper()
	ends := map[int32]int64{}
	for _, row := range k.sql(`SELECT _partition, max(_offset) + 1 FROM crash.items GROUP BY _partition`)[0].Rows {
		p, err := strconv.Atoi(string(row[0]))
		if err != nil {
			k.t.Fatal(err)
		}
		if ends[int32(p)], err = strconv.ParseInt(string(row[1]), 10, 64); err != nil {
			k.t.Fatal(err)
		}
	}
	return ends
}

func reached(have map[int32][]record, ends map[int32]int64) bool {
	for p, end := range ends {
		if int64(len(have[p])) < end {
			return false
		}
	}
	return true
}

func kafkaRecord(t *testing.T, r *kgo.Record) record {
	t.Helper()
	rec := record{n: -1}
	if err := json.Unmarshal(r.Key, &rec.id); err != nil {
		t.Fatalf("key %q: %v", r.Key, err)
	}
	if r.Value == nil {
		return rec
	}
	var row struct{ N int64 }
	if err := json.Unmarshal(r.Value, &row); err != nil {
		t.Fatalf("value %q: %v", r.Value, err)
	}
	rec.n = row.N
	return rec
}

// liveStream is one connection of the live query.
type liveStream struct {
	events chan sse.Event
	cancel context.CancelFunc
}

// subscribe opens the live query where the last connection ended.
func (k *killRig) subscribe() *liveStream {
	k.t.Helper()
	ctx, cancel := context.WithCancel(k.t.Context())
	query := url.Values{"sql": {"SELECT id, n FROM crash.items"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.server.URL+"/v1/subscribe?"+query.Encode(), nil)
	if err != nil {
		k.t.Fatal(err)
	}
	if k.lastID != "" {
		req.Header.Set("Last-Event-ID", k.lastID)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		k.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		k.t.Fatalf("subscribe: %s", res.Status)
	}
	s := &liveStream{events: make(chan sse.Event, 1<<16), cancel: cancel}
	go func() {
		defer close(s.events)
		defer res.Body.Close()
		for e, err := range sse.Read(res.Body, nil) {
			if err != nil {
				return // the server was killed
			}
			s.events <- e
		}
	}()
	return s
}

// collect takes in all events of a stream that has broken off.
func (k *killRig) collect(s *liveStream) {
	k.t.Helper()
	for e := range s.events {
		k.take(e)
	}
	s.cancel()
}

// catchUp resumes the live query and reads until it has seen all that the topic has.
func (k *killRig) catchUp(round int) {
	k.t.Helper()
	s := k.subscribe()
	deadline := time.After(30 * time.Second)
	for !k.caughtUp() {
		select {
		case e, open := <-s.events:
			if !open {
				k.t.Fatalf("round %d: the live query ended", round)
			}
			k.take(e)
		case <-deadline:
			k.t.Fatalf("round %d: the live query did not catch up", round)
		}
	}
	s.cancel()
	k.collect(s)
	for p, records := range k.topic {
		comparePrefix(k.t, round, "the live query beside the topic", p, records, k.live[p])
	}
}

func (k *killRig) caughtUp() bool {
	for p, records := range k.topic {
		if len(k.live[p]) < len(records) {
			return false
		}
	}
	return true
}

func (k *killRig) take(e sse.Event) {
	k.t.Helper()
	if e.LastEventID != "" {
		k.lastID = e.LastEventID
	}
	var p struct {
		Row, New *struct {
			ID string
			N  int64
		}
		Partition int32
		Offset    int64
	}
	if err := json.Unmarshal([]byte(e.Data), &p); err != nil {
		k.t.Fatalf("event %s %q: %v", e.Type, e.Data, err)
	}
	var r record
	switch e.Type {
	case "insert":
		r = record{p.Row.ID, p.Row.N}
	case "update":
		r = record{p.New.ID, p.New.N}
	case "delete":
		r = record{p.Row.ID, -1}
	case "reset", "error", "row":
		k.t.Fatalf("the live query got %s %s", e.Type, e.Data)
	default:
		return
	}
	if want := int64(len(k.live[p.Partition])); p.Offset != want {
		k.t.Fatalf("the live query got offset %d of partition %d where %d was due", p.Offset, p.Partition, want)
	}
	k.live[p.Partition] = append(k.live[p.Partition], r)
}

// killClient writes its own keys, one request at a time, and remembers what each must be. A request whose answer did not come is
// repeated with the same idempotency key when the server is back.
type killClient struct {
	id      int
	rnd     *rand.Rand
	seq     int
	acked   int
	rows    map[string]int64
	keys    []string
	pending *killWrite
	err     error
}

// killWrite is one write and its effect: the key's n afterwards, -1 for a delete.
type killWrite struct {
	path, body, idempotency string
	key                     string
	n                       int64
}

func newKillClient(id int, rnd *rand.Rand) *killClient {
	return &killClient{id: id, rnd: rnd, rows: map[string]int64{}}
}

// run writes until a request fails for lack of a server.
func (c *killClient) run(ctx context.Context, s *process.Server) {
	for c.err == nil {
		if c.pending == nil {
			c.pending = c.next()
		}
		w := c.pending
		header := http.Header{"Idempotency-Key": {w.idempotency}}
		err := s.Call(ctx, http.MethodPost, w.path, "application/json", strings.NewReader(w.body), header, nil)
		var refused *process.RefusedError
		if errors.As(err, &refused) && refused.Reply.Code != "shutting_down" && refused.Reply.Code != "timeout" {
			c.err = fmt.Errorf("client %d: %s %s: %w", c.id, w.path, w.body, err)
			return
		}
		if err != nil {
			return
		}
		c.done(w)
	}
}

func (c *killClient) done(w *killWrite) {
	if w.n < 0 {
		delete(c.rows, w.key)
	} else {
		c.rows[w.key] = w.n
	}
	c.pending = nil
	c.acked++
}

// next picks a write: insert a new key, add to one by SQL, replace one, delete one.
func (c *killClient) next() *killWrite {
	c.seq++
	w := &killWrite{idempotency: fmt.Sprintf("client-%d-%d", c.id, c.seq)}
	if len(c.rows) == 0 || c.rnd.IntN(3) == 0 {
		w.key, w.n = fmt.Sprintf("c%d-%d", c.id, c.seq), 0
		c.keys = append(c.keys, w.key)
		w.path, w.body = "/v1/tables/crash/items/rows?mode=insert", rowJSON(w.key, 0)
		return w
	}
	w.key = c.existing()
	switch c.rnd.IntN(4) {
	case 0, 1:
		w.n = c.rows[w.key] + 1
		w.path = "/v1/sql"
		w.body = fmt.Sprintf(`{"sql": "UPDATE crash.items SET n = n + 1 WHERE id = $1", "params": [%q]}`, w.key)
	case 2:
		w.n = c.rows[w.key] + 1 + c.rnd.Int64N(1000) // another value: a live query is silent about a change of nothing it selects
		w.path, w.body = "/v1/tables/crash/items/rows?mode=upsert", rowJSON(w.key, w.n)
	default:
		w.n = -1
		w.path, w.body = "/v1/tables/crash/items/rows?mode=delete", fmt.Sprintf(`{"id": %q}`, w.key)
	}
	return w
}

// existing picks a key that is there, the same for the same seed.
func (c *killClient) existing() string {
	for {
		key := c.keys[c.rnd.IntN(len(c.keys))]
		if _, ok := c.rows[key]; ok {
			return key
		}
	}
}

func rowJSON(id string, n int64) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"id": %q, "n": %d, "note": "written by a client"}`, id, n)
	return b.String()
}

// check compares the client's keys with the rows that are there. The key of a pending write may be either way.
func (c *killClient) check(t *testing.T, round int, rows map[string]int64) {
	t.Helper()
	if c.err != nil {
		t.Fatalf("round %d: %v", round, c.err)
	}
	for _, key := range c.keys {
		want, exists := c.rows[key]
		got, there := rows[key]
		if there == exists && got == want {
			continue
		}
		if w := c.pending; w != nil && w.key == key && there == (w.n >= 0) && (!there || got == w.n) {
			continue
		}
		t.Fatalf("round %d: key %s: there %v n %d; acknowledged: there %v n %d; pending %+v", round, key, there, got, exists, want, c.pending)
	}
}
