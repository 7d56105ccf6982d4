package api

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/pebble"
	"kalamlog.dev/kalam/query"
	"kalamlog.dev/kalam/subscribe"
)

// stack is a whole server in the test's process, with everything real below the door.
type stack struct {
	t      testing.TB
	server *Server
	url    string
}

// newStack starts a stack in a temporary folder; it ends with the test.
func newStack(t testing.TB, limits Limits) *stack {
	t.Helper()
	dir := t.TempDir()
	m, err := materializer.New(materializer.Options{Backend: func(before func() error) (storage.Backend, error) {
		return pebble.Open(pebble.Options{Dir: filepath.Join(dir, "state"), BeforeDurable: before})
	}})
	must(t, err)
	quiet := slog.New(slog.DiscardHandler)
	l, err := log.Open(t.Context(), log.Options{Dir: dir, Fold: m, Logger: quiet})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	w := materializer.NewWriter(l)
	ids := materializer.NewIDs(1)
	engine, err := query.New(query.Options{IDs: ids, Log: l, Materializer: m, Writer: w, DataDir: dir, Logger: quiet})
	must(t, err)
	t.Cleanup(func() { must(t, engine.Close()) })
	registry := subscribe.New(subscribe.Options{Log: l, Materializer: m, Logger: quiet})
	t.Cleanup(func() { must(t, registry.Close()) })
	metrics := prometheus.NewRegistry()
	server, err := New(Options{
		Engine: engine, Registry: registry, Log: l, Materializer: m, Writer: w, IDs: ids, Logger: quiet,
		Registerer: metrics, Gatherer: metrics, Limits: limits,
	})
	must(t, err)
	listener := httptest.NewServer(server)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		listener.Close()
	})
	return &stack{t: t, server: server, url: listener.URL}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// answer is a reply, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// decode reads the body as JSON into v, refusing members that v does not have.
func (a answer) decode(t testing.TB, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("status %d, body %s: %v", a.status, a.body, err)
	}
}

// do sends one request. header is pairs of name and value.
func (s *stack) do(method, path string, body io.Reader, header ...string) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	must(s.t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	reply, err := http.DefaultClient.Do(r)
	must(s.t, err)
	defer reply.Body.Close()
	raw, err := io.ReadAll(reply.Body)
	must(s.t, err)
	return answer{status: reply.StatusCode, header: reply.Header, body: raw}
}

// sql runs statements that must succeed.
func (s *stack) sql(text string, params ...any) wire.SQLReply {
	s.t.Helper()
	a := s.try(text, params...)
	if a.status != http.StatusOK {
		s.t.Fatalf("%s: status %d, %s", text, a.status, a.body)
	}
	var reply wire.SQLReply
	a.decode(s.t, &reply)
	return reply
}

func (s *stack) try(text string, params ...any) answer {
	s.t.Helper()
	request := map[string]any{"sql": text}
	if len(params) > 0 {
		request["params"] = params
	}
	body, err := json.Marshal(request)
	must(s.t, err)
	return s.do(http.MethodPost, "/v1/sql", bytes.NewReader(body))
}

// write posts rows that must be taken.
func (s *stack) write(path, body string, header ...string) wire.WriteReply {
	s.t.Helper()
	a := s.do(http.MethodPost, path, strings.NewReader(body), header...)
	if a.status != http.StatusOK {
		s.t.Fatalf("%s: status %d, %s", path, a.status, a.body)
	}
	var reply wire.WriteReply
	a.decode(s.t, &reply)
	return reply
}

// first returns the rows of the first result as JSON text.
func first(r wire.SQLReply) string {
	var rows []string
	for _, row := range r.Results[0].Rows {
		var cells []string
		for _, c := range row {
			cells = append(cells, string(c))
		}
		rows = append(rows, strings.Join(cells, "|"))
	}
	return strings.Join(rows, "\n")
}
