package datafile_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"kalamlog.dev/kalam/flusher/datafile"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// TestDuckDBPrunesNoRowItShouldFind compares filters over a file of many small row groups, which DuckDB prunes by their statistics, with
// the same filters over a table that was made of all the file's rows.
func TestDuckDBPrunesNoRowItShouldFind(t *testing.T) {
	t.Parallel()
	cases := typeCases()
	path := filepath.Join(t.TempDir(), "f.parquet")
	if err := os.WriteFile(path, manyGroups(t, cases), 0o600); err != nil {
		t.Fatal(err)
	}
	db := openDuckDB(t)
	if _, err := db.Exec("CREATE TABLE whole AS SELECT * FROM read_parquet('" + path + "')"); err != nil {
		t.Fatal(err)
	}
	answer := func(q, from string) (s string) {
		t.Helper()
		if err := db.QueryRow(fmt.Sprintf(q, from)).Scan(&s); err != nil {
			t.Fatalf(q+": %v", from, err)
		}
		return s
	}
	for i, c := range cases {
		queries := []string{
			fmt.Sprintf("SELECT coalesce(md5(min(c%d)::VARCHAR), '') || coalesce(md5(max(c%d)::VARCHAR), '') || count(c%d) FROM %%s", i, i, i),
			fmt.Sprintf("SELECT count(*) FROM %%s WHERE c%d IS NULL", i), fmt.Sprintf("SELECT count(*) FROM %%s WHERE c%d IS NOT NULL", i),
		}
		for _, v := range c.sql {
			for _, op := range []string{"<", "<=", "=", ">=", ">", "<>"} {
				queries = append(queries, fmt.Sprintf("SELECT count(*) || '/' || coalesce(sum(id), 0) FROM %%s WHERE c%d %s (%s)::%s", i, op, v, c.duck))
			}
		}
		for _, q := range queries {
			if got, want := answer(q, "read_parquet('"+path+"')"), answer(q, "whole"); got != want {
				t.Errorf("%s: %s in the file, %s in the table", q, got, want)
			}
		}
	}
}

// manyGroups writes a file of 60 row groups whose rows take values of the cases at random, few different ones in each group.
func manyGroups(t *testing.T, cases []typeCase) []byte {
	t.Helper()
	s := &materializer.Schema{Version: 1, Columns: []materializer.Column{{ID: 1, Name: "id", Type: scalar(expr.BigInt)}}, Key: []int{0}}
	for i, c := range cases {
		s.Columns = append(s.Columns, materializer.Column{ID: uint32(i + 2), Name: fmt.Sprint("c", i), Type: c.typ})
	}
	layout, err := datafile.NewLayout(s)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	b := layout.NewBatch()
	var w *datafile.Writer
	rng := rand.New(rand.NewPCG(11, 12))
	for group := range 60 {
		for row := range 1 + rng.IntN(3) {
			values := []expr.Value{expr.IntOf(expr.BigInt, int64(group*10+row))}
			for _, c := range cases {
				if rng.IntN(8) == 0 {
					values = append(values, expr.Value{})
				} else {
					values = append(values, c.values[rng.IntN(len(c.values))])
				}
			}
			b.Append([]datafile.Meta{{Op: materializer.RowInserted, Offset: log.Offset(group*10 + row)}}, encoded(t, s, values))
		}
		if w == nil {
			w = datafile.NewWriter(layout, &out, b, datafile.WriterOptions{})
		}
		if err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		b.Reset()
		if err := w.EndRowGroup(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
