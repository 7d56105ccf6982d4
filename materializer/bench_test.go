package materializer

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/pebble"
	"kalamlog.dev/kalam/query/expr"
)

// benchRig is a Materializer on disk whose log only counts.
type benchRig struct {
	b     *testing.B
	m     *Materializer
	index log.Index
	ends  map[log.Partition]log.Offset
	bytes int64
	users *Table
}

func newBenchRig(b *testing.B) *benchRig {
	b.Helper()
	dir := b.TempDir()
	m, err := New(Options{Backend: func(before func() error) (storage.Backend, error) {
		return pebble.Open(pebble.Options{Dir: dir, BeforeDurable: before})
	}})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := m.Open(func() error { return nil }); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = m.Close() })
	r := &benchRig{b: b, m: m, ends: map[log.Partition]log.Offset{}}
	ms, err := m.Catalog().CreateNamespace("app", 1)
	r.apply(ms, err)
	users, ms, err := m.Catalog().CreateTable(&Table{Namespace: "app", Name: "users", Partitions: 4, Versions: []*Schema{{
		Version: 1, Key: []int{0}, Columns: []Column{
			{Name: "id", Type: bigint},
			{Name: "name", Type: text},
			{Name: "n", Type: bigint},
			{Name: "at", Type: expr.Type{Kind: expr.TimestampTZ}},
			{Name: "price", Type: expr.Type{Kind: expr.Decimal, Precision: 12, Scale: 2}},
		},
	}}}, 1)
	r.apply(ms, err)
	r.users = users
	return r
}

// DeletePrefix implements log.Appender.
func (*benchRig) DeletePrefix(log.Partition, log.Start) {}

// Append implements log.Appender.
func (r *benchRig) Append(p log.Partition, change []byte) log.Offset {
	o := r.ends[p]
	r.ends[p] = o + 1
	r.bytes += int64(len(change))
	return o
}

func (r *benchRig) apply(ms []Mutation, err error) {
	r.b.Helper()
	if err != nil {
		r.b.Fatal(err)
	}
	r.applyRaw(EncodeBatch(&Batch{Mutations: ms}))
}

// applyRaw applies a batch as one step.
func (r *benchRig) applyRaw(raw []byte) {
	r.b.Helper()
	r.index++
	step := r.m.Begin()
	result, err := step.Apply(log.EntryMeta{Group: 1, Index: r.index, Timestamp: int64(r.index)}, raw, r)
	if err != nil {
		r.b.Fatal(err)
	}
	if _, err := decodeResult(result); err != nil {
		r.b.Fatal(err)
	}
	if err := step.Commit(log.Checkpoint{Index: r.index, Timestamp: int64(r.index)}, r.ends); err != nil {
		r.b.Fatal(err)
	}
}

func (r *benchRig) values(id int64) []expr.Value {
	return []expr.Value{
		big(id), str(fmt.Sprintf("name of user %d", id)), big(id * 7), expr.IntOf(expr.TimestampTZ, id), expr.DecimalOf(0, uint64(id), 2),
	}
}

// batchOf encodes mutations of rows ids(0) to ids(n-1).
func (r *benchRig) batchOf(n int, mutation func(i int) Mutation) []byte {
	ms := make([]Mutation, n)
	for i := range ms {
		ms[i] = mutation(i)
	}
	return EncodeBatch(&Batch{Mutations: ms})
}

func (r *benchRig) rowOf(o MutationOp, id int64) Mutation {
	m, err := r.users.NewRow(o, r.values(id))
	if err != nil {
		r.b.Fatal(err)
	}
	return m
}

const benchBatch = 1000

// run applies b.N rows in batches that next encodes with the clock stopped.
func (r *benchRig) run(next func() []byte) {
	r.b.ReportAllocs()
	r.b.ResetTimer()
	cpu := time.Duration(0)
	for done := 0; done < r.b.N; done += benchBatch {
		r.b.StopTimer()
		raw := next()
		before := cpuTime(r.b)
		r.b.StartTimer()
		r.applyRaw(raw)
		cpu += cpuTime(r.b) - before
	}
	r.b.ReportMetric(float64(r.b.N)/r.b.Elapsed().Seconds(), "rows/s")
	r.b.ReportMetric(float64(cpu.Nanoseconds())/float64(r.b.N), "cpu-ns/row")
}

// cpuTime is what the process has used of all cores, compactions included: it says more than the clock where others work on the same machine.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkApplyInsertInOrder(b *testing.B) {
	r := newBenchRig(b)
	id := int64(0)
	r.run(func() []byte {
		return r.batchOf(benchBatch, func(int) Mutation { id++; return r.rowOf(Insert, id) })
	})
}

func BenchmarkApplyInsertRandom(b *testing.B) {
	r := newBenchRig(b)
	rng := rand.New(rand.NewPCG(1, 1))
	r.run(func() []byte {
		return r.batchOf(benchBatch, func(int) Mutation { return r.rowOf(Insert, rng.Int64()) })
	})
}

// load puts rows 0 to n-1.
func (r *benchRig) load(n int64) {
	for at := int64(0); at < n; at += benchBatch {
		r.applyRaw(r.batchOf(benchBatch, func(i int) Mutation { return r.rowOf(Insert, at+int64(i)) }))
	}
	if err := r.m.Sync(); err != nil {
		r.b.Fatal(err)
	}
}

func BenchmarkApplyUpsertRandom(b *testing.B) {
	r := newBenchRig(b)
	const rows = 500_000
	r.load(rows)
	rng := rand.New(rand.NewPCG(1, 1))
	r.run(func() []byte {
		return r.batchOf(benchBatch, func(int) Mutation { return r.rowOf(Upsert, rng.Int64N(rows)) })
	})
}

func BenchmarkApplyPatch(b *testing.B) {
	r := newBenchRig(b)
	const rows = 100_000
	r.load(rows)
	rng := rand.New(rand.NewPCG(1, 1))
	set := []Assignment{{Column: 2, Expr: op("-", column("n"), lit(big(1)))}}
	r.run(func() []byte {
		return r.batchOf(benchBatch, func(int) Mutation {
			m, err := r.users.OfKey(Patch, []expr.Value{big(rng.Int64N(rows))})
			if err != nil {
				b.Fatal(err)
			}
			m.Set, m.Where = set, op(">", column("n"), lit(big(-1_000_000)))
			return m
		})
	})
}

// BenchmarkApplyOne is the step of one small write: what a lone client waits for beside Raft.
func BenchmarkApplyOne(b *testing.B) {
	r := newBenchRig(b)
	b.ReportAllocs()
	id := int64(0)
	for b.Loop() {
		b.StopTimer()
		id++
		raw := r.batchOf(1, func(int) Mutation { return r.rowOf(Insert, id) })
		b.StartTimer()
		r.applyRaw(raw)
	}
}

func BenchmarkEncodeRow(b *testing.B) {
	r := newBenchRig(b)
	values, buf := r.values(4711), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = EncodeRow(buf[:0], r.users.Schema(), values); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeRowColumn(b *testing.B) {
	r := newBenchRig(b)
	raw, err := EncodeRow(nil, r.users.Schema(), r.values(4711))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		row, err := r.users.DecodeRow(raw)
		if err != nil || row.Column(2).Int() != 4711*7 {
			b.Fatal(err)
		}
	}
}

func BenchmarkPartitionOf(b *testing.B) {
	r := newBenchRig(b)
	key := []expr.Value{big(4711)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.users.PartitionOf(key); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScan(b *testing.B) {
	r := newBenchRig(b)
	r.load(100_000)
	v, err := r.m.View()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = v.Close() })
	b.ReportAllocs()
	rows := 0
	for b.Loop() {
		for p := range r.users.Partitions {
			for row, err := range v.Scan(r.users, log.PartitionID(p), storage.Range{}) {
				if err != nil || row.Row.Column(2).IsNull() {
					b.Fatal(err)
				}
				rows++
			}
		}
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}
