package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/problem"
)

const itemsPath = "/v1/tables/app/items/rows"

// newItems starts a stack with a table app.items.
func newItems(t testing.TB, limits Limits) *stack {
	t.Helper()
	s := newStack(t, limits)
	s.sql(`CREATE SCHEMA app;
		CREATE TABLE app.items (id BIGINT PRIMARY KEY, name TEXT NOT NULL, price DECIMAL(20,4), n INTEGER DEFAULT 5, tags TEXT[], doc JSON)`)
	return s
}

// refused sends rows that must be refused with a code, and returns the reply.
func (s *stack) refused(code problem.Code, path, body string, header ...string) wire.WriteReply {
	s.t.Helper()
	a := s.do(http.MethodPost, path, strings.NewReader(body), header...)
	var reply wire.WriteReply
	a.decode(s.t, &reply)
	if reply.Error == nil || reply.Error.Code != string(code) || a.status != classOf(code).status {
		s.t.Errorf("POST %s %.60s: status %d, %s, want %s", path, body, a.status, a.body, code)
		reply.Error = &wire.Error{}
	}
	return reply
}

func TestWriteAndReadRows(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{})
	reply := s.write(itemsPath, `[{"id":9007199254740993,"name":"a","price":"1234567890123456.7891","tags":["x","y"],"doc":{"a":[1,{}]}},{"id":2,"name":"b","n":null}]`)
	if reply.RowCount != 2 || reply.Position == "" || len(reply.Offsets) == 0 {
		t.Fatalf("reply %+v", reply)
	}
	a := s.do(http.MethodGet, itemsPath+"/9007199254740993?at_least="+url.QueryEscape(reply.Position), nil)
	var row wire.RowReply
	a.decode(t, &row)
	want := `{"id":9007199254740993,"name":"a","price":"1234567890123456.7891","n":5,"tags":["x","y"],"doc":{"a":[1,{}]}}`
	if !bytes.Contains(a.body, []byte(want)) || a.header.Get("ETag") != `"`+strconv.FormatUint(row.Version, 10)+`"` {
		t.Errorf("status %d, %s, ETag %s", a.status, a.body, a.header.Get("ETag"))
	}
	if got := first(s.sql(`SELECT id, n FROM app.items ORDER BY id`)); got != "2|null\n9007199254740993|5" {
		t.Errorf("SELECT gave %s", got)
	}
	s.write(itemsPath+"?mode=upsert", "{\"id\":2,\"name\":\"B\"}\n{\"id\":3,\"name\":\"c\"}\n", "Content-Type", "application/x-ndjson")
	s.write(itemsPath+"?mode=patch", `{"id":3,"price":0.5}`)
	s.write(itemsPath+"?mode=delete", `[{"id":9007199254740993}]`)
	if got := first(s.sql(`SELECT id, name, price, n FROM app.items ORDER BY id`)); got != "2|\"B\"|null|5\n3|\"c\"|\"0.5000\"|5" {
		t.Errorf("SELECT gave %s", got)
	}
	if empty := s.write(itemsPath, `[]`); empty.RowCount != 0 || empty.Position == "" {
		t.Errorf("no rows: %+v", empty)
	}
}

func TestRowsAreRefused(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{Row: 2048})
	s.write(itemsPath, `{"id":1,"name":"a"}`)
	for _, c := range []struct {
		name, path, body string
		code             problem.Code
		text             string
	}{
		{"unknown table", "/v1/tables/app/itms/rows", `{}`, problem.UnknownTable, "items"},
		{"unknown schema", "/v1/tables/ap/items/rows", `{}`, problem.UnknownNamespace, "app"},
		{"unknown column", itemsPath, `{"id":2,"nme":"x"}`, problem.UnknownColumn, `did you mean "name"?`},
		{"wrong type", itemsPath, `{"id":"two","name":"x"}`, problem.InvalidValue, `row 1: column "id"`},
		{"wrong JSON type", itemsPath, `{"id":2,"name":7}`, problem.TypeMismatch, `row 1: column "name"`},
		{"out of range", itemsPath, `{"id":9223372036854775808,"name":"x"}`, problem.OutOfRange, `column "id"`},
		{"inexact decimal", itemsPath, `{"id":2,"name":"x","price":0.00001}`, problem.InvalidValue, `column "price"`},
		{"NULL", itemsPath, `{"id":2,"name":null}`, problem.NotNull, `"name"`},
		{"left out", itemsPath, `{"id":2}`, problem.NotNull, `"name"`},
		{"no key", itemsPath, `{"name":"x"}`, problem.NotNull, `"id"`},
		{"duplicate key", itemsPath, `[{"id":2,"name":"x"},{"id":1,"name":"x"}]`, problem.DuplicateKey, "upsert"},
		{"duplicate key in the body", itemsPath, `[{"id":2,"name":"x"},{"id":2,"name":"x"}]`, problem.DuplicateKey, ""},
		{"member twice", itemsPath, `{"id":2,"name":"x","name":"y"}`, problem.DuplicateColumn, "twice"},
		{"patch of no row", itemsPath + "?mode=patch", `{"id":77,"name":"x"}`, problem.KeyNotFound, "77"},
		{"delete of no row", itemsPath + "?mode=delete", `{"id":77}`, problem.KeyNotFound, "77"},
		{"delete with a value", itemsPath + "?mode=delete", `{"id":1,"name":"a"}`, problem.BadRequest, "key columns"},
		{"unknown mode", itemsPath + "?mode=upsrt", `{}`, problem.BadRequest, "did you mean upsert"},
		{"broken JSON", itemsPath, `[{"id":2,"name":"x"},{"id":3,"name":"x"`, problem.BadJSON, "row 2"},
		{"no JSON", itemsPath, `id,name`, problem.BadJSON, "row 1"},
		{"large row", itemsPath, `{"id":2,"name":"` + strings.Repeat("x", 3000) + `"}`, problem.BodyTooLarge, "limits.row"},
		{"system table", "/v1/tables/system/jobs/rows", `{}`, problem.Forbidden, "system table"},
	} {
		e := s.refused(c.code, c.path, c.body).Error
		if !strings.Contains(e.Message+" "+e.Hint, c.text) {
			t.Errorf("%s: %q, %q", c.name, e.Message, e.Hint)
		}
		if e.RowsKept != nil && *e.RowsKept != 0 {
			t.Errorf("%s: %d rows kept", c.name, *e.RowsKept)
		}
	}
	if e := s.refused(problem.Unsupported, itemsPath, "x", "Content-Type", "text/csv").Error; e.Hint == "" {
		t.Errorf("CSV: %+v", e)
	}
	if got := first(s.sql(`SELECT count(*) FROM app.items`)); got != "1" {
		t.Errorf("%s rows are stored, want 1", got)
	}
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{RowsBody: 50_000})
	var body strings.Builder
	for i := range 2500 {
		fmt.Fprintf(&body, `{"id":%d,"name":"x"}`, i)
	}
	known := s.refused(problem.BodyTooLarge, itemsPath, body.String())
	if known.RowCount != 0 {
		t.Errorf("a body that says its length was taken in part: %+v", known)
	}
	// Without a length the limit is found on the way: what came before it stays.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+itemsPath, io.MultiReader(strings.NewReader(body.String())))
	must(t, err)
	reply, err := http.DefaultClient.Do(r)
	must(t, err)
	defer reply.Body.Close()
	var w wire.WriteReply
	must(t, json.NewDecoder(reply.Body).Decode(&w))
	if reply.StatusCode != http.StatusRequestEntityTooLarge || w.Error == nil || *w.Error.RowsKept != 2000 || w.RowCount != 2000 {
		t.Errorf("status %d, %+v, %+v", reply.StatusCode, w, w.Error)
	}
	if got := first(s.sql(`SELECT count(*), max(id) FROM app.items`)); got != "2000|1999" {
		t.Errorf("stored: %s", got)
	}
}

func TestBrokenStreamSaysWhatWasKept(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{})
	var body strings.Builder
	for i := range 3500 {
		if i == 3210 {
			body.WriteString(`{"id":`)
		}
		fmt.Fprintf(&body, "{\"id\":%d,\"name\":\"x\"}\n", i)
	}
	reply := s.refused(problem.BadJSON, itemsPath, body.String(), "Idempotency-Key", "load-1")
	e := reply.Error
	if e.RowsKept == nil || *e.RowsKept != 3000 || reply.RowCount != 3000 || !strings.Contains(e.Message, "row 3211: ") || !strings.Contains(e.Hint, "first 3000 rows") {
		t.Errorf("reply %+v, error %+v", reply, e)
	}
	if got := first(s.sql(`SELECT count(*), max(id) FROM app.items`)); got != "3000|2999" {
		t.Errorf("stored: %s", got)
	}
	// The offsets speak of what is stored.
	total := uint64(0)
	for _, r := range reply.Offsets {
		total += r.Last - r.First + 1
	}
	if total != 3000 {
		t.Errorf("offsets %v", reply.Offsets)
	}
	// The mended body with the same key stores the rest, once.
	mended := s.write(itemsPath, strings.Replace(body.String(), `{"id":{`, `{`, 1), "Idempotency-Key", "load-1")
	if mended.RowCount != 3500 {
		t.Errorf("mended: %+v", mended)
	}
	if got := first(s.sql(`SELECT count(*), max(id) FROM app.items`)); got != "3500|3499" {
		t.Errorf("stored: %s", got)
	}
}

func TestIdempotentRetries(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{})
	var body strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&body, "{\"id\":%d,\"name\":\"x\"}\n", i)
	}
	want := s.write(itemsPath, body.String(), "Idempotency-Key", "k")
	s.write(itemsPath+"?mode=upsert", `{"id":1,"name":"changed since"}`)
	a := s.do(http.MethodPost, itemsPath, strings.NewReader(body.String()), "Idempotency-Key", "k")
	var again wire.WriteReply
	a.decode(t, &again)
	if fmt.Sprint(again) != fmt.Sprint(want) || a.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("first %+v, again %+v, %v", want, again, a.header)
	}
	if got := first(s.sql(`SELECT name FROM app.items WHERE id = 1`)); got != `"changed since"` {
		t.Errorf("the repeated write was applied: %s", got)
	}
	s.refused(problem.IdempotencyMismatch, itemsPath, `{"id":7000,"name":"x"}`, "Idempotency-Key", "k")
	s.refused(problem.IdempotencyMismatch, itemsPath+"?mode=upsert", body.String(), "Idempotency-Key", "k")
	s.refused(problem.BadRequest, itemsPath, `{}`, "Idempotency-Key", strings.Repeat("k", 300))
	// A refused write leaves no memory: the key may be used again.
	s.refused(problem.DuplicateKey, itemsPath, `{"id":1,"name":"x"}`, "Idempotency-Key", "other")
}

func TestPreconditions(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{})
	created := s.write(itemsPath+"?mode=upsert", `{"id":1,"name":"a"}`, "If-None-Match", "*")
	s.refused(problem.VersionConflict, itemsPath+"?mode=upsert", `{"id":1,"name":"a"}`, "If-None-Match", "*")
	etag := s.do(http.MethodGet, itemsPath+"/1", nil).header.Get("ETag")
	for _, r := range created.Offsets {
		if etag != `"`+strconv.FormatUint(r.First, 10)+`"` {
			t.Errorf("ETag %s, offsets %v", etag, created.Offsets)
		}
	}
	s.write(itemsPath+"?mode=upsert", `{"id":1,"name":"b"}`, "If-Match", etag)
	s.refused(problem.VersionConflict, itemsPath+"?mode=upsert", `{"id":1,"name":"c"}`, "If-Match", etag)
	s.refused(problem.VersionConflict, itemsPath+"?mode=patch", `{"id":1,"name":"c"}`, "If-Match", etag)
	s.refused(problem.VersionConflict, itemsPath+"?mode=delete", `{"id":1}`, "If-Match", etag)
	s.refused(problem.BadRequest, itemsPath+"?mode=patch", `[{"id":1,"n":1},{"id":2,"n":1}]`, "If-Match", "1")
	// * asks for any version, and leaves columns that are not given at their defaults, as an upsert does.
	s.write(itemsPath+"?mode=patch", `{"id":1,"n":9}`, "If-Match", "*")
	s.write(itemsPath+"?mode=upsert", `{"id":1,"name":"d"}`, "If-Match", "*")
	s.refused(problem.VersionConflict, itemsPath+"?mode=upsert", `{"id":2,"name":"d"}`, "If-Match", "*")
	if got := first(s.sql(`SELECT id, name, n FROM app.items`)); got != `1|"d"|5` {
		t.Errorf("stored: %s", got)
	}
	etag = s.do(http.MethodGet, itemsPath+"/1", nil).header.Get("ETag")
	if a := s.do(http.MethodGet, itemsPath+"/1", nil, "If-None-Match", etag); a.status != http.StatusNotModified || len(a.body) > 0 {
		t.Errorf("status %d, %s", a.status, a.body)
	}
	s.write(itemsPath+"?mode=delete", `{"id":1}`, "If-Match", etag)
}

func TestPointReads(t *testing.T) {
	t.Parallel()
	s := newStack(t, Limits{})
	s.sql(`CREATE SCHEMA app; CREATE TABLE app.pairs (room TEXT, at TIMESTAMPTZ, n BIGINT, PRIMARY KEY (room, at, n));
		CREATE TABLE app.notes (id TEXT PRIMARY KEY, body TEXT) WITH (type = 'user');
		CREATE TABLE app.events (v BIGINT) WITH (type = 'stream')`)
	s.write("/v1/tables/app/pairs/rows", `{"room":"a/b ü","at":"2026-01-02T03:04:05Z","n":-7}`)
	s.write("/v1/tables/app/notes/rows", `{"id":"1","body":"mine"}`)
	s.write("/v1/tables/app/events/rows", `[{"v":1},{"v":2}]`)
	for path, want := range map[string]string{
		"/v1/tables/app/pairs/rows/a%2Fb%20%C3%BC/2026-01-02T03:04:05Z/-7":    `{"room":"a/b ü","at":"2026-01-02T03:04:05Z","n":-7}`,
		"/v1/tables/app/pairs/rows/a%2Fb%20%C3%BC/2026-01-02%2003:04:05Z/-07": `{"room":"a/b ü","at":"2026-01-02T03:04:05Z","n":-7}`,
		"/v1/tables/app/notes/rows/1":                                         `{"id":"1","body":"mine"}`,
		"/v1/tables/app/notes/rows/root/1":                                    `{"id":"1","body":"mine"}`,
	} {
		if a := s.do(http.MethodGet, path, nil); a.status != http.StatusOK || !strings.HasPrefix(string(a.body), `{"row":`+want+`,"version":`) {
			t.Errorf("%s: status %d, %s", path, a.status, a.body)
		}
	}
	for path, code := range map[string]problem.Code{
		"/v1/tables/app/pairs/rows/x/2026-01-02T03:04:05Z/1":   problem.KeyNotFound,
		"/v1/tables/app/pairs/rows/x/2026-01-02T03:04:05Z":     problem.BadRequest,
		"/v1/tables/app/pairs/rows/x/2026-01-02T03:04:05Z/1/2": problem.BadRequest,
		"/v1/tables/app/pairs/rows/x/yesterday/1":              problem.InvalidValue,
		"/v1/tables/app/pair/rows/x":                           problem.UnknownTable,
		"/v1/tables/no/pairs/rows/x":                           problem.UnknownNamespace,
		"/v1/tables/app/notes/rows/someone/1":                  problem.KeyNotFound,
		"/v1/tables/app/events/rows/1":                         problem.Unsupported,
		"/v1/tables/app/notes/rows/1?at_least=nonsense":        problem.PositionInvalid,
	} {
		s.checkError(s.do(http.MethodGet, path, nil), path, code)
	}
}

// checkError compares an error reply with the code it must have.
func (s *stack) checkError(a answer, what string, code problem.Code) wire.Error {
	s.t.Helper()
	var reply wire.ErrorReply
	a.decode(s.t, &reply)
	if reply.Error.Code != string(code) || a.status != classOf(code).status || reply.Error.SQLState != classOf(code).sqlstate || reply.Error.Message == "" {
		s.t.Errorf("%s: status %d, %s, want %s", what, a.status, a.body, code)
	}
	return reply.Error
}

// TestStreamedBodyNeedsLittleMemory writes a body much larger than what the server may hold of it.
func TestStreamedBodyNeedsLittleMemory(t *testing.T) {
	s := newStack(t, Limits{})
	s.sql(`CREATE SCHEMA app; CREATE TABLE app.events (v BIGINT, text TEXT) WITH (type = 'stream')`)
	row := `{"v":1,"text":"` + strings.Repeat("x", 10_000) + `"}` + "\n"
	const rows = 20_000
	runtime.GC()
	var before, peak runtime.MemStats
	runtime.ReadMemStats(&before)
	body := &watched{in: io.LimitReader(&endless{row: row}, int64(len(row))*rows), every: 16 << 20, look: func() {
		var now runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&now)
		if now.HeapAlloc > peak.HeapAlloc {
			peak = now
		}
	}}
	a := s.do(http.MethodPost, "/v1/tables/app/events/rows", body)
	var reply wire.WriteReply
	a.decode(t, &reply)
	if reply.RowCount != rows {
		t.Fatalf("status %d, %.300s", a.status, a.body)
	}
	grown := int64(peak.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d MiB of rows, heap grew by at most %d MiB", int64(len(row))*rows>>20, grown>>20)
	if grown > 100<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

// watched looks at things as it is read.
type watched struct {
	in    io.Reader
	read  int
	every int
	look  func()
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.in.Read(b)
	if before := w.read; before/w.every != (before+n)/w.every {
		w.look()
	}
	w.read += n
	return n, err
}

// TestMemorySaysHowFarItReaches: the reply to a new key tells from when on keys are surely recognized.
func TestMemorySaysHowFarItReaches(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{})
	a := s.do(http.MethodPost, itemsPath, strings.NewReader(`{"id":1,"name":"a"}`), "Idempotency-Key", "k")
	since, err := time.Parse(time.RFC3339Nano, a.header.Get("Idempotency-Since"))
	if err != nil || time.Since(since) < 23*time.Hour || time.Since(since) > 25*time.Hour {
		t.Errorf("since %v, %v", since, err)
	}
	a = s.do(http.MethodPost, itemsPath, strings.NewReader(`{"id":1,"name":"a"}`), "Idempotency-Key", "k")
	if a.header.Get("Idempotency-Since") != "" || a.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("a recognized key: %v", a.header)
	}
}
