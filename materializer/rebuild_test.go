package materializer

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"strings"
	"testing"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

// historyFunc is a History.
type historyFunc func(t *Table, p log.PartitionID, until log.Offset) iter.Seq2[Change, error]

func (f historyFunc) Changes(_ context.Context, t *Table, p log.PartitionID, until log.Offset) iter.Seq2[Change, error] {
	return f(t, p, until)
}

// verifyRig has rows 0 to 99, updated twice, without row 50.
func verifyRig(t *testing.T) (*ledger, *Table) {
	l := newLedger(t)
	users := l.createTable(usersTable(1))
	for round := range int64(3) {
		for i := range int64(100) {
			l.mustWrite(l.row(users, Upsert, big(i), str("x"), big(round)))
		}
	}
	l.mustWrite(l.key(users, Remove, big(50)))
	l.verify()
	return l, users
}

func (l *ledger) differences(h History) []Difference {
	l.t.Helper()
	v := l.view()
	defer v.Close()
	var progress bytes.Buffer
	_, diffs, err := Verify(context.Background(), v, h, &progress)
	if err != nil {
		l.t.Fatal(err)
	}
	if !strings.Contains(progress.String(), "app.users: ") {
		l.t.Errorf("progress %q", progress.String())
	}
	return diffs
}

func wantDifference(t *testing.T, diffs []Difference, key []byte, why string) {
	t.Helper()
	for _, d := range diffs {
		if d.Table == "app.users" && bytes.Equal(d.Key, key) && strings.Contains(d.Why, why) {
			return
		}
	}
	t.Errorf("differences %+v, want %q about key %x", diffs, why, key)
}

// TestVerifyState changes the state behind the materializer's back.
func TestVerifyState(t *testing.T) {
	key := mustKey(t, []expr.Value{big(7)})
	gone := mustKey(t, []expr.Value{big(50)})
	for _, tt := range []struct {
		name string
		hurt func(b storage.Backend, p storage.PartitionName, state []byte) error
		key  []byte
		why  string
	}{
		{"a row that is missing", func(b storage.Backend, p storage.PartitionName, _ []byte) error {
			return b.Delete(p, key)
		}, key, "the row is missing: offset 207 put it"},
		{"a row that should not exist", func(b storage.Backend, p storage.PartitionName, state []byte) error {
			return b.Put(p, gone, state)
		}, gone, "the row should not exist"},
		{"another row", func(b storage.Backend, p storage.PartitionName, state []byte) error {
			state[len(state)-1] ^= 1
			return b.Put(p, key, state)
		}, key, "the row is not the one that offset 207 put"},
		{"an older version", func(b storage.Backend, p storage.PartitionName, state []byte) error {
			s, ts, err := decodeState(state)
			return errors.Join(err, b.Put(p, key, appendState(nil, s.version-100, ts, s.raw)))
		}, key, "the row has version 107 instead of 207"},
		{"another timestamp", func(b storage.Backend, p storage.PartitionName, state []byte) error {
			s, ts, err := decodeState(state)
			return errors.Join(err, b.Put(p, key, appendState(nil, s.version, ts+1, s.raw)))
		}, key, "the row has timestamp"},
		{"a version of the future", func(b storage.Backend, p storage.PartitionName, state []byte) error {
			s, ts, err := decodeState(state)
			return errors.Join(err, b.Put(p, key, appendState(nil, 5000, ts, s.raw)))
		}, key, "its version 5000 lies behind the end 301"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, users := verifyRig(t)
			p := statePartition(users.ID, 0)
			state, err := l.m.backend.Value(p, key)
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.hurt(l.m.backend, p, state); err != nil {
				t.Fatal(err)
			}
			wantDifference(t, l.differences(l), tt.key, tt.why)
		})
	}
}

// TestVerifyHistory changes the history.
func TestVerifyHistory(t *testing.T) {
	l, users := verifyRig(t)
	key := mustKey(t, []expr.Value{big(7)})
	changed := func(f func(c *Change) (keep bool)) History {
		return historyFunc(func(table *Table, p log.PartitionID, until log.Offset) iter.Seq2[Change, error] {
			return func(yield func(Change, error) bool) {
				for c, err := range l.Changes(context.Background(), table, p, until) {
					if (table.ID != users.ID || f(&c)) && !yield(c, err) {
						return
					}
				}
			}
		})
	}
	wantDifference(t, l.differences(changed(func(c *Change) bool { return c.Offset != 107 })), mustKey(t, []expr.Value{big(8)}), "offset 108 where 107 is due")
	wantDifference(t, l.differences(changed(func(c *Change) bool { return c.Offset < 300 })), nil, "the history ends at offset 300, the state at 301")
	wantDifference(t, l.differences(changed(func(c *Change) bool {
		if c.Offset == 107 {
			c.Old = append(bytes.Clone(c.Old), 0)
		}
		return true
	})), key, "the old row of offset 107 is not the one that was put before")
	broken := errors.New("cannot read")
	v := l.view()
	_, _, err := Verify(context.Background(), v, historyFunc(func(*Table, log.PartitionID, log.Offset) iter.Seq2[Change, error] {
		return func(yield func(Change, error) bool) { yield(Change{}, broken) }
	}), nil)
	if !errors.Is(err, broken) {
		t.Errorf("Verify: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := Verify(ctx, v, l, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Verify when cancelled: %v", err)
	}
}

// TestVerifyManyDifferences puts 5000 rows that should not exist: the report is bounded.
func TestVerifyManyDifferences(t *testing.T) {
	l, users := verifyRig(t)
	p := statePartition(users.ID, 0)
	state, err := l.m.backend.Value(p, mustKey(t, []expr.Value{big(1)}))
	if err != nil {
		t.Fatal(err)
	}
	batch := l.m.backend.NewBatch()
	for i := range int64(5000) {
		batch.Put(p, mustKey(t, []expr.Value{big(1000 + i)}), state)
	}
	if err := batch.Commit(); err != nil {
		t.Fatal(err)
	}
	diffs := l.differences(l)
	if len(diffs) == 0 || len(diffs) > maxDifferences {
		t.Fatalf("%d differences", len(diffs))
	}
	if err := l.m.backend.Put(p, mustKey(t, []expr.Value{big(1)}), []byte{1, 2, 3, 4}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Verify(context.Background(), l.view(), l, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("a row that does not decode: %v", err)
	}
}
