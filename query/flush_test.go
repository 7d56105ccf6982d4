package query

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/flusher"
	"kalamlog.dev/kalam/flusher/objstore"
	"kalamlog.dev/kalam/flusher/shard"
	"kalamlog.dev/kalam/query/expr"
)

// withFlusher gives the stack a real flusher, whose jobs run only when they are asked for.
func (s *stack) withFlusher() *flusher.Flusher {
	s.Helper()
	strategies, err := shard.NewRegistry(4)
	s.must(err)
	f, err := flusher.New(flusher.Options{
		Log: s.log, State: s.state, Writer: s.writer, Store: objstore.NewDir(vfs.Default, s.dir), Strategies: strategies, CheckInterval: -1,
	})
	s.must(err)
	s.Cleanup(func() { s.must(f.Close()) })
	s.SetJobs(f)
	return f
}

// flushTable flushes a table and waits until that is done.
func (s *stack) flushTable(f *flusher.Flusher, table string) {
	s.Helper()
	id := s.exec("FLUSH TABLE " + table).rows[0][0]
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	status, err := f.Wait(ctx, id)
	s.must(err)
	if status.State != "completed" {
		s.Fatalf("flush of %s: %+v", table, status)
	}
}

// TestRowsOfEveryTypeSurviveAFlush compares a table's rows, system columns included, in the tail and in Parquet.
func TestRowsOfEveryTypeSurviveAFlush(t *testing.T) {
	s := openStack(t)
	f := s.withFlusher()
	s.exec(`CREATE TABLE t (k BIGINT PRIMARY KEY, a BOOLEAN, b SMALLINT, c INTEGER, d BIGINT, e REAL, f DOUBLE, g DECIMAL(4,2), h DECIMAL(9,2),
		i DECIMAL(18,4), j DECIMAL(38,10), l TEXT, m BLOB, n DATE, o TIME, p TIMESTAMP, q TIMESTAMPTZ, r UUID, s JSON, u TEXT[], v INTEGER[][], w DECIMAL(5,1)[])`)
	s.exec(`INSERT INTO t VALUES (1, true, -1, 2147483647, -9223372036854775808, 1.5, 'nan', -12.34, 1234567.89, -12345678901234.5678,
		1234567890123456789012345678.0123456789, 'text ü', X'00ff', '1969-12-31', '23:59:59.999999', '1600-01-01 00:00:00.000001', '2200-01-01 00:00:00+02',
		'8b1ab7d1-0000-4000-8000-0123456789ab', '{"a": [1, null]}', ARRAY['a', NULL, ''], ARRAY[ARRAY[1], NULL], ARRAY[1.5])`)
	s.exec("INSERT INTO t (k) VALUES (2)")
	s.exec("INSERT INTO t (k, l, u) VALUES (3, '', '[]')")
	const all = "SELECT *, _partition, _offset, _timestamp, _op FROM t ORDER BY k"
	before := s.exec(all)
	s.flushTable(f, "t")
	after := s.exec(all)
	if before.lines() != after.lines() || fmt.Sprint(before.columns) != fmt.Sprint(after.columns) {
		t.Errorf("before:\n%s\nafter:\n%s", before.print(), after.print())
	}
	s.exec("INSERT INTO t (k, d) VALUES (4, 7)")
	s.exec("UPDATE t SET l = 'changed' WHERE k = 1")
	s.exec("DELETE FROM t WHERE k = 2")
	if got := s.exec("SELECT k, l, d FROM t ORDER BY k").lines(); got != "1 | changed | -9223372036854775808\n3 |  | NULL\n4 | NULL | 7\n" {
		t.Errorf("mixed:\n%s", got)
	}
	s.flushTable(f, "t")
	if got := s.exec("SELECT k, l, d, _op FROM t ORDER BY k").lines(); got != "1 | changed | -9223372036854775808 | update\n3 |  | NULL | insert\n4 | NULL | 7 | insert\n" {
		t.Errorf("flushed twice:\n%s", got)
	}
}

// model is a table's rows as they must be.
type model map[int]int

func (m model) lines() string {
	var b strings.Builder
	for k := range 400 {
		if n, ok := m[k]; ok {
			fmt.Fprintf(&b, "%d | %d\n", k, n)
		}
	}
	return b.String()
}

// step makes one random change in the table and in the model.
func (m model) step(s *stack, r *rand.Rand) {
	k, n := r.IntN(400), r.IntN(1000)
	key, val := expr.IntOf(expr.Integer, int64(k)), expr.IntOf(expr.Integer, int64(n))
	switch r.IntN(5) {
	case 0:
		s.exec("DELETE FROM t WHERE k = $1", key)
		delete(m, k)
	case 1:
		s.exec("UPDATE t SET n = n + $2 WHERE k = $1", key, val)
		if old, ok := m[k]; ok {
			m[k] = old + n
		}
	default:
		s.exec("INSERT INTO t VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET n = excluded.n", key, val)
		m[k] = n
	}
}

// TestEachRowCountsOnceWhateverIsFlushed makes random changes, flushes at random moments and compares with a model.
func TestEachRowCountsOnceWhateverIsFlushed(t *testing.T) {
	s := openStack(t)
	f := s.withFlusher()
	s.exec("CREATE TABLE t (k INTEGER PRIMARY KEY, n INTEGER) WITH (partitions = 3)")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r, m := rand.New(rand.NewPCG(seed, 1)), model{}
	for i := range 1500 {
		m.step(s, r)
		if r.IntN(60) == 0 {
			s.flushTable(f, "t")
		}
		if r.IntN(150) == 0 {
			s.must(s.Close())
			s.openEngine()
			s.SetJobs(f)
		}
		if r.IntN(10) == 0 || i == 1499 {
			if got := s.exec("SELECT k, n FROM t ORDER BY k").lines(); got != m.lines() {
				t.Fatalf("step %d: got\n%s\nwant\n%s", i, got, m.lines())
			}
		}
	}
	if got := s.exec("SELECT count(*), count(DISTINCT (_partition, _offset)) FROM t").rows[0]; got[0] != got[1] {
		t.Errorf("%s rows, %s offsets", got[0], got[1])
	}
}

// TestReadsAreConstantWhileFlushing reads in a loop while the table is flushed and rows move between keys whose sum is
// constant: no read may see anything but that sum.
func TestReadsAreConstantWhileFlushing(t *testing.T) {
	s := openStack(t)
	f := s.withFlusher()
	s.exec("CREATE TABLE t (k INTEGER PRIMARY KEY, n INTEGER)")
	s.exec("INSERT INTO t VALUES " + manyRows(200))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		r := rand.New(rand.NewPCG(1, 2))
		for {
			select {
			case <-stop:
				return
			default:
			}
			a, b := r.IntN(200), r.IntN(200)
			if a == b {
				continue
			}
			if _, err := s.run(fmt.Sprintf("UPDATE t SET n = n + CASE WHEN k = %d THEN 1 ELSE -1 END WHERE k IN (%d, %d)", a, a, b)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	wg.Go(func() {
		defer close(stop)
		for range 8 {
			s.flushTable(f, "t")
		}
	})
	reads := 0
	for done := false; !done; reads++ {
		select {
		case <-stop:
			done = true
		default:
		}
		if got := s.exec("SELECT count(*), sum(n) FROM t").lines(); got != "200 | 2000\n" {
			t.Errorf("read %d: %s", reads, got)
			break
		}
	}
	wg.Wait()
	t.Logf("%d reads", reads)
}

// manyRows returns VALUES of n rows (i, 10).
func manyRows(n int) string {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf("(%d, 10)", i)
	}
	return strings.Join(rows, ", ")
}

func TestUserRowsStayApartAfterAFlush(t *testing.T) {
	s := openStack(t)
	f := s.withFlusher()
	s.exec("CREATE TABLE u (id INTEGER PRIMARY KEY, v TEXT) WITH (type = 'user')")
	read := func(user, sql string) string {
		var c collect
		s.must(s.Run(as(user), Request{SQL: sql}, &c))
		return c.results[0].lines()
	}
	for _, user := range []string{"ann", "bob", "cat"} {
		read(user, "INSERT INTO u VALUES (1, '"+user+"'), (2, 'x')")
	}
	s.flushTable(f, "u")
	read("ann", "UPDATE u SET v = 'new' WHERE id = 2")
	read("bob", "DELETE FROM u")
	read("cat", "INSERT INTO u VALUES (3, 'y')")
	for range 2 {
		for user, want := range map[string]string{
			"ann": "1 | ann\n2 | new\n", "bob": "", "cat": "1 | cat\n2 | x\n3 | y\n", "dan": "", "root": "1 | ann\n1 | cat\n2 | new\n2 | x\n3 | y\n",
		} {
			if got := read(user, "SELECT * FROM u ORDER BY ALL"); got != want {
				t.Errorf("%s sees\n%s", user, got)
			}
		}
		s.flushTable(f, "u")
	}
}
