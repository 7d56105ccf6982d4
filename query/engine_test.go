package query

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

func integerParam(n int) expr.Value { return expr.IntOf(expr.Integer, int64(n)) }

func TestConcurrentUpdatesEndWithTheExactSum(t *testing.T) {
	s := openStack(t)
	s.exec("CREATE TABLE c (id INTEGER PRIMARY KEY, n INTEGER, free INTEGER)")
	s.exec("INSERT INTO c VALUES (1, 0, 100), (2, 0, 100)")
	const writers, each = 16, 25
	var taken sync.Map
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				results, err := s.run("UPDATE c SET n = n + 1 WHERE id = 1; UPDATE c SET n = n + 1 WHERE n >= 0 AND id = 2; UPDATE c SET free = free - 1 WHERE id = 1 AND free > 0")
				if err != nil {
					t.Error(err)
					return
				}
				if results[2].summary.RowCount == 1 {
					taken.Store(fmt.Sprint(w, i), true)
				}
			}
		})
	}
	wg.Wait()
	want := fmt.Sprintf("1 | %d | 0\n2 | %d | 100\n", writers*each, writers*each)
	if got := s.exec("SELECT * FROM c ORDER BY id").lines(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	n := 0
	taken.Range(func(any, any) bool { n++; return true })
	if n != 100 {
		t.Errorf("%d of 100 were taken", n)
	}
}

func TestConcurrentUpsertsLoseNothing(t *testing.T) {
	s := openStack(t)
	s.exec("CREATE TABLE c (id TEXT PRIMARY KEY, n INTEGER)")
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range 20 {
				_, err := s.run("INSERT INTO c VALUES ($1, 1) ON CONFLICT (id) DO UPDATE SET n = c.n + excluded.n", expr.TextOf(strconv.Itoa(i%5)))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := s.exec("SELECT count(*), min(n), max(n) FROM c").lines(); got != "5 | 64 | 64\n" {
		t.Error(got)
	}
}

func TestSearchedUpdateOfManyRows(t *testing.T) {
	s := openStack(t)
	s.exec("CREATE TABLE c (id INTEGER PRIMARY KEY, n INTEGER)")
	for i := range 5 {
		rows := make([]string, 1000)
		for j := range rows {
			rows[j] = fmt.Sprintf("(%d, %d)", i*1000+j, j%10)
		}
		s.exec("INSERT INTO c VALUES " + strings.Join(rows, ","))
	}
	if got := s.exec("UPDATE c SET n = n + 100 WHERE n < 7").summary.RowCount; got != 3500 {
		t.Errorf("%d rows updated", got)
	}
	if got := s.exec("DELETE FROM c WHERE n < 100").summary.RowCount; got != 1500 {
		t.Errorf("%d rows deleted", got)
	}
	if got := s.exec("SELECT count(*), min(n), max(n) FROM c").lines(); got != "3500 | 100 | 106\n" {
		t.Error(got)
	}
}

// TestReadsSeeEveryAcknowledgedWrite reads after each write, by key and with DuckDB, from another goroutine.
func TestReadsSeeEveryAcknowledgedWrite(t *testing.T) {
	s := openStack(t)
	s.exec("CREATE TABLE c (id INTEGER PRIMARY KEY, n INTEGER); INSERT INTO c VALUES (1, 0)")
	for i := 1; i <= 200; i++ {
		w := s.exec("UPDATE c SET n = $1 WHERE id = 1", integerParam(i))
		for _, sql := range []string{"SELECT n FROM c WHERE id = 1", "SELECT sum(n)::INTEGER FROM c"} {
			r := s.exec(sql)
			if r.rows[0][0] != strconv.Itoa(i) || !r.summary.Position.Covers(w.summary.Position) {
				t.Fatalf("%s after write %d: %s at %s, written at %s", sql, i, r.lines(), r.summary.Position, w.summary.Position)
			}
		}
		if err := s.Run(as("root"), Request{SQL: "SELECT 1", AtLeast: w.summary.Position}, &collect{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPlanCache(t *testing.T) {
	s := openStack(t)
	s.exec("CREATE TABLE a (id INTEGER PRIMARY KEY)")
	for i, tc := range []struct{ sql, want string }{
		{"SELECT count(*) FROM a", "miss"},
		{"SELECT count(*) FROM a", "hit"},
		{"INSERT INTO a VALUES ($1)", "miss"},
		{"SELECT id FROM a WHERE id = $1", "miss"},
		{"SELECT id FROM a WHERE id = $1", "hit"},
		{"CREATE TABLE b (id INTEGER PRIMARY KEY)", "miss"},
		{"SELECT count(*) FROM a", "miss"},
		{"SELECT count(*) FROM a", "hit"},
	} {
		if got := s.exec(tc.sql, integerParam(i)).summary.PlanCache; got != tc.want {
			t.Errorf("%d %s: %s", i, tc.sql, got)
		}
	}
	if n := testutil.ToFloat64(s.metrics.plans.WithLabelValues("hit")); n != 3 {
		t.Errorf("%v hits counted", n)
	}
}

func TestCancelledQueriesEnd(t *testing.T) {
	s := openStack(t)
	ctx, cancel := context.WithTimeout(as("root"), 50*time.Millisecond)
	defer cancel()
	err := s.Run(ctx, Request{SQL: "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range % 7 = b.range % 5"}, &collect{})
	if !problem.Is(err, problem.Timeout) {
		t.Errorf("got %v", err)
	}
	if got := s.exec("SELECT 1").lines(); got != "1\n" {
		t.Error(got)
	}
}

// stopAt fails when it has seen n rows.
type stopAt struct {
	collect
	left int
}

var errStop = errors.New("enough")

func (s *stopAt) Row(v []expr.Value) error {
	if s.left--; s.left < 0 {
		return errStop
	}
	return s.collect.Row(v)
}

// TestResultsAreStreamed takes a few rows of a result that would not fit into memory.
func TestResultsAreStreamed(t *testing.T) {
	s := openStack(t)
	sink := &stopAt{left: 10}
	err := s.Run(as("root"), Request{SQL: "SELECT range, repeat('x', 1000) FROM range(100000000)"}, sink)
	if !errors.Is(err, errStop) || len(sink.results[0].rows) != 10 {
		t.Errorf("got %v", err)
	}
}

func TestRequestsWithoutCallerAreRefused(t *testing.T) {
	s := openStack(t)
	if err := s.Run(context.Background(), Request{SQL: "SELECT 1"}, &collect{}); !problem.Is(err, problem.Forbidden) {
		t.Errorf("got %v", err)
	}
}

func TestLookup(t *testing.T) {
	s := openStack(t)
	s.exec("CREATE TABLE a (x INTEGER, y TEXT, v TEXT, PRIMARY KEY (y, x)); INSERT INTO a VALUES (1, 'p', 'q')")
	s.exec("CREATE TABLE u (id INTEGER PRIMARY KEY, v TEXT) WITH (type = 'user')")
	s.must(s.Run(as("ann"), Request{SQL: "INSERT INTO u VALUES (1, 'ann')"}, &collect{}))
	row, err := s.Lookup(as("root"), "default", "a", []expr.Value{expr.TextOf("p"), expr.TextOf("1")}, s.log.Position())
	s.must(err)
	if fmt.Sprint(row.Columns, row.Values) != "[x y v] [1 p q]" || row.Position.IsZero() {
		t.Errorf("%+v", row)
	}
	row, err = s.Lookup(as("ann"), "default", "u", []expr.Value{integerParam(1)}, row.Position)
	s.must(err)
	if fmt.Sprint(row.Columns, row.Values) != "[id v] [1 ann]" {
		t.Errorf("%+v", row)
	}
	for _, tc := range []struct {
		user, table string
		key         []expr.Value
		want        problem.Code
	}{
		{"root", "a", []expr.Value{expr.TextOf("p"), integerParam(2)}, problem.KeyNotFound},
		{"root", "a", []expr.Value{expr.TextOf("p")}, problem.BadRequest},
		{"root", "a", []expr.Value{expr.TextOf("p"), expr.TextOf("x")}, problem.InvalidValue},
		{"root", "a", []expr.Value{expr.TextOf("p"), {}}, problem.NotNull},
		{"root", "b", nil, problem.UnknownTable},
		{"bob", "u", []expr.Value{integerParam(1)}, problem.KeyNotFound},
		{"bob", "u", []expr.Value{expr.TextOf("ann"), integerParam(1)}, problem.Forbidden},
	} {
		if _, err := s.Lookup(as(tc.user), "default", tc.table, tc.key, row.Position); !problem.Is(err, tc.want) {
			t.Errorf("%v: got %v", tc, err)
		}
	}
}

// TestConcurrentDDL creates, fills, reads and drops tables at the same time.
func TestConcurrentDDL(t *testing.T) {
	s := openStack(t)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 3 {
				name := fmt.Sprintf("t%d", w)
				for _, sql := range []string{
					"CREATE TABLE %s (id INTEGER PRIMARY KEY, v INTEGER)", "INSERT INTO %s VALUES (1, 1), (2, 2)",
					"SELECT sum(v) FROM %s", "SELECT v FROM %s WHERE id = 2", "DROP TABLE %s",
				} {
					results, err := s.run(fmt.Sprintf(sql, name))
					if err != nil {
						t.Errorf("%d %d %s: %v", w, i, sql, err)
						return
					}
					if strings.HasPrefix(sql, "SELECT sum") && results[0].lines() != "3\n" {
						t.Errorf("%s: %s", sql, results[0].lines())
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestFilesOfOlderSchemas reads files and tail through columns that were added, renamed, widened and dropped since.
func TestFilesOfOlderSchemas(t *testing.T) {
	s := openStack(t)
	f := s.withFlusher()
	s.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT); INSERT INTO t VALUES (1, 10, 'x'), (2, 20, 'y')")
	s.flushTable(f, "t")
	s.exec("INSERT INTO t VALUES (3, 30, 'z')")
	s.exec("SELECT * FROM t")
	table, err := s.state.Catalog().Table("default", "t")
	s.must(err)
	next := *table
	old := table.Schema()
	next.Versions = append(append([]*materializer.Schema{}, table.Versions...), &materializer.Schema{Version: 2, Key: []int{0}, Columns: []materializer.Column{
		old.Columns[0],
		{ID: 2, Name: "wide", Type: expr.Type{Kind: expr.BigInt}},
		{ID: 9, Name: "added", Type: expr.Type{Kind: expr.Text}, Default: &materializer.Default{Literal: expr.AppendValue(nil, expr.TextOf("d"))}},
		{ID: 10, Name: "b", Type: expr.Type{Kind: expr.Integer}},
	}})
	ms, err := s.state.Catalog().ReplaceTable(&next, 1)
	s.must(err)
	_, err = s.writer.Write(as("root"), &materializer.Batch{Mutations: ms})
	s.must(err)
	s.exec("INSERT INTO t VALUES (4, 5000000000, 'new', 7)")
	const want = "1 | 10 | d | NULL\n2 | 20 | d | NULL\n3 | 30 | d | NULL\n4 | 5000000000 | new | 7\n"
	for range 2 {
		if got := s.exec("SELECT * FROM t ORDER BY id").lines(); got != want {
			t.Errorf("got\n%s", got)
		}
		s.flushTable(f, "t")
	}
}

// TestHostileQueries makes sure that no query, however deep or long, takes the process down.
func TestHostileQueries(t *testing.T) {
	s := openStack(t)
	s.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'x')")
	const n = 50_000
	for name, sql := range map[string]string{
		"parentheses": "SELECT " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n),
		"lists":       "SELECT " + strings.Repeat("[", 240) + "1" + strings.Repeat("]", 240),
		"sum":         "SELECT 1" + strings.Repeat("+1", n) + " FROM t",
		"short sum":   "SELECT 1" + strings.Repeat("+1", 240) + " FROM t",
		"not":         "SELECT " + strings.Repeat("NOT ", 240) + "true FROM t WHERE id = 1",
		"and":         "SELECT 1 FROM t WHERE id = 1" + strings.Repeat(" AND id = 1", 5_000),
		"in":          "SELECT 1 FROM t WHERE id IN (1" + strings.Repeat(",1", n) + ")",
		"subqueries":  strings.Repeat("SELECT * FROM (", 240) + "SELECT 1" + strings.Repeat(")", 240),
		"with":        "WITH a AS (SELECT 1)" + strings.Repeat(", a AS (SELECT 1)", 100) + " SELECT * FROM a",
		"unions":      "SELECT 1" + strings.Repeat(" UNION ALL SELECT 1", 240),
		"joins":       "SELECT 1 FROM t" + strings.Repeat(", t", 300),
		"columns":     "SELECT id" + strings.Repeat(", id", 5000) + " FROM t",
		"regex":       "SELECT regexp_matches(repeat('a', 1000), repeat('(a*)*', 1000) || 'b')",
		"memory":      "SELECT repeat(repeat('x', 1000000), 1000000)",
		"recursion":   "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r) SELECT count(*) FROM r",
		"names":       "SELECT 1 AS \"" + strings.Repeat("x", 100_000) + "\"",
		"update":      "UPDATE t SET a = " + strings.Repeat("upper(", 240) + "a" + strings.Repeat(")", 240),
		"cases":       "UPDATE t SET a = " + strings.Repeat("CASE WHEN id = 1 THEN ", 300) + "a" + strings.Repeat(" END", 300) + " WHERE id = 1",
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(as("root"), time.Second)
			defer cancel()
			err := s.Run(ctx, Request{SQL: sql}, drop{})
			if p := problem.As(err); err != nil && (p == nil || p.Code == problem.Internal) {
				t.Errorf("%v", err)
			}
			t.Logf("%.100v", err)
		})
	}
	if got := s.exec("SELECT id FROM t").lines(); got != "1\n" {
		t.Error(got)
	}
}

func TestPositionsOfTheFutureAreRefused(t *testing.T) {
	s := openStack(t)
	future, err := log.ParsePosition("1:1000000")
	s.must(err)
	if err := s.Run(as("root"), Request{SQL: "SELECT 1", AtLeast: future}, &collect{}); !problem.Is(err, problem.PositionInvalid) {
		t.Errorf("got %v", err)
	}
	s.exec("CREATE TABLE a (id INTEGER PRIMARY KEY)")
	if _, err := s.Lookup(as("root"), "default", "a", []expr.Value{integerParam(1)}, future); !problem.Is(err, problem.PositionInvalid) {
		t.Errorf("got %v", err)
	}
}

// breaksDuckDB fails in DuckDB 1.5.6 with a fault of its own, after which the instance refuses every statement.
const breaksDuckDB = "SELECT date_diff('hour', TIMESTAMPTZ '283458-03-21 (BC) 15:00:59.009+00', TIMESTAMPTZ '287396-10-12 08:59:00.991+00')"

// TestAFaultOfDuckDBIsNotForEver runs a query that DuckDB does not survive.
func TestAFaultOfDuckDBIsNotForEver(t *testing.T) {
	s := openStack(t)
	s.exec("CREATE TABLE a (id INTEGER PRIMARY KEY); INSERT INTO a VALUES (1), (2)")
	const sql = "SELECT count(*) FROM a; SELECT count(*) > 0 FROM system.columns WHERE name = 'id'"
	s.exec(sql)
	first := s.reader.Load()
	if _, err := s.run(breaksDuckDB); err == nil {
		t.Fatal("DuckDB has learnt to answer; the test needs another query")
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if results, err := s.run(sql); err != nil || results[0].lines() != "2\n" || results[1].lines() != "true\n" {
				t.Errorf("%v %v", results, err)
			}
		})
	}
	wg.Wait()
	if s.reader.Load() == first {
		t.Error("the broken DuckDB is still in use")
	}
}
