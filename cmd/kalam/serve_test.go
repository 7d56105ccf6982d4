package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kalamlog.dev/kalam/internal/config"
)

// served is a server in the test's process.
type served struct {
	t       *testing.T
	url     string
	kafka   string
	signals chan os.Signal
	output  *output
	done    chan error
}

// output collects what a server prints.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	ready chan []string
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	if m := regexp.MustCompile(`(?m)^kalam ready http=(\S+) kafka=(\S+)\n`).FindStringSubmatch(o.text.String()); m != nil && o.ready != nil {
		o.ready <- m
		o.ready = nil
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func testConfig(dir string) config.Config {
	c := config.Default()
	c.Server.Data, c.Server.HTTP, c.Server.Kafka = dir, "127.0.0.1:0", "127.0.0.1:0"
	return c
}

// start serves c until stop or the end of the test.
func start(t *testing.T, c config.Config) *served {
	t.Helper()
	ready := make(chan []string, 1)
	s := &served{t: t, signals: make(chan os.Signal, 2), output: &output{ready: ready}, done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { s.done <- serve(ctx, c, s.output, s.signals) }()
	t.Cleanup(cancel)
	select {
	case m := <-ready:
		s.url, s.kafka = "http://"+m[1], m[2]
	case err := <-s.done:
		t.Fatalf("the server ended: %v\n%s", err, s.output)
	case <-time.After(30 * time.Second):
		t.Fatalf("the server is not ready\n%s", s.output)
	}
	return s
}

// stop sends SIGTERM and waits for the end.
func (s *served) stop() {
	s.t.Helper()
	s.signals <- syscall.SIGTERM
	select {
	case err := <-s.done:
		if err != nil {
			s.t.Fatalf("the server ended with %v\n%s", err, s.output)
		}
	case <-time.After(30 * time.Second):
		s.t.Fatalf("the server does not end\n%s", s.output)
	}
}

// command runs kalam with args and returns what it printed and its exit code.
func command(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), code
}

func (s *served) sql(sql string, args ...string) string {
	s.t.Helper()
	out, errs, code := command(s.t, "", append([]string{"sql", "--url", s.url, "-c", sql}, args...)...)
	if code != 0 {
		s.t.Fatalf("%s: exit code %d\n%s%s", sql, code, out, errs)
	}
	return out
}

func TestServeStopsStartsAndVerifies(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, testConfig(dir))
	s.sql(`CREATE SCHEMA app; CREATE TABLE app.items (id BIGINT PRIMARY KEY, name TEXT)`)
	for i := range 100 {
		s.sql(fmt.Sprintf(`INSERT INTO app.items VALUES (%d, 'n%d')`, i, i))
	}
	s.sql(`FLUSH TABLE app.items`)
	s.sql(`UPDATE app.items SET name = 'changed' WHERE id < 10`)
	if _, errs, code := command(t, "", "verify", "--data", dir); code != 1 || !strings.Contains(errs, "another process") {
		t.Errorf("verify beside a running server: exit code %d, %s", code, errs)
	}
	if out, errs, code := command(t, "", "health", "--url", s.url); code != 0 || !strings.Contains(out, `"ok"`) {
		t.Errorf("health: exit code %d, %s%s", code, out, errs)
	}
	s.stop()
	if n := strings.Count(s.output.String(), "kalam ready "); n != 1 {
		t.Errorf("%d ready lines\n%s", n, s.output)
	}
	if _, _, code := command(t, "", "health", "--url", s.url); code != 1 {
		t.Errorf("health of a stopped server: exit code %d", code)
	}
	out, errs, code := command(t, "", "verify", "--data", dir)
	if code != 0 || !strings.Contains(out, "app.items: 100 rows") || !strings.Contains(out, " 0 differences") {
		t.Errorf("verify: exit code %d\n%s%s", code, out, errs)
	}
	again := start(t, testConfig(dir))
	if got := again.sql(`SELECT count(*) AS n, count(*) FILTER (name = 'changed') AS c FROM app.items`, "--format", "csv"); got != "n,c\r\n100,10\r\n" {
		t.Errorf("after the restart: %q", got)
	}
	again.stop()
}

func TestSQLCommand(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	defer s.stop()
	if got := s.sql(`SELECT 42 AS answer, NULL AS nothing, 'x' AS text`); !strings.Contains(got, "│     42 │    NULL │ x    │") {
		t.Errorf("table:\n%s", got)
	}
	if got := s.sql(`SELECT $1 AS a, $2 AS b`, "--param", "9007199254740993", "--param", "plain text", "--format", "json"); !strings.Contains(got, `[9007199254740993,"plain text"]`) {
		t.Errorf("json: %s", got)
	}
	out, _, code := command(t, "SELECT 1 AS a; SELECT 2 AS b", "sql", "--url", s.url)
	if code != 0 || !strings.Contains(out, "a") || strings.Count(out, "(1 row") != 2 {
		t.Errorf("from standard input: exit code %d\n%s", code, out)
	}
	_, errs, code := command(t, "", "sql", "--url", s.url, "-c", "SELECT 1;\nSELECT nme FROM system.jobs")
	if code != 1 || !strings.Contains(errs, "unknown_column") || !strings.Contains(errs, "42703") || !strings.Contains(errs, "statement 2") {
		t.Errorf("error: exit code %d\n%s", code, errs)
	}
	if _, errs, code := command(t, "", "sql", "--url", "http://127.0.0.1:1", "-c", "SELECT 1"); code != 1 || errs == "" {
		t.Errorf("no server: exit code %d, %s", code, errs)
	}
	if _, _, code := command(t, "", "sql", "--url", s.url, "-c", "SELECT 1", "--format", "xml"); code != 1 {
		t.Errorf("unknown format: exit code %d", code)
	}
}

func TestServeRefusesBadConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "kalam.toml")
	if err := os.WriteFile(file, []byte("[server]\nhtpp = \"127.0.0.1:0\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errs, code := command(t, "", "serve", "--config", file, "--data", dir, "--http", "0.0.0.0:0")
	if code != 1 || !strings.Contains(errs, "did you mean server.http?") || !strings.Contains(errs, "--insecure") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
}

func TestInsecureWarns(t *testing.T) {
	c := testConfig(t.TempDir())
	c.Server.HTTP, c.Server.Kafka, c.Server.Insecure = "0.0.0.0:0", "", true
	s := start(t, c)
	if out := s.output.String(); !strings.Contains(out, "INSECURE") || s.kafka != "off" {
		t.Errorf("kafka=%s\n%s", s.kafka, out)
	}
	s.stop()
}

func TestTakenPortIsFoundBeforeAnythingIsOpened(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	defer s.stop()
	c := testConfig(filepath.Join(t.TempDir(), "never"))
	c.Server.HTTP = strings.TrimPrefix(s.url, "http://")
	if err := serve(t.Context(), c, io.Discard, nil); err == nil || !strings.Contains(err.Error(), "server.http") {
		t.Errorf("err = %v", err)
	}
	if _, err := os.Stat(c.Server.Data); !os.IsNotExist(err) {
		t.Errorf("the data directory was made: %v", err)
	}
}

func TestShutdownEndsLiveQueries(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	s.sql(`CREATE TABLE items (id BIGINT PRIMARY KEY)`)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/subscribe?sql=SELECT+id+FROM+items", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	lines := bufio.NewScanner(stream.Body)
	for lines.Scan() && lines.Text() != "event: ready" {
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines.Scan() {
		}
	}()
	began := time.Now()
	s.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the shutdown took %s", took)
	}
	<-ended
}

func TestVerifyOfNothing(t *testing.T) {
	if _, errs, code := command(t, "", "verify", "--data", t.TempDir()); code != 1 || !strings.Contains(errs, "no data directory") {
		t.Errorf("exit code %d, %s", code, errs)
	}
}

func TestSmallCommands(t *testing.T) {
	t.Parallel()
	if out, _, code := command(t, "", "version"); code != 0 || !strings.HasPrefix(out, "kalam ") {
		t.Errorf("version: %d, %s", code, out)
	}
	if out, _, code := command(t, "", "config"); code != 0 || !strings.Contains(out, "[server]") {
		t.Errorf("config: %d, %s", code, out)
	}
	if _, errs, code := command(t, "", "srve"); code != 1 || !strings.Contains(errs, "serve") {
		t.Errorf("a mistyped command: %d, %s", code, errs)
	}
}
