package materializer

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"iter"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/pebble"
	"kalamlog.dev/kalam/query/expr"
)

// ledger is a log in memory around a Materializer: it gives out offsets and indexes, keeps the changes and hands them back.
type ledger struct {
	t     testing.TB
	m     *Materializer
	index log.Index
	now   int64
	ends  map[log.Partition]log.Offset
	all   map[log.Partition][]log.Record

	memory Memory // of writeOnce
	starts map[log.Partition]log.Start
}

func memoryBackend(fs vfs.FS) func(func() error) (storage.Backend, error) {
	return func(before func() error) (storage.Backend, error) {
		return pebble.Open(pebble.Options{Dir: "state", FS: fs, BeforeDurable: before, MemtableBytes: 1 << 20})
	}
}

// openLedger opens a Materializer over fs that is closed with the test.
func openLedger(t testing.TB, fs vfs.FS) *ledger {
	t.Helper()
	return openLedgerOver(t, memoryBackend(fs))
}

func openLedgerOver(t testing.TB, open backendOpener) *ledger {
	t.Helper()
	m, err := New(Options{Backend: open})
	if err != nil {
		t.Fatal(err)
	}
	cp, err := m.Open(func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return &ledger{
		t: t, m: m, index: cp.Index, now: max(cp.Timestamp, 1_000_000),
		ends: map[log.Partition]log.Offset{}, all: map[log.Partition][]log.Record{}, starts: map[log.Partition]log.Start{},
	}
}

func newLedger(t testing.TB) *ledger { return openLedger(t, vfs.NewMem()) }

// ledgerStep is one step under way.
type ledgerStep struct {
	l    *ledger
	step log.Step
	meta log.EntryMeta
	ends map[log.Partition]log.Offset
}

func (l *ledger) begin() *ledgerStep {
	return &ledgerStep{l: l, step: l.m.Begin(), ends: map[log.Partition]log.Offset{}}
}

// Append implements log.Appender.
func (s *ledgerStep) Append(p log.Partition, change []byte) log.Offset {
	o, ok := s.l.ends[p]
	if !ok {
		var err error
		if o, err = s.l.m.End(p); err != nil {
			s.l.t.Fatal(err)
		}
	}
	s.l.all[p] = append(s.l.all[p], log.Record{
		Partition: p, Offset: o, Index: s.meta.Index, Timestamp: s.meta.Timestamp, Data: append([]byte(nil), change...),
	})
	s.l.ends[p] = o + 1
	s.ends[p] = o + 1
	return o
}

// DeletePrefix implements log.Appender.
func (s *ledgerStep) DeletePrefix(p log.Partition, start log.Start) { s.l.starts[p] = start }

// entry applies batches as one entry.
func (s *ledgerStep) entry(batches ...[]byte) [][]byte {
	s.l.index++
	s.l.now++
	var results [][]byte
	for i, b := range batches {
		s.meta = log.EntryMeta{Group: 1, Index: s.l.index, Batch: i, Timestamp: s.l.now}
		r, err := s.step.Apply(s.meta, b, s)
		if err != nil {
			s.l.t.Fatalf("apply entry %d: %v", s.l.index, err)
		}
		results = append(results, r)
	}
	return results
}

func (s *ledgerStep) commit() {
	if err := s.step.Commit(log.Checkpoint{Index: s.l.index, Timestamp: s.l.now}, s.ends); err != nil {
		s.l.t.Fatal(err)
	}
}

// Propose implements Proposer: an entry and a step per batch.
func (l *ledger) Propose(_ context.Context, batch []byte) (log.Receipt, error) {
	s := l.begin()
	results := s.entry(batch)
	s.commit()
	return log.Receipt{Position: log.PositionOf(log.Part{Group: 1, Index: l.index}), Result: results[0]}, nil
}

// write applies mutations as one batch.
func (l *ledger) write(ms ...Mutation) (WriteReceipt, error) {
	return NewWriter(l).Write(context.Background(), &Batch{Mutations: ms})
}

func (l *ledger) mustWrite(ms ...Mutation) WriteReceipt {
	l.t.Helper()
	r, err := l.write(ms...)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// refused expects a write to be refused with code, and returns the refusal.
func (l *ledger) refused(code problem.Code, ms ...Mutation) *problem.Error {
	l.t.Helper()
	_, err := l.write(ms...)
	p := problem.As(err)
	if p == nil || p.Code != code {
		l.t.Fatalf("got %v, want a refusal with %s", err, code)
	}
	return p
}

// createTable makes a table in namespace "app", which it makes too.
func (l *ledger) createTable(def *Table) *Table {
	l.t.Helper()
	if !l.m.Catalog().HasNamespace("app") {
		ms, err := l.m.Catalog().CreateNamespace("app", l.now)
		if err != nil {
			l.t.Fatal(err)
		}
		l.mustWrite(ms...)
	}
	t, ms, err := l.m.Catalog().CreateTable(def, l.now)
	if err != nil {
		l.t.Fatal(err)
	}
	l.mustWrite(ms...)
	t, err = l.m.Catalog().Table(t.Namespace, t.Name)
	if err != nil {
		l.t.Fatal(err)
	}
	return t
}

// changes decodes what the ledger holds of a partition.
func (l *ledger) changes(p log.Partition) []Change {
	l.t.Helper()
	var out []Change
	for _, r := range l.all[p] {
		c, err := DecodeChange(r)
		if err != nil {
			l.t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// Changes implements History.
func (l *ledger) Changes(_ context.Context, t *Table, p log.PartitionID, until log.Offset) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for _, r := range l.all[log.Partition{Table: t.ID, ID: p}] {
			if r.Offset >= until {
				return
			}
			if c, err := DecodeChange(r); !yield(c, err) || err != nil {
				return
			}
		}
	}
}

func (l *ledger) view() *View {
	l.t.Helper()
	v, err := l.m.View()
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = v.Close() })
	return v
}

// rows prints a table's rows, a line each in partition and key order.
func (l *ledger) rows(t *Table) []string {
	l.t.Helper()
	v := l.view()
	defer v.Close()
	var out []string
	for p := range t.Partitions {
		for row, err := range v.Scan(t, log.PartitionID(p), storage.Range{}) {
			if err != nil {
				l.t.Fatal(err)
			}
			out = append(out, fmt.Sprint(row.Row.Values(), "@", row.Version))
		}
	}
	return out
}

// verify expects Verify to find nothing.
func (l *ledger) verify() int64 {
	l.t.Helper()
	v := l.view()
	defer v.Close()
	rows, diffs, err := Verify(context.Background(), v, l, nil)
	if err != nil || len(diffs) > 0 {
		l.t.Fatalf("verify: %v %v", diffs, err)
	}
	return rows
}

// Shorthands for definitions and values.

var (
	bigint = expr.Type{Kind: expr.BigInt}
	text   = expr.Type{Kind: expr.Text}
)

func usersTable(partitions int) *Table {
	return &Table{Namespace: "app", Name: "users", Partitions: partitions, Versions: []*Schema{{
		Version: 1, Key: []int{0},
		Columns: []Column{{Name: "id", Type: bigint}, {Name: "name", Type: text}, {Name: "n", Type: bigint, NotNull: true}},
	}}}
}

func big(i int64) expr.Value     { return expr.IntOf(expr.BigInt, i) }
func str(s string) expr.Value    { return expr.TextOf(s) }
func column(n string) expr.Node  { return expr.Column{Name: n} }
func lit(v expr.Value) expr.Node { return expr.Literal{Value: v} }
func op(o string, l, r expr.Node) expr.Node {
	return expr.Binary{Op: o, L: l, R: r}
}

func (l *ledger) row(t *Table, o MutationOp, values ...expr.Value) Mutation {
	l.t.Helper()
	m, err := t.NewRow(o, values)
	if err != nil {
		l.t.Fatal(err)
	}
	return m
}

func (l *ledger) key(t *Table, o MutationOp, key ...expr.Value) Mutation {
	l.t.Helper()
	m, err := t.OfKey(o, key)
	if err != nil {
		l.t.Fatal(err)
	}
	return m
}

func (l *ledger) patch(t *Table, id int64, columnName string, to expr.Node) Mutation {
	l.t.Helper()
	m := l.key(t, Patch, big(id))
	c, ok := t.Schema().Column(columnName)
	if !ok {
		l.t.Fatalf("no column %s", columnName)
	}
	m.Set = []Assignment{{Column: c, Expr: to}}
	return m
}

func newBufio(raw []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(raw)) }
