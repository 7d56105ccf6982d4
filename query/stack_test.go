package query

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/pebble"
	"kalamlog.dev/kalam/query/expr"
)

// fixedClock stands still, so that transcripts do not change.
type fixedClock struct{}

func (fixedClock) Now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// stack is log, state and engine in a folder of the test's.
type stack struct {
	testing.TB
	dir    string
	log    *log.Log
	state  *materializer.Materializer
	writer *materializer.Writer
	*Engine
}

func openStack(t testing.TB) *stack {
	t.Helper()
	s := &stack{TB: t, dir: t.TempDir()}
	quiet := slog.New(slog.DiscardHandler)
	var err error
	s.state, err = materializer.New(materializer.Options{
		Backend: func(beforeDurable func() error) (storage.Backend, error) {
			return pebble.Open(pebble.Options{Dir: filepath.Join(s.dir, "state"), BeforeDurable: beforeDurable})
		},
	})
	s.must(err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s.log, err = log.Open(ctx, log.Options{Dir: s.dir, Fold: s.state, Logger: quiet})
	s.must(err)
	s.writer = materializer.NewWriter(s.log)
	s.openEngine()
	t.Cleanup(func() {
		s.must(s.Close())
		s.must(s.log.Close())
	})
	return s
}

// openEngine starts an engine that has read nothing yet.
func (s *stack) openEngine() {
	s.Helper()
	var err error
	s.Engine, err = New(Options{
		Log: s.log, Materializer: s.state, Writer: s.writer, DataDir: s.dir, Clock: fixedClock{}, Threads: 2, MemoryLimit: "512MB",
	})
	s.must(err)
}

func (s *stack) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// as returns a context with a caller.
func as(name string) context.Context {
	if name == "" || name == "root" {
		return identity.NewContext(context.Background(), identity.Root)
	}
	return identity.NewContext(context.Background(), identity.Caller{Name: name})
}

// result collects what a statement gave.
type result struct {
	columns []Column
	rows    [][]string
	summary Summary
}

// collect is a Sink of results.
type collect struct{ results []result }

func (c *collect) Begin(columns []Column) error {
	c.results = append(c.results, result{columns: columns})
	return nil
}

func (c *collect) Row(values []expr.Value) error {
	row := make([]string, len(values))
	for i, v := range values {
		row[i] = v.String()
	}
	r := &c.results[len(c.results)-1]
	r.rows = append(r.rows, row)
	return nil
}

func (c *collect) End(s Summary) error {
	c.results[len(c.results)-1].summary = s
	return nil
}

// run runs a request as root and returns the results.
func (s *stack) run(sql string, params ...expr.Value) ([]result, error) {
	var c collect
	err := s.Run(as("root"), Request{SQL: sql, Params: params}, &c)
	return c.results, err
}

// exec runs statements that must not fail and returns the last result.
func (s *stack) exec(sql string, params ...expr.Value) result {
	s.Helper()
	results, err := s.run(sql, params...)
	if err != nil {
		s.Fatalf("%s: %v", sql, err)
	}
	return results[len(results)-1]
}

// lines prints a result's rows, sorted or not.
func (r result) lines() string {
	var b strings.Builder
	for _, row := range r.rows {
		b.WriteString(strings.Join(row, " | ") + "\n")
	}
	return b.String()
}

// print shows a result in a transcript.
func (r result) print() string {
	var b strings.Builder
	if len(r.columns) > 0 {
		for i, c := range r.columns {
			if i > 0 {
				b.WriteString(" | ")
			}
			fmt.Fprintf(&b, "%s:%s", c.Name, c.Type)
		}
		b.WriteString("\n")
	}
	b.WriteString(r.lines())
	fmt.Fprintf(&b, "(%d)\n", r.summary.RowCount)
	return b.String()
}

// printError shows an error in a transcript.
func printError(err error) string {
	p := problem.As(err)
	if p == nil {
		return "internal: " + err.Error() + "\n"
	}
	out := fmt.Sprintf("%s: %s", p.Code, p.Message)
	if p.Position > 0 {
		out += fmt.Sprintf(" [at %d]", p.Position)
	}
	if p.Statement > 1 {
		out += fmt.Sprintf(" [statement %d]", p.Statement)
	}
	if p.Hint != "" {
		out += "\nhint: " + p.Hint
	}
	return out + "\n"
}
