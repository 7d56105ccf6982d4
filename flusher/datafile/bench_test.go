package datafile_test

import (
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"kalamlog.dev/kalam/flusher/datafile"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

const benchRows = 500_000

// flightsSchema is that of the public flights data set.
func flightsSchema() *materializer.Schema {
	kinds := []expr.Kind{expr.BigInt, expr.Timestamp, expr.Integer, expr.Integer, expr.Text, expr.Text}
	s := &materializer.Schema{Version: 1, Key: []int{0}}
	for i, name := range []string{"id", "date", "delay", "distance", "origin", "destination"} {
		s.Columns = append(s.Columns, materializer.Column{ID: uint32(i + 1), Name: name, Type: scalar(kinds[i])})
	}
	return s
}

func flight(i int) []expr.Value {
	x := uint64(i) * 0x9E3779B97F4A7C15
	return []expr.Value{
		expr.IntOf(expr.BigInt, int64(i)), expr.IntOf(expr.Timestamp, 978307200000000+int64(i)*60_000_000), expr.IntOf(expr.Integer, int64(x>>40%180)-30),
		expr.IntOf(expr.Integer, int64(x>>30%2500)+30), expr.TextOf(fmt.Sprintf("A%02d", x>>20%200)), expr.TextOf(fmt.Sprintf("B%02d", x>>25%200)),
	}
}

// BenchmarkWrite is the cost of a row from its values to the file; BenchmarkDuckDBCopy that of DuckDB with the same rows.
func BenchmarkWrite(b *testing.B) {
	layout, err := datafile.NewLayout(flightsSchema())
	if err != nil {
		b.Fatal(err)
	}
	var rows []materializer.Row
	for i := range benchRows {
		rows = append(rows, encoded(b, layout.Schema(), flight(i))...)
	}
	metas := make([]datafile.Meta, benchRows)
	for i := range metas {
		metas[i] = datafile.Meta{Op: materializer.RowInserted, Offset: log.Offset(i), Timestamp: int64(i)}
	}
	batch := layout.NewBatch()
	for b.Loop() {
		var w *datafile.Writer
		for i := 0; i < benchRows; i += 256 {
			end := min(i+256, benchRows)
			batch.Append(metas[i:end], rows[i:end])
			if w == nil {
				w = datafile.NewWriter(layout, io.Discard, batch, datafile.WriterOptions{})
			}
			if err := w.Write(batch); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*benchRows/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkDuckDBCopy(b *testing.B) {
	db := openDuckDB(b)
	if _, err := db.Exec(`CREATE TABLE f AS SELECT i AS id, make_timestamp(978307200000000 + i * 60000000) AS date, (hash(i) % 180)::INTEGER - 30 AS delay,
		(hash(i + 1) % 2500)::INTEGER AS distance, 'A' || (hash(i + 2) % 200) AS origin, 'B' || (hash(i + 3) % 200) AS destination,
		0::INTEGER AS _partition, i AS _offset, make_timestamp(i)::TIMESTAMPTZ AS _timestamp, 'insert' AS _op, NULL::BIGINT AS _previous FROM range(?) t(i)`, benchRows); err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "f.parquet")
	for b.Loop() {
		if _, err := db.Exec("COPY f TO '" + path + "' (FORMAT parquet)"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*benchRows/b.Elapsed().Seconds(), "rows/s")
}
