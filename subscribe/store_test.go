package subscribe

import (
	"context"
	"strings"
	"testing"
	"time"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

// storedRows returns system.live_queries by id.
func (r *rig) storedRows() map[string]materializer.Row {
	r.t.Helper()
	view, err := r.state.View()
	if err != nil {
		r.t.Fatal(err)
	}
	defer view.Close()
	rows := map[string]materializer.Row{}
	for row, err := range view.Scan(r.liveQueries(), 0, storage.Range{}) {
		if err != nil {
			r.t.Fatal(err)
		}
		rows[row.Row.Column(columnID).Str()] = row.Row
	}
	return rows
}

func (r *rig) liveQueries() *materializer.Table {
	return r.state.Catalog().TableByID(materializer.SystemLiveQueries)
}

// eventually waits for a condition, looking whenever the log has moved or a moment has passed.
func (r *rig) eventually(what string, holds func() bool) {
	r.t.Helper()
	ctx := testContext(r.t)
	for !holds() {
		moved, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
		_ = r.log.Wait(moved, after(r.log.Position(), 1))
		cancel()
		if ctx.Err() != nil {
			r.t.Fatalf("never: %s", what)
		}
	}
}

func TestStoredWhileOpen(t *testing.T) {
	t.Parallel()
	r := newStoringRig(t, Options{Progress: time.Hour, StoreInterval: time.Millisecond})
	table := r.create("t", materializer.Shared, 2, 1, "id BIGINT")
	ctx := as(testContext(t), "ann")
	q := Request{SQL: "SELECT id FROM t WHERE id > $1", Params: []expr.Value{expr.IntOf(expr.BigInt, 0)}, Snapshot: true}
	s := r.subscribe(ctx, q)
	until(t, s, isReady)
	r.write(r.put(table, 1))
	told := exactly(t, s, 1)[0]
	var row materializer.Row
	r.eventually("stored with its position", func() bool {
		var ok bool
		row, ok = r.storedRows()[s.ID()]
		return ok && row.Column(columnPosition).Kind() == expr.Text && row.Column(columnPosition).Str() == told.Cursor.String()
	})
	if row.Column(columnSQL).Str() != q.SQL || row.Column(columnOwner).Str() != "ann" || row.Column(columnDelivered).Int() != 1 {
		t.Errorf("got %v", row.Values())
	}
	if _, err := r.registry.Subscribe(as(ctx, "bob"), Request{ID: s.ID()}); !problem.Is(err, problem.UnknownLiveQuery) {
		t.Errorf("another's query: %v", err)
	}
	s.Close()
	r.eventually("gone", func() bool { return len(r.storedRows()) == 0 })
}

func TestKilledByDeletingTheRow(t *testing.T) {
	t.Parallel()
	r := newStoringRig(t, Options{Progress: time.Hour, StoreInterval: time.Millisecond})
	r.create("t", materializer.Shared, 2, 1, "id BIGINT")
	s := r.subscribe(testContext(t), Request{SQL: "SELECT id FROM t"})
	until(t, s, isReady)
	r.eventually("stored", func() bool { return len(r.storedRows()) == 1 })
	r.write(r.remove(r.liveQueries(), s.ID()))
	if got := exactly(t, s, 1); got[0].Type != Failed || !strings.Contains(got[0].Data, `"cancelled"`) {
		t.Errorf("got %v", got)
	}
	if rows := r.storedRows(); len(rows) != 0 {
		t.Errorf("stored again: %v", rows)
	}
}

func TestStoredQueryIsResumedAfterRestart(t *testing.T) {
	t.Parallel()
	r := newStoringRig(t, Options{Progress: time.Hour, StoreInterval: time.Millisecond})
	table := r.create("t", materializer.Shared, 2, 1, "id BIGINT", "name TEXT")
	s := r.subscribe(testContext(t), Request{SQL: "SELECT id FROM t WHERE name = $1", Params: []expr.Value{expr.TextOf("it's")}, Snapshot: true})
	until(t, s, isReady)
	r.write(r.put(table, 1, "it's"))
	exactly(t, s, 1)
	abandoned := r.subscribe(testContext(t), Request{SQL: "SELECT id FROM t"})
	until(t, abandoned, isReady)
	r.options.ResumeWithin = 300 * time.Millisecond
	r.restart()

	r.write(r.put(table, 2, "other"), r.put(table, 3, "it's"))
	again := r.subscribe(testContext(t), Request{ID: s.ID()})
	got := exactly(t, again, 3)
	if again.ID() != s.ID() || got[1].Type != Ready || got[2].Type != Inserted || !strings.Contains(got[2].Data, `{"id":3}`) {
		t.Errorf("got %v", got)
	}
	r.eventually("the abandoned one is cleared away", func() bool {
		rows := r.storedRows()
		_, kept := rows[again.ID()]
		if !kept {
			t.Fatal("the resumed one is cleared away")
		}
		return len(rows) == 1
	})

	taken := r.subscribe(testContext(t), Request{ID: s.ID()})
	if got := exactly(t, again, 1); got[0].Type != Failed || !strings.Contains(got[0].Data, "resumed elsewhere") {
		t.Errorf("got %v", got)
	}
	until(t, taken, isReady)
	r.write(r.put(table, 4, "it's"))
	exactly(t, taken, 1)
	for _, q := range []Request{{ID: "none"}, {ID: s.ID(), SQL: "SELECT id FROM t"}} {
		if _, err := r.registry.Subscribe(testContext(t), q); problem.As(err) == nil {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// TestStoringIsNoLoop follows the stored queries, one's own row among them.
func TestStoringIsNoLoop(t *testing.T) {
	t.Parallel()
	r := newStoringRig(t, Options{Progress: time.Hour, StoreInterval: time.Millisecond})
	s := r.subscribe(testContext(t), Request{SQL: "SELECT id, delivered FROM system.live_queries"})
	until(t, s, func(e told) bool { return e.Type == Inserted })
	at := r.log.Position()
	ctx, cancel := context.WithTimeout(testContext(t), 100*time.Millisecond)
	defer cancel()
	if events, err := s.Next(ctx); err == nil {
		t.Errorf("got %v", keep(events))
	}
	if end := r.log.Position(); after(at, 2).String() != after(end, 2).String() {
		t.Errorf("the log moved from %s to %s", at, end)
	}
}
