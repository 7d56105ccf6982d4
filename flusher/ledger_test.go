package flusher

import (
	"context"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/pebble"
)

// ledger is a log in memory around a Materializer: it survives the crashes of a Flusher, as the real log does.
type ledger struct {
	t testing.TB
	m *materializer.Materializer

	mu struct {
		sync.Mutex
		index   log.Index
		records map[log.Partition][]log.Record
		trimmed log.Offset // what Start answers for user tables, at least
		starts  map[log.Partition]log.Offset
		chunk   []byte
	}
}

// keep copies p into a chunk for many: few objects for the garbage collector, as in a log that reads its files.
func (l *ledger) keep(p []byte) []byte {
	if len(p) > cap(l.mu.chunk)-len(l.mu.chunk) {
		l.mu.chunk = make([]byte, 0, max(len(p), 256<<10))
	}
	at := len(l.mu.chunk)
	l.mu.chunk = append(l.mu.chunk, p...)
	return l.mu.chunk[at:len(l.mu.chunk):len(l.mu.chunk)]
}

func newLedger(t testing.TB) *ledger {
	t.Helper()
	m, err := materializer.New(materializer.Options{Backend: func(before func() error) (storage.Backend, error) {
		return pebble.Open(pebble.Options{Dir: "state", FS: vfs.NewMem(), BeforeDurable: before})
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Open(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	l := &ledger{t: t, m: m}
	l.mu.records, l.mu.starts = map[log.Partition][]log.Record{}, map[log.Partition]log.Offset{}
	return l
}

// ledgerStep is one entry under way.
type ledgerStep struct {
	l    *ledger
	meta log.EntryMeta
	ends map[log.Partition]log.Offset
}

// Append implements log.Appender.
func (s *ledgerStep) Append(p log.Partition, change []byte) log.Offset {
	o := log.Offset(len(s.l.mu.records[p]))
	s.l.mu.records[p] = append(s.l.mu.records[p], log.Record{
		Partition: p, Offset: o, Index: s.meta.Index, Timestamp: s.meta.Timestamp, Data: s.l.keep(change),
	})
	s.ends[p] = o + 1
	return o
}

// DeletePrefix implements log.Appender.
func (s *ledgerStep) DeletePrefix(p log.Partition, start log.Start) { s.l.mu.starts[p] = start.Offset }

// Propose implements materializer.Proposer.
func (l *ledger) Propose(ctx context.Context, batch []byte) (log.Receipt, error) {
	if ctx.Err() != nil {
		return log.Receipt{}, problem.New(problem.Cancelled, "cancelled")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.index++
	timestamp := 1_700_000_000_000_000 + int64(l.mu.index)
	s := &ledgerStep{l: l, meta: log.EntryMeta{Group: 1, Index: l.mu.index, Timestamp: timestamp}, ends: map[log.Partition]log.Offset{}}
	step := l.m.Begin()
	result, err := step.Apply(s.meta, batch, s)
	if err != nil {
		return log.Receipt{}, err
	}
	if err := step.Commit(log.Checkpoint{Index: l.mu.index, Timestamp: timestamp}, s.ends); err != nil {
		return log.Receipt{}, err
	}
	return log.Receipt{Position: log.PositionOf(log.Part{Group: 1, Index: l.mu.index}), Result: result}, nil
}

// Read implements Log.
func (l *ledger) Read(p log.Partition, from log.Offset, maxBytes int) ([]log.Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from < l.startLocked(p) {
		return nil, problem.New(problem.Trimmed, "offset %d is gone", from)
	}
	rs := l.mu.records[p]
	end := from
	for n := 0; end < log.Offset(len(rs)) && n < maxBytes; end++ {
		n += len(rs[end].Data)
	}
	return rs[from:end:end], nil
}

// Start implements HistoryLog.
func (l *ledger) Start(p log.Partition) log.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.startLocked(p)
}

func (l *ledger) startLocked(p log.Partition) log.Offset {
	if p.Table < materializer.FirstUserTable {
		return l.mu.starts[p]
	}
	return max(l.mu.starts[p], min(l.mu.trimmed, log.Offset(len(l.mu.records[p]))))
}

// trim makes the log forget user tables' changes before an offset.
func (l *ledger) trim(before log.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.trimmed = before
}

func (l *ledger) writer() *materializer.Writer { return materializer.NewWriter(l) }

func (l *ledger) write(ms ...materializer.Mutation) error {
	_, err := l.writer().Write(context.Background(), &materializer.Batch{Mutations: ms})
	return err
}

func (l *ledger) mustWrite(ms ...materializer.Mutation) {
	l.t.Helper()
	if err := l.write(ms...); err != nil {
		l.t.Fatal(err)
	}
}

// view opens a view that is closed with the test, or before.
func (l *ledger) view() *materializer.View {
	l.t.Helper()
	v, err := l.m.View()
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if err := v.Close(); err != nil {
			l.t.Error(err)
		}
	})
	return v
}

// createTable makes a table in namespace "default".
func (l *ledger) createTable(def *materializer.Table) *materializer.Table {
	l.t.Helper()
	def.Namespace = materializer.DefaultNamespace
	t, ms, err := l.m.Catalog().CreateTable(def, 1)
	if err != nil {
		l.t.Fatal(err)
	}
	l.mustWrite(ms...)
	return l.table(t.Name)
}

func (l *ledger) table(name string) *materializer.Table {
	l.t.Helper()
	t, err := l.m.Catalog().Table(materializer.DefaultNamespace, name)
	if err != nil {
		l.t.Fatal(err)
	}
	return t
}

// OffsetAtTime implements Log.
func (l *ledger) OffsetAtTime(p log.Partition, micros int64) (log.Offset, int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rs := l.mu.records[p]
	for at := l.startLocked(p); at < log.Offset(len(rs)); at++ {
		if rs[at].Timestamp >= micros {
			return at, rs[at].Timestamp, nil
		}
	}
	return log.Offset(len(rs)), 0, nil
}

// segmentRecords is how many changes a segment of the ledger has.
const segmentRecords = 10

// Segments implements Log.
func (l *ledger) Segments(p log.Partition) (infos []log.SegmentInfo, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := log.Offset(len(l.mu.records[p]))
	for base := log.Offset(0); base < end; base += segmentRecords {
		info := log.SegmentInfo{Base: base, End: min(base+segmentRecords, end), Sealed: base+segmentRecords < end, Bytes: 1000}
		if info.End > l.startLocked(p) {
			infos = append(infos, info)
		}
	}
	return infos, nil
}
