package query

import (
	"fmt"
	"testing"

	"kalamlog.dev/kalam/query/expr"
)

// drop is a Sink that drops everything.
type drop struct{}

func (drop) Begin([]Column) error   { return nil }
func (drop) Row([]expr.Value) error { return nil }
func (drop) End(Summary) error      { return nil }

func benchStack(b *testing.B, rows int) *stack {
	b.Helper()
	s := openStack(b)
	s.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, g INTEGER, v DOUBLE, name TEXT)")
	for at := 0; at < rows; at += 10000 {
		sql := []byte("INSERT INTO t VALUES ")
		for i := at; i < min(rows, at+10000); i++ {
			if i > at {
				sql = append(sql, ',')
			}
			sql = fmt.Appendf(sql, "(%d,%d,%d.5,'name %d')", i, i%100, i, i)
		}
		s.exec(string(sql))
	}
	return s
}

func (s *stack) loop(b *testing.B, sql string, params func(i int) []expr.Value) {
	ctx := as("root")
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		var p []expr.Value
		if params != nil {
			p = params(i)
		}
		i++
		if err := s.Run(ctx, Request{SQL: sql, Params: p}, drop{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKeyRead(b *testing.B) {
	s := benchStack(b, 10000)
	s.loop(b, "SELECT * FROM t WHERE id = $1", func(i int) []expr.Value { return []expr.Value{integerParam(i % 10000)} })
}

func BenchmarkLookup(b *testing.B) {
	s := benchStack(b, 10000)
	ctx := as("root")
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if _, err := s.Lookup(ctx, "default", "t", []expr.Value{integerParam(i % 10000)}, s.log.Position()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSmallQuery(b *testing.B) {
	s := benchStack(b, 10000)
	s.loop(b, "SELECT count(*) FROM t WHERE g = 5", nil)
}

func BenchmarkQueryAfterWrite(b *testing.B) {
	s := benchStack(b, 10000)
	s.loop(b, "UPDATE t SET v = v + 1 WHERE id = 7; SELECT count(*) FROM t WHERE g = 5", nil)
}

func BenchmarkUpdate(b *testing.B) {
	s := benchStack(b, 10000)
	s.loop(b, "UPDATE t SET v = v + 1 WHERE id = $1", func(i int) []expr.Value { return []expr.Value{integerParam(i % 10000)} })
}

func BenchmarkInsertRow(b *testing.B) {
	s := benchStack(b, 10)
	s.loop(b, "INSERT INTO t VALUES ($1, 1, 1, 'x')", func(i int) []expr.Value { return []expr.Value{integerParam(1000 + i)} })
}

// BenchmarkGroupBy aggregates a million rows: in the tail, flushed, and with 5 % of the flushed rows updated since.
func BenchmarkGroupBy(b *testing.B) {
	s := benchStack(b, 1_000_000)
	f := s.withFlusher()
	const sql = "SELECT g, count(*), avg(v) FROM t GROUP BY g"
	s.exec(sql)
	b.Run("tail", func(b *testing.B) { s.loop(b, sql, nil) })
	s.flushTable(f, "t")
	s.exec(sql)
	b.Run("flushed", func(b *testing.B) { s.loop(b, sql, nil) })
	files := fmt.Sprintf("SELECT g, count(*), avg(v) FROM read_parquet('%s/**/*.parquet') GROUP BY g", s.dir)
	b.Run("files", func(b *testing.B) {
		conn, err := s.reader.Load().db.Conn(as("root"))
		if err != nil {
			b.Fatal(err)
		}
		defer s.reader.Load().db.Release(conn)
		for b.Loop() {
			if err := conn.Exec(as("root"), files); err != nil {
				b.Fatal(err)
			}
		}
	})
	s.exec("UPDATE t SET v = v + 1 WHERE id % 20 = 3")
	s.exec(sql)
	b.Run("updated", func(b *testing.B) { s.loop(b, sql, nil) })
	s.flushTable(f, "t")
	s.exec(sql)
	b.Run("flushed-again", func(b *testing.B) { s.loop(b, sql, nil) })
}

// BenchmarkScanRows returns all of 100,000 rows of four columns.
func BenchmarkScanRows(b *testing.B) {
	s := benchStack(b, 100_000)
	s.loop(b, "SELECT * FROM t", nil)
}

// BenchmarkInsert1000 inserts a thousand rows by one statement.
func BenchmarkInsert1000(b *testing.B) {
	s := benchStack(b, 10)
	next := 1000
	ctx := as("root")
	for b.Loop() {
		sql := []byte("INSERT INTO t VALUES ")
		for range 1000 {
			sql = fmt.Appendf(sql, "(%d, 1, 1.5, 'name'),", next)
			next++
		}
		if err := s.Run(ctx, Request{SQL: string(sql[:len(sql)-1])}, drop{}); err != nil {
			b.Fatal(err)
		}
	}
}
