package materializer

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/query/expr"
)

// flushedTo notes that data files hold the changes of p before end.
func (l *ledger) flushedTo(p log.Partition, end int64) {
	l.t.Helper()
	l.mustWrite(l.row(l.m.Catalog().TableByID(SystemFlushed), Upsert, big(int64(p.Table)), expr.IntOf(expr.Integer, int64(p.ID)), big(end), big(1)))
}

func (l *ledger) start(p log.Partition, offset log.Offset, index log.Index, expired log.Offset) Mutation {
	l.t.Helper()
	return l.row(l.m.Catalog().TableByID(SystemLogStarts), Upsert, LogStartRow(p, LogStart{log.Start{Offset: offset, Index: index}, expired}, l.now)...)
}

func TestLogStart(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(2))
	events := l.createTable(&Table{Namespace: "app", Name: "events", Kind: Stream, Partitions: 1, Versions: []*Schema{{
		Version: 1, Columns: []Column{{Name: "n", Type: bigint}},
	}}})
	p, e := log.Partition{Table: users.ID, ID: 1}, log.Partition{Table: events.ID}
	l.flushedTo(p, 10)
	l.flushedTo(e, 10)

	l.refused(problem.InvalidValue, l.start(p, 11, 5, 0))                             // not flushed
	l.refused(problem.InvalidValue, l.start(log.Partition{Table: users.ID}, 1, 1, 0)) // nothing flushed there
	l.refused(problem.InvalidValue, l.start(p, 10, 5, 1))                             // no stream
	l.refused(problem.InvalidValue, l.start(e, 3, 5, 4))                              // still in the log
	l.refused(problem.UnknownTable, l.start(log.Partition{Table: users.ID, ID: 2}, 1, 1, 0))
	l.refused(problem.UnknownTable, l.start(log.Partition{Table: 4711}, 1, 1, 0))
	l.refused(problem.UnknownTable, l.start(log.Partition{Table: SystemTables}, 1, 1, 1))  // the catalog's log stays
	l.refused(problem.InvalidValue, l.start(log.Partition{Table: SystemJobs}, 1, 1, 1))    // beyond its end
	l.refused(problem.InvalidValue, l.start(log.Partition{Table: SystemFlushed}, 1, 1, 0)) // gone from the log, gone for good
	if len(l.starts) > 0 {
		t.Errorf("refused, and yet the log was told %v", l.starts)
	}
	l.mustWrite(l.start(p, 4, 44, 0), l.start(e, 5, 55, 5))
	l.refused(problem.InvalidValue, l.start(p, 3, 44, 0))
	l.refused(problem.InvalidValue, l.start(e, 6, 66, 4))
	for at, want := range map[log.Partition]LogStart{p: {log.Start{Offset: 4, Index: 44}, 0}, e: {log.Start{Offset: 5, Index: 55}, 5}, {Table: users.ID}: {}} {
		got, err := l.m.Start(at)
		if err != nil || got != want.Start || l.starts[at] != want.Start {
			t.Errorf("%v starts at %+v, the log was told %+v, want %+v, %v", at, got, l.starts[at], want, err)
		}
		if got, err := l.view().Start(at); err != nil || got != want {
			t.Errorf("%v starts at %+v in a view, want %+v, %v", at, got, want, err)
		}
	}
	// Together with the flush that allows it.
	flushed := l.row(l.m.Catalog().TableByID(SystemFlushed), Upsert, big(int64(p.Table)), expr.IntOf(expr.Integer, 1), big(20), big(2))
	l.mustWrite(flushed, l.start(p, 20, 77, 0))
	// A row that goes, with its table, deletes nothing.
	l.starts = map[log.Partition]log.Start{}
	m := l.key(l.m.Catalog().TableByID(SystemLogStarts), Remove, big(int64(p.Table)), expr.IntOf(expr.Integer, 1))
	l.mustWrite(m)
	if len(l.starts) > 0 {
		t.Errorf("a removed row told the log %v", l.starts)
	}
}

// A store that an older release has made has no state for the tables of this one.
func TestOlderStoreGetsNewSystemTables(t *testing.T) {
	fs := vfs.NewMem()
	func() {
		m, err := New(Options{Backend: memoryBackend(fs)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Open(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		l := &ledger{t: t, m: m, now: 1, ends: map[log.Partition]log.Offset{}, all: map[log.Partition][]log.Record{}}
		l.createTable(usersTable(1))
		if err := m.backend.DropPartition(statePartition(SystemLogStarts, 0)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(m.Sync(), m.Close()); err != nil {
			t.Fatal(err)
		}
	}()
	l := openLedger(t, fs)
	users, err := l.m.Catalog().Table("app", "users")
	if err != nil {
		t.Fatal(err)
	}
	p := log.Partition{Table: users.ID}
	if s, err := l.m.Start(p); err != nil || s != (log.Start{}) {
		t.Errorf("start %+v, %v", s, err)
	}
	l.ends = map[log.Partition]log.Offset{}
	l.flushedTo(p, 3)
	l.mustWrite(l.start(p, 3, 3, 0))
}

// Rows are compared by their values: a data file may hold a row in another schema version than the state.
func TestVerifyComparesAcrossSchemaVersions(t *testing.T) {
	l, users := verifyRig(t)
	altered := *users
	next := *users.Schema()
	next.Version++
	next.Columns = append(append([]Column(nil), next.Columns...), Column{ID: 9, Name: "more", Type: text})
	altered.Versions = append(append([]*Schema(nil), users.Versions...), &next)
	l.mustWrite(l.mutations(l.m.Catalog().ReplaceTable(&altered, l.now))...)
	users = l.m.Catalog().TableByID(users.ID)
	again := func(raw []byte) []byte {
		if raw == nil {
			return nil
		}
		row, err := users.DecodeRow(raw)
		if err != nil {
			t.Fatal(err)
		}
		if raw, err = EncodeRow(nil, users.Schema(), row.Values()); err != nil {
			t.Fatal(err)
		}
		return raw
	}
	history := func(spoil log.Offset) History {
		return historyFunc(func(table *Table, p log.PartitionID, until log.Offset) iter.Seq2[Change, error] {
			return func(yield func(Change, error) bool) {
				for c, err := range l.Changes(context.Background(), table, p, until) {
					if table.ID == users.ID {
						c.Old, c.New = again(c.Old), again(c.New)
						if c.Offset == spoil {
							c.New[len(c.New)-1] ^= 1
						}
					}
					if !yield(c, err) {
						return
					}
				}
			}
		})
	}
	if diffs := l.differences(history(1 << 40)); len(diffs) > 0 {
		t.Errorf("differences %+v", diffs)
	}
	wantDifference(t, l.differences(history(207)), mustKey(t, []expr.Value{big(7)}), "the row is not the one that offset 207 put")
}

// The old changes of a system table go without being flushed: its rows stay, and what the log still has is verified.
func TestVerifyWithoutTheBeginning(t *testing.T) {
	l := newLedger(t)
	jobs := l.m.Catalog().TableByID(SystemJobs)
	at := log.Partition{Table: SystemJobs}
	null := expr.Value{}
	put := func(id, state string) Mutation {
		return l.row(jobs, Upsert, str(id), str("flush"), str("app"), str("t"), str(state), null, null, null, null, null, null, null, null)
	}
	l.mustWrite(put("1", "running"), put("2", "running"), put("3", "running"))
	l.mustWrite(put("2", "completed"), l.key(jobs, Remove, str("3")))
	l.mustWrite(put("2", "failed"), put("4", "running"))
	l.mustWrite(l.start(at, 3, 1, 3))
	l.all[at] = l.all[at][3:]
	rows, diffs, err := Verify(context.Background(), l.view(), l, nil)
	if err != nil || len(diffs) > 0 {
		t.Fatalf("verify: %+v, %v", diffs, err)
	}
	if rows < 3 {
		t.Errorf("%d rows were looked at", rows)
	}
	l.all[at][2].Data = l.all[at][3].Data // what the log has must still lead to the rows
	if _, diffs, err = Verify(context.Background(), l.view(), l, nil); err == nil && len(diffs) == 0 {
		t.Error("another change went unnoticed")
	}
}
