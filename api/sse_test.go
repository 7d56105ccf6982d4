package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/pebble"
	"kalamlog.dev/kalam/query"
	"kalamlog.dev/kalam/query/expr"
	"kalamlog.dev/kalam/subscribe"
)

// liveRig is a server over a folder, with one table t(id BIGINT, name TEXT, doc JSON).
type liveRig struct {
	t        *testing.T
	dir      string
	log      *log.Log
	registry *subscribe.Registry
	writer   *materializer.Writer
	state    *materializer.Materializer
	http     *httptest.Server
}

func newLiveRig(t *testing.T) *liveRig {
	t.Helper()
	r := &liveRig{t: t, dir: t.TempDir()}
	r.start()
	t.Cleanup(r.stop)
	r.createTable()
	return r
}

func (r *liveRig) start() {
	r.t.Helper()
	must := func(err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	var err error
	r.state, err = materializer.New(materializer.Options{Backend: func(before func() error) (storage.Backend, error) {
		return pebble.Open(pebble.Options{Dir: filepath.Join(r.dir, "state"), BeforeDurable: before})
	}})
	must(err)
	r.log, err = log.Open(r.t.Context(), log.Options{Dir: r.dir, Fold: r.state, Logger: slog.New(slog.DiscardHandler)})
	must(err)
	r.writer = materializer.NewWriter(r.log)
	r.registry = subscribe.New(subscribe.Options{Log: r.log, Materializer: r.state, Progress: 10 * time.Millisecond})
	s, err := New(Options{
		Engine: new(query.Engine), Registry: r.registry, Log: r.log, Materializer: r.state, Writer: r.writer,
		IDs: materializer.NewIDs(1),
	})
	must(err)
	r.http = httptest.NewServer(s)
}

func (r *liveRig) stop() {
	if err := errors.Join(r.registry.Close(), r.log.Close()); err != nil {
		r.t.Error(err)
	}
	r.http.Close()
}

func (r *liveRig) createTable() {
	r.t.Helper()
	def := &materializer.Table{Namespace: "default", Name: "t", Partitions: 2, Versions: []*materializer.Schema{{
		Version: 1, Key: []int{0}, Columns: []materializer.Column{
			{Name: "id", Type: expr.Type{Kind: expr.BigInt}, NotNull: true},
			{Name: "name", Type: expr.Type{Kind: expr.Text}},
			{Name: "doc", Type: expr.Type{Kind: expr.JSON}},
		},
	}}}
	_, mutations, err := r.state.Catalog().CreateTable(def, 1)
	if err != nil {
		r.t.Fatal(err)
	}
	r.write(mutations...)
}

func (r *liveRig) write(mutations ...materializer.Mutation) log.Position {
	r.t.Helper()
	receipt, err := r.writer.Write(context.Background(), &materializer.Batch{Mutations: mutations})
	if err != nil {
		r.t.Fatal(err)
	}
	return receipt.Position
}

func (r *liveRig) row(id int64, name string) materializer.Mutation {
	r.t.Helper()
	t, err := r.state.Catalog().Table("default", "t")
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := t.NewRow(materializer.Upsert, []expr.Value{expr.IntOf(expr.BigInt, id), expr.TextOf(name), expr.JSONOf("{\n\"a\":\r\n[1,\r2]}")})
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

// sseFrame is one event as a client reads it.
type sseFrame struct{ event, id, data string }

// sseClient reads a stream as the standard says.
type sseClient struct {
	t        *testing.T
	response *http.Response
	lines    *bufio.Scanner
	lastID   string
	comments int
}

func (r *liveRig) get(headers map[string]string, query ...string) *http.Response {
	r.t.Helper()
	values := url.Values{}
	for i := 0; i < len(query); i += 2 {
		values.Set(query[i], query[i+1])
	}
	return r.do(http.MethodGet, "/v1/subscribe?"+values.Encode(), "", headers)
}

func (r *liveRig) do(method, path, body string, headers map[string]string) *http.Response {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	r.t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, method, r.http.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := r.http.Client().Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { response.Body.Close() })
	return response
}

func (r *liveRig) stream(response *http.Response) *sseClient {
	r.t.Helper()
	if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(got, "text/event-stream") {
		body, _ := io.ReadAll(response.Body)
		r.t.Fatalf("status %d, type %q: %s", response.StatusCode, got, body)
	}
	c := &sseClient{t: r.t, response: response, lines: bufio.NewScanner(response.Body)}
	c.lines.Buffer(nil, 1<<20)
	return c
}

// next returns the next event; ok is false at the end of the stream.
func (c *sseClient) next() (f sseFrame, ok bool) {
	c.t.Helper()
	var data []string
	for c.lines.Scan() {
		line := c.lines.Text()
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && f.event != "":
			f.data = strings.Join(data, "\n")
			return f, true
		case line == "", field == "retry":
		case field == "":
			c.comments++
		case field == "event":
			f.event = value
		case field == "id":
			f.id, c.lastID = value, value
		case field == "data":
			data = append(data, value)
		default:
			c.t.Errorf("line %q", line)
		}
	}
	return f, false
}

// until returns the events up to the first of a type.
func (c *sseClient) until(event string) []sseFrame {
	c.t.Helper()
	var all []sseFrame
	for {
		f, ok := c.next()
		if !ok {
			c.t.Fatalf("the stream ended before %s: %v (%v)", event, all, c.lines.Err())
		}
		if !json.Valid([]byte(f.data)) {
			c.t.Errorf("%s is not JSON: %s", f.event, f.data)
		}
		moves := slices.Contains([]string{"ready", "insert", "update", "delete", "progress"}, f.event)
		if moves != (f.id != "") {
			c.t.Errorf("%s has id %q", f.event, f.id)
		}
		if all = append(all, f); f.event == event {
			return all
		}
	}
}

func (c *sseClient) close() { c.response.Body.Close() }

func TestStreamResumesByLastEventID(t *testing.T) {
	r := newLiveRig(t)
	r.write(r.row(1, "one"), r.row(2, "two"))
	response := r.get(nil, "sql", "SELECT id, doc FROM t WHERE name <> $1", "params", `["two"]`)
	for name, want := range map[string]string{"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	c := r.stream(response)
	first := c.until("ready")
	if len(first) != 3 || !strings.Contains(first[1].data, `"id":1`) {
		t.Fatalf("got %v", first)
	}
	early := c.lastID
	r.write(r.row(3, "three"), r.row(4, "four"), r.row(5, "five"))
	got := c.until("insert")
	inside := c.lastID
	c.close()
	r.stop()
	r.start()

	again := r.stream(r.get(map[string]string{"Last-Event-ID": inside}, "sql", "SELECT id FROM t", "from", early))
	rest := again.until("insert")
	rest = append(rest, again.until("insert")...)
	ids := func(frames []sseFrame) (out []string) {
		for _, f := range frames {
			if f.event == "insert" {
				var p struct{ Row struct{ ID json.Number } }
				if err := json.Unmarshal([]byte(f.data), &p); err != nil {
					t.Error(err)
				}
				out = append(out, p.Row.ID.String())
			}
		}
		return out
	}
	all := append(ids(got), ids(rest)...)
	slices.Sort(all)
	if !slices.Equal(all, []string{"3", "4", "5"}) || !strings.Contains(inside, ".") {
		t.Errorf("got %v with id %s between", all, inside)
	}
	r.write(r.row(2, "renamed")) // outside the projection
	if p := again.until("progress"); p[len(p)-1].id == "" {
		t.Error("no progress")
	}
}

func TestStreamByPost(t *testing.T) {
	r := newLiveRig(t)
	r.write(r.row(1, "one"))
	at := r.write(r.row(2, "two"))
	body := fmt.Sprintf(`{"sql":"SUBSCRIBE TO SELECT name FROM t WHERE id > $1","params":[0],"last_rows":1,"at_least":%q,"namespace":"default"}`, at)
	c := r.stream(r.do(http.MethodPost, "/v1/subscribe", body, map[string]string{"Content-Type": "application/json"}))
	if got := c.until("ready"); len(got) != 3 || !strings.Contains(got[1].data, `"two"`) {
		t.Errorf("got %v", got)
	}
	c = r.stream(r.do(http.MethodPost, "/v1/subscribe", `{"sql":"SELECT name FROM t","snapshot":false}`, nil))
	if got := c.until("ready"); len(got) != 2 {
		t.Errorf("got %v", got)
	}
}

func TestStreamRefusals(t *testing.T) {
	r := newLiveRig(t)
	for _, c := range []struct {
		name   string
		query  []string
		status int
		code   problem.Code
	}{
		{"no sql", nil, 400, problem.BadRequest},
		{"unknown table", []string{"sql", "SELECT * FROM missing"}, 404, problem.UnknownTable},
		{"not live", []string{"sql", "SELECT * FROM t ORDER BY id"}, 400, problem.Unsupported},
		{"bad position", []string{"sql", "SELECT * FROM t", "from", "yesterday"}, 400, problem.PositionInvalid},
		{"bad at_least", []string{"sql", "SELECT * FROM t", "at_least", "1:0"}, 400, problem.PositionInvalid},
		{"bad snapshot", []string{"sql", "SELECT * FROM t", "snapshot", "maybe"}, 400, problem.BadRequest},
		{"bad last_rows", []string{"sql", "SELECT * FROM t", "last_rows", "ten"}, 400, problem.BadRequest},
		{"negative last_rows", []string{"sql", "SELECT * FROM t", "last_rows", "-1"}, 400, problem.OutOfRange},
		{"bad params", []string{"sql", "SELECT * FROM t", "params", "{}"}, 400, problem.BadRequest},
	} {
		t.Run(c.name, func(t *testing.T) { expectRefusal(t, r.get(nil, c.query...), c.status, c.code) })
	}
	expectRefusal(t, r.get(map[string]string{"Last-Event-ID": "x"}, "sql", "SELECT * FROM t"), 400, problem.PositionInvalid)
	expectRefusal(t, r.do(http.MethodPost, "/v1/subscribe", `{"sql":5}`, nil), 400, problem.BadJSON)
	expectRefusal(t, r.do(http.MethodPost, "/v1/subscribe", `{"sql":`, nil), 400, problem.BadJSON)
	expectRefusal(t, r.do(http.MethodPost, "/v1/subscribe", strings.Repeat(" ", maxLiveBody+1), nil), 413, problem.BodyTooLarge)
}

func expectRefusal(t *testing.T, response *http.Response, status int, code problem.Code) {
	t.Helper()
	var reply wire.ErrorReply
	if err := json.NewDecoder(response.Body).Decode(&reply); err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != status || reply.Error.Code != string(code) || reply.Error.SQLState == "" {
		t.Errorf("status %d, error %+v; want %d, %s", response.StatusCode, reply.Error, status, code)
	}
}

func TestStreamEnds(t *testing.T) {
	r := newLiveRig(t)
	failing := r.stream(r.get(nil, "sql", "SELECT id FROM t WHERE id + 9223372036854775800 > 0"))
	failing.until("ready")
	drained := r.stream(r.get(nil, "sql", "SELECT id FROM t"))
	drained.until("ready")
	r.write(r.row(100, "too much"))
	all := failing.until("error")
	var reply wire.ErrorReply
	if err := json.Unmarshal([]byte(all[len(all)-1].data), &reply); err != nil || reply.Error.Code != "out_of_range" || reply.Error.SQLState == "" {
		t.Errorf("got %v, %v", all, err)
	}
	if f, ok := failing.next(); ok || failing.lines.Err() != nil {
		t.Errorf("after the error: %v, %v", f, failing.lines.Err())
	}
	drained.until("insert")
	if err := r.registry.Close(); err != nil {
		t.Error(err)
	}
	for {
		f, ok := drained.next()
		if !ok {
			break
		}
		if f.event != "progress" {
			t.Errorf("got %v", f)
		}
	}
	if err := drained.lines.Err(); err != nil {
		t.Errorf("the stream was broken off: %v", err)
	}
	expectRefusal(t, r.get(nil, "sql", "SELECT id FROM t"), 503, problem.ShuttingDown)
}

// TestSlowClient lets a client take nothing while another one and the writer go on; then it still gets everything.
func TestSlowClient(t *testing.T) {
	r := newLiveRig(t)
	slow := r.stream(r.get(nil, "sql", "SELECT id, name FROM t"))
	slow.until("ready")
	quick := r.stream(r.get(nil, "sql", "SELECT id FROM t"))
	quick.until("ready")
	const batches, size = 40, 50
	text := strings.Repeat("x", 5000) // 10 MB in all: more than any socket buffer
	for b := range batches {
		var batch []materializer.Mutation
		for i := range size {
			batch = append(batch, r.row(int64(b*size+i), text))
		}
		r.write(batch...)
	}
	for _, c := range []*sseClient{quick, slow} {
		seen := map[string]bool{}
		for len(seen) < batches*size {
			f := c.until("insert")
			id := f[len(f)-1].id
			if seen[id] {
				t.Fatalf("%s twice", id)
			}
			seen[id] = true
		}
	}
}

func TestFrame(t *testing.T) {
	t.Parallel()
	at := log.PositionOf(log.Part{Group: 1, Index: 7, Seen: 2})
	for _, c := range []struct {
		name  string
		event subscribe.Event
		want  string
	}{
		{"with cursor", subscribe.Event{Type: subscribe.Inserted, Cursor: at, Data: []byte("{}")}, "event: insert\nid: 1:7.2\ndata: {}\n\n"},
		{"without", subscribe.Event{Type: subscribe.InitialRow, Data: []byte("{}")}, "event: row\ndata: {}\n\n"},
		{"empty log", subscribe.Event{Type: subscribe.Ready, Data: []byte("{}")}, "event: ready\nid: 0\ndata: {}\n\n"},
		{"lines", subscribe.Event{Type: subscribe.InitialRow, Data: []byte("a\nb\r\nc\rd\n")}, "event: row\ndata: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"},
	} {
		if got := string(appendFrame(nil, &c.event)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// quietSubscription has nothing to tell for a minute.
type quietSubscription struct{ end context.Context }

func (q quietSubscription) Next(ctx context.Context) ([]subscribe.Event, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-q.end.Done():
		return nil, errors.New("over")
	}
}

func TestHeartbeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end, cancel := context.WithTimeout(t.Context(), time.Minute+time.Second)
		defer cancel()
		s := &Server{limits: Limits{ClientTimeout: time.Minute}}
		w := httptest.NewRecorder()
		stream := s.newEventStream(echo.NewResponse(w, echo.New()))
		if err := stream.open(); err != nil {
			t.Fatal(err)
		}
		stream.pump(t.Context(), quietSubscription{end})
		if got, want := w.Body.String(), "retry: 1000\n\n"+strings.Repeat(":\n\n", 4); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if !w.Flushed {
			t.Error("not flushed")
		}
	})
}
