package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/problem"
)

func TestRouterErrorsHaveTheOneShape(t *testing.T) {
	t.Parallel()
	s := newStack(t, Limits{})
	s.checkError(s.do(http.MethodGet, "/v1/nothing", nil), "no path", problem.NotFound)
	s.checkError(s.do(http.MethodGet, "/v1/sql", nil), "GET sql", problem.MethodNotAllowed)
	a := s.do(http.MethodDelete, "/v1/tables/a/b/rows", nil)
	s.checkError(a, "DELETE rows", problem.MethodNotAllowed)
	if a.header.Get("Allow") == "" || a.header.Get("X-Request-Id") == "" {
		t.Errorf("header %v", a.header)
	}
	if a := s.do(http.MethodGet, "/health", nil, "X-Request-Id", "mine-1"); a.header.Get("X-Request-Id") != "mine-1" {
		t.Errorf("header %v", a.header)
	}
	if a := s.do(http.MethodGet, "/health", nil, "X-Request-Id", "not mine"); a.header.Get("X-Request-Id") == "not mine" {
		t.Error("a request id with a space was taken")
	}
}

func TestHealthWhileDraining(t *testing.T) {
	t.Parallel()
	s := newStack(t, Limits{})
	for _, path := range []string{"/health", "/ready", "/metrics", "/openapi.json", "/"} {
		if a := s.do(http.MethodGet, path, nil); a.status != http.StatusOK || len(a.body) == 0 {
			t.Errorf("%s: status %d, %.100s", path, a.status, a.body)
		}
	}
	if a := s.do(http.MethodGet, "/health", nil); strings.TrimSpace(string(a.body)) != `{"status":"ok"}` {
		t.Errorf("health says %s", a.body)
	}
	s.server.Drain()
	if a := s.do(http.MethodGet, "/health", nil); a.status != http.StatusServiceUnavailable || strings.TrimSpace(string(a.body)) != `{"status":"draining"}` {
		t.Errorf("while draining: status %d, %s", a.status, a.body)
	}
	s.checkError(s.do(http.MethodGet, "/ready", nil), "ready", problem.ShuttingDown)
	metrics := s.do(http.MethodGet, "/metrics", nil)
	if !strings.Contains(string(metrics.body), `kalam_http_requests_total{method="GET",route="/health",status="503"} 1`) {
		t.Errorf("metrics: %.500s", metrics.body)
	}
}

func TestFaultsAreHiddenAndPanicsAnswered(t *testing.T) {
	t.Parallel()
	s := newStack(t, Limits{})
	s.server.echo.GET("/panic", func(echo.Context) error { panic("secret") })
	s.server.echo.GET("/fault", func(echo.Context) error { return errors.New("secret") })
	s.server.echo.GET("/late", func(c echo.Context) error {
		c.Response().WriteHeader(http.StatusOK)
		return errors.New("secret")
	})
	for _, path := range []string{"/panic", "/fault"} {
		a := s.do(http.MethodGet, path, nil)
		e := s.checkError(a, path, problem.Internal)
		if strings.Contains(string(a.body), "secret") || !strings.Contains(e.Hint, a.header.Get("X-Request-Id")) {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/late", http.NoBody)
	must(t, err)
	if reply, err := http.DefaultClient.Do(r); err == nil {
		defer reply.Body.Close()
		if _, err := io.ReadAll(reply.Body); err == nil {
			t.Error("a reply that failed after its head ended as if it were whole")
		}
	}
}

func TestRequestsWaitForASlotAndAreRefused(t *testing.T) {
	t.Parallel()
	s := newStack(t, Limits{InFlight: 1, SlotWait: 20 * time.Millisecond})
	s.server.slots <- struct{}{}
	a := s.try(`SELECT 1`)
	s.checkError(a, "no slot", problem.Overloaded)
	if a.header.Get("Retry-After") == "" {
		t.Errorf("header %v", a.header)
	}
	<-s.server.slots
	s.sql(`SELECT 1`)
}

func TestSilentClientsAreCutOff(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{ClientTimeout: 50 * time.Millisecond})
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	must(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST "+itemsPath+" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"id\":1")
	must(t, err)
	reply, err := io.ReadAll(conn)
	must(t, err)
	if !strings.HasPrefix(string(reply), "HTTP/1.1 504 ") || !strings.Contains(string(reply), `"code":"timeout"`) {
		t.Errorf("reply %s", reply)
	}
}

// A long statement outlives the time a client may be silent: it has nothing to send.
func TestClientTimeoutIsNotForStatements(t *testing.T) {
	t.Parallel()
	s := newStack(t, Limits{ClientTimeout: 30 * time.Millisecond})
	s.sql(`SELECT count(*) FROM range(100000000) AS a(i) WHERE i % 7 = 3`)
}

func TestOpenAPIDescribesEveryRoute(t *testing.T) {
	t.Parallel()
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	must(t, json.Unmarshal(openAPIDocument, &doc))
	var described []string
	for path, methods := range doc.Paths {
		for method := range methods {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	var routed []string
	s := &Server{}
	for _, r := range s.router().Routes() {
		path := strings.NewReplacer(":namespace", "{namespace}", ":table", "{table}", ":change", "{change}", "*", "{key}").Replace(r.Path)
		routed = append(routed, r.Method+" "+path)
	}
	slices.Sort(described)
	slices.Sort(routed)
	if !slices.Equal(described, routed) {
		t.Errorf("described %q\nrouted    %q", described, routed)
	}
}

func TestShutdownAnswersWhatIsInProgress(t *testing.T) {
	t.Parallel()
	s := newStack(t, Limits{})
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(l) }()
	entered, release := make(chan struct{}), make(chan struct{})
	s.server.echo.GET("/slow", func(c echo.Context) error {
		close(entered)
		<-release
		return c.JSON(http.StatusOK, wire.Health{Status: "done"})
	})
	got := make(chan string, 1)
	go func() {
		r, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+l.Addr().String()+"/slow", http.NoBody)
		reply, err := http.DefaultClient.Do(r)
		if err != nil {
			got <- err.Error()
			return
		}
		defer reply.Body.Close()
		raw, _ := io.ReadAll(reply.Body)
		got <- string(raw)
	}()
	<-entered
	down := make(chan error, 1)
	go func() { down <- s.server.Shutdown(context.Background()) }()
	for !s.server.draining.Load() {
		runtime.Gosched()
	}
	close(release)
	must(t, <-down)
	must(t, <-served)
	if reply := <-got; !strings.Contains(reply, "done") {
		t.Errorf("the request in progress got %q", reply)
	}
	w := httptest.NewRecorder()
	s.server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/health", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d", w.Code)
	}
}
