package flusher

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	_ "github.com/duckdb/duckdb-go/v2"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/flusher/objstore"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

const benchRows = 500_000

// flights is a table with the columns of the public flights data set.
func flights() *materializer.Table {
	kinds := []expr.Kind{expr.Text, expr.Timestamp, expr.Integer, expr.Integer, expr.Text, expr.Text}
	s := &materializer.Schema{Version: 1, Key: []int{0}}
	for i, name := range []string{"id", "date", "delay", "distance", "origin", "destination"} {
		s.Columns = append(s.Columns, materializer.Column{Name: name, Type: expr.Type{Kind: kinds[i]}, NotNull: i == 0})
	}
	return &materializer.Table{Name: "flights", Partitions: 4, Versions: []*materializer.Schema{s}}
}

func flight(i int) []expr.Value {
	x := uint64(i) * 0x9E3779B97F4A7C15
	return []expr.Value{
		expr.TextOf(fmt.Sprintf("%c%07d", rune('a'+i%26), i)), expr.IntOf(expr.Timestamp, 978307200000000+int64(i)*60_000_000),
		expr.IntOf(expr.Integer, int64(x>>40%180)-30), expr.IntOf(expr.Integer, int64(x>>30%2500)+30),
		expr.TextOf(fmt.Sprintf("A%02d", x>>20%200)), expr.TextOf(fmt.Sprintf("B%02d", x>>25%200)),
	}
}

// BenchmarkFlush flushes half a million flights; BenchmarkDuckDBCopy lets DuckDB write the very files' rows again.
func BenchmarkFlush(b *testing.B) {
	b.Run("kalam", func(b *testing.B) {
		used := time.Duration(0)
		for b.Loop() {
			b.StopTimer()
			r, table, _ := loadFlights(b)
			runtime.GC()
			b.StartTimer()
			before := processorTime(b)
			r.withFlusher(func(f *Flusher) { r.flush(f, table) })
			used += processorTime(b) - before
			b.StopTimer()
			reportFiles(b, r.manifest(table))
			b.StartTimer()
		}
		report(b, used)
	})
	b.Run("kalam over its log", func(b *testing.B) {
		used := time.Duration(0)
		for b.Loop() {
			b.StopTimer()
			n := openNode(b, b.TempDir())
			def := flights()
			def.Namespace = materializer.DefaultNamespace
			table, ms, err := n.m.Catalog().CreateTable(def, 1)
			if err != nil {
				b.Fatal(err)
			}
			n.write(ms...)
			eachBatch(b, table, func(ms []materializer.Mutation) { n.write(ms...) })
			runtime.GC()
			b.StartTimer()
			before := processorTime(b)
			if s, err := flushAndWait(b, n.flusher, table); err != nil || s.Rows != benchRows {
				b.Fatal(s, err)
			}
			used += processorTime(b) - before
			b.StopTimer()
			n.close()
			b.StartTimer()
		}
		report(b, used)
	})
	b.Run("duckdb", func(b *testing.B) {
		r, table, dir := loadFlights(b)
		r.withFlusher(func(f *Flusher) { r.flush(f, table) })
		db, err := sql.Open("duckdb", "")
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		db.SetMaxOpenConns(1)
		if _, err := db.Exec("CREATE TABLE f AS SELECT * FROM read_parquet('" + dir + "/data/*/*/*.parquet') ORDER BY _partition, _offset"); err != nil {
			b.Fatal(err)
		}
		path := filepath.Join(b.TempDir(), "f.parquet")
		before := processorTime(b)
		for b.Loop() {
			if _, err := db.Exec("COPY f TO '" + path + "' (FORMAT parquet)"); err != nil {
				b.Fatal(err)
			}
		}
		report(b, processorTime(b)-before)
	})
}

// report gives the rate, and the processor time of a row, which other load on the machine changes less.
func report(b *testing.B, used time.Duration) {
	b.Helper()
	rows := float64(b.N) * benchRows
	b.ReportMetric(rows/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(used.Nanoseconds())/rows, "cpu-ns/row")
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func loadFlights(b *testing.B) (*rig, *materializer.Table, string) {
	b.Helper()
	dir := b.TempDir()
	r := newRig(b, vfs.NewMem(), func(o *Options) { o.Store = objstore.NewDir(vfs.Default, dir) })
	table := r.createTable(flights())
	eachBatch(b, table, func(ms []materializer.Mutation) { r.mustWrite(ms...) })
	return r, table, dir
}

// eachBatch gives write all flights, 5000 at a time.
func eachBatch(b *testing.B, table *materializer.Table, write func(ms []materializer.Mutation)) {
	b.Helper()
	ms := make([]materializer.Mutation, 0, 5000)
	for i := range benchRows {
		m, err := table.NewRow(materializer.Insert, flight(i))
		if err != nil {
			b.Fatal(err)
		}
		if ms = append(ms, m); len(ms) == cap(ms) {
			write(ms)
			ms = ms[:0]
		}
	}
	write(ms)
}

func reportFiles(b *testing.B, m *manifest.Manifest) {
	b.Helper()
	bytes := int64(0)
	for _, f := range m.Files {
		bytes += f.Bytes
	}
	b.ReportMetric(float64(bytes)/benchRows, "B/row")
	b.ReportMetric(float64(len(m.Files)), "files")
}
