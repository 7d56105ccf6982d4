package flusher

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/flusher/objstore"
	"kalamlog.dev/kalam/flusher/shard"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/pebble"
	"kalamlog.dev/kalam/query/expr"
)

// node is a real log, materializer and Flusher in a folder.
type node struct {
	t       testing.TB
	dir     string
	m       *materializer.Materializer
	log     *log.Log
	writer  *materializer.Writer
	flusher *Flusher
}

func openNode(t testing.TB, dir string) *node {
	t.Helper()
	m, err := materializer.New(materializer.Options{Backend: func(before func() error) (storage.Backend, error) {
		return pebble.Open(pebble.Options{Dir: filepath.Join(dir, "state"), BeforeDurable: before})
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := log.Open(shortContext(t), log.Options{Dir: dir, Fold: m, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	strategies, err := shard.NewRegistry(4)
	if err != nil {
		t.Fatal(err)
	}
	w := materializer.NewWriter(l)
	f, err := New(Options{Log: l, State: m, Writer: w, Store: objstore.NewDir(vfs.Default, dir), Strategies: strategies, CheckInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	return &node{t: t, dir: dir, m: m, log: l, writer: w, flusher: f}
}

func (n *node) close() {
	n.t.Helper()
	if err := n.flusher.Close(); err != nil {
		n.t.Error(err)
	}
	if err := n.log.Close(); err != nil {
		n.t.Error(err)
	}
}

func (n *node) write(ms ...materializer.Mutation) {
	n.t.Helper()
	if _, err := n.writer.Write(n.t.Context(), &materializer.Batch{Mutations: ms}); err != nil {
		n.t.Error(err)
	}
}

// TestWholeWay writes through the real log from many goroutines while flushes run, restarts, and lets DuckDB find the current rows in the
// Parquet files alone.
func TestWholeWay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := openNode(t, dir)
	def := people(3)
	def.Namespace = materializer.DefaultNamespace
	created, ms, err := n.m.Catalog().CreateTable(def, 1)
	if err != nil {
		t.Fatal(err)
	}
	n.write(ms...)
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() { n.churn(created, rand.New(rand.NewPCG(uint64(i), 9)), 40) })
	}
	for range 3 {
		if s, err := flushAndWait(t, n.flusher, created); err != nil || s.State != Completed {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	writers.Wait()
	n.close()

	n = openNode(t, dir)
	defer n.close()
	table := n.m.Catalog().TableByID(created.ID)
	if s, err := flushAndWait(t, n.flusher, table); err != nil || s.State != Completed {
		t.Fatalf("%+v, %v", s, err)
	}
	v, err := n.m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, diffs, err := materializer.Verify(t.Context(), v, NewHistory(v, n.log, n.flusher.options.Store), nil); err != nil || len(diffs) > 0 {
		t.Errorf("verify: %v, %v", diffs, err)
	}
	want, got := n.currentRows(v, table), duckDBRows(t, dir)
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("DuckDB finds %d rows, the state has %d:\n%s\n%s", len(got), len(want), strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// churn writes batches of random changes.
func (n *node) churn(t *materializer.Table, rng *rand.Rand, batches int) {
	for range batches {
		var ms []materializer.Mutation
		for range 20 {
			name := fmt.Sprintf("%c%d", rune('a'+rng.IntN(26)), rng.IntN(10))
			var m materializer.Mutation
			var err error
			if rng.IntN(4) == 0 {
				m, err = t.OfKey(materializer.Remove, []expr.Value{expr.TextOf(name)})
				m.Miss = materializer.Skip
			} else {
				m, err = t.NewRow(materializer.Upsert, []expr.Value{expr.TextOf(name), expr.IntOf(expr.BigInt, rng.Int64()), expr.TextOf("x")})
			}
			if err != nil {
				n.t.Error(err)
			}
			ms = append(ms, m)
		}
		n.write(ms...)
	}
}

func (n *node) currentRows(v *materializer.View, t *materializer.Table) []string {
	n.t.Helper()
	var rows []string
	for p := range t.Partitions {
		for r, err := range v.Scan(t, log.PartitionID(p), storage.Range{}) {
			if err != nil {
				n.t.Fatal(err)
			}
			rows = append(rows, fmt.Sprint(r.Row.Column(0), " ", r.Row.Column(1), " ", p, " ", r.Version, " ", r.Timestamp))
		}
	}
	slices.Sort(rows)
	return rows
}

// duckDBRows folds the changes in the data files below dir.
func duckDBRows(t *testing.T, dir string) []string {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(context.Background(), `SELECT concat_ws(' ', name, n, _partition, _offset, epoch_us(_timestamp)) FROM (
		SELECT *, row_number() OVER (PARTITION BY name ORDER BY _offset DESC) AS age FROM read_parquet('`+dir+`/data/*/*/*.parquet')
	) WHERE age = 1 AND _op <> 'delete' ORDER BY ALL`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}
