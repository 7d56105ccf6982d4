package subscribe

import (
	"context"
	"strings"
	"testing"
	"time"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// trimmedHistory is a log whose partitions have lost their beginning: by partition, the index of each change kept, from start on.
type trimmedHistory struct {
	start log.Offset
	kept  [][]log.Index
}

func (h trimmedHistory) Start(log.Partition) log.Offset { return h.start }

func (h trimmedHistory) Read(p log.Partition, from log.Offset, _ int) ([]log.Record, error) {
	if from < h.start {
		return nil, problem.New(problem.Trimmed, "gone")
	}
	var out []log.Record
	for i, index := range h.kept[p.ID][from-h.start:] {
		out = append(out, log.Record{Partition: p, Offset: from + log.Offset(i), Index: index})
	}
	return out, nil
}

func TestKeptAfter(t *testing.T) {
	t.Parallel()
	at := func(index log.Index, seen uint32) log.Position {
		return log.PositionOf(log.Part{Group: 1, Index: index, Seen: seen})
	}
	for _, c := range []struct {
		name    string
		history trimmedHistory
		from    log.Position
		want    bool
	}{
		{"nothing trimmed", trimmedHistory{0, [][]log.Index{{5}, {6}}}, log.Position{}, true},
		{"from before what is kept", trimmedHistory{3, [][]log.Index{{10}, {11}}}, at(9, 0), false},
		{"from at the first kept", trimmedHistory{3, [][]log.Index{{10}, {10}}}, at(10, 0), true},
		{"from inside the first kept", trimmedHistory{3, [][]log.Index{{10}, {10}}}, at(10, 1), false},
		{"one partition lost more", trimmedHistory{3, [][]log.Index{{10}, {20}}}, at(15, 0), false},
		{"behind both", trimmedHistory{3, [][]log.Index{{10}, {20}}}, at(20, 0), true},
		{"all gone", trimmedHistory{3, [][]log.Index{{}, {}}}, at(20, 0), false},
	} {
		if got := keptAfter(c.history, 1, 2, c.from); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestRetentionWhileInitialRowsAreRead(t *testing.T) {
	t.Parallel()
	h := trimmedHistory{3, [][]log.Index{{10, 11}}}
	r := &run{next: 0, end: 5}
	if err := r.fill(h, 100); err != nil || len(r.records) != 2 || r.records[0].Offset != 3 || r.next != 5 {
		t.Errorf("forward: %+v, %v", r, err)
	}
	gone := &run{next: 0, end: 2}
	if err := gone.fill(h, 100); err != nil || len(gone.records) != 0 {
		t.Errorf("all gone: %+v, %v", gone, err)
	}
	b := &backward{start: 0, end: 5, step: firstStep}
	if err := b.fill(h, 100); err != nil || len(b.records) != 2 || b.end != 3 || b.start != 3 {
		t.Errorf("backward: %+v, %v", b, err)
	}
}

// TestReset lets a subscriber learn that the changes after its cursor are gone.
func TestReset(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Progress: time.Hour})
	table := r.create("t", materializer.Shared, 2, 1, "id BIGINT", "v BIGINT")
	old := r.write(r.put(table, 1, 1)).Position
	r.write(r.put(table, 2, 2))

	onResume := r.subscribe(testContext(t), Request{SQL: "SELECT id FROM t", From: &old})
	onResume.changes.close()
	onResume.changes = nil
	onResume.setReset()
	following := r.subscribe(testContext(t), Request{SQL: "SELECT id FROM t"})
	until(t, following, isReady)
	following.changes.tail = trimmedTail{following.changes.tail}

	for name, s := range map[string]*Subscription{"on resume": onResume, "while following": following} {
		got := until(t, s, isReady)
		if got[0].Type == Subscribed {
			got = got[1:]
		}
		if len(got) != 4 || got[0].Type != Reset || got[1].Type != InitialRow || got[2].Type != InitialRow || !strings.Contains(got[0].Data, `"reason":"the changes after 1:`) {
			t.Errorf("%s: got %v", name, got)
			continue
		}
		if at := got[3].Cursor.String(); !got[0].Cursor.IsZero() || !strings.Contains(got[0].Data, `"position":"`+at+`"`) {
			t.Errorf("%s: reset %v, ready at %s", name, got[0], at)
		}
	}
	r.write(r.put(table, 3, 3))
	exactly(t, onResume, 1)
	exactly(t, following, 1)
}

type trimmedTail struct{ tail }

func (trimmedTail) Next(context.Context, int) ([]log.Record, error) {
	return nil, problem.New(problem.Trimmed, "gone")
}

func TestSchemaChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Progress: time.Hour})
	table := r.create("t", materializer.Shared, 2, 1, "id BIGINT", "v BIGINT", "w BIGINT")
	goesOn := r.subscribe(testContext(t), Request{SQL: "SELECT * FROM t WHERE v > 0"})
	until(t, goesOn, isReady)
	usesW := r.subscribe(testContext(t), Request{SQL: "SELECT id FROM t WHERE w > 0"})
	until(t, usesW, isReady)
	r.write(r.put(table, 1, 1, 1))
	exactly(t, goesOn, 1)
	exactly(t, usesW, 1)

	table = r.alter(table, func(s *materializer.Schema) { s.Columns = append(s.Columns, numbered(column(t, "x TEXT"), 10)) })
	r.write(r.put(table, 1, 1, 2, "new"))
	expect(t, exactly(t, goesOn, 1), `update {"old":{"id":1,"v":1,"w":1},"new":{"id":1,"v":1,"w":2},"partition":`+r.partitionOf(table, 1)+`,"offset":1,"timestamp":T}`)
	table = r.alter(table, func(s *materializer.Schema) { s.Columns = append(s.Columns[:2:2], s.Columns[3:]...) })
	r.write(r.put(table, 2, 2, "only v"))
	for name, s := range map[string]*Subscription{"of the column": usesW, "that shows the column": goesOn} {
		if got := exactly(t, s, 1); got[0].Type != Failed || !strings.Contains(got[0].Data, `"unknown_column"`) {
			t.Errorf("subscription %s: got %v", name, got)
		}
	}
}

func numbered(c materializer.Column, id uint32) materializer.Column {
	c.ID = id
	return c
}

// alter adds a schema version.
func (r *rig) alter(t *materializer.Table, change func(*materializer.Schema)) *materializer.Table {
	r.t.Helper()
	next := *t.Schema()
	next.Version++
	next.Columns = append([]materializer.Column(nil), next.Columns...)
	change(&next)
	altered := *t
	altered.Versions = append(append([]*materializer.Schema(nil), t.Versions...), &next)
	mutations, err := r.state.Catalog().ReplaceTable(&altered, 1)
	if err != nil {
		r.t.Fatal(err)
	}
	r.write(mutations...)
	return r.state.Catalog().TableByID(t.ID)
}

// TestBudget lets a subscriber fall far behind: what it holds must not grow with what it has missed, and it misses nothing.
func TestBudget(t *testing.T) {
	t.Parallel()
	const budget = 64 << 10
	r := newRig(t, Options{BufferBytes: budget, Progress: time.Hour})
	table := r.create("t", materializer.Shared, 2, 1, "id BIGINT", "v TEXT")
	text := strings.Repeat("x", 1000)
	s := r.subscribe(testContext(t), Request{SQL: "SELECT * FROM t"})
	until(t, s, isReady)
	const batches, size = 100, 50
	for b := range batches {
		var batch []materializer.Mutation
		for i := range size {
			batch = append(batch, r.put(table, b*size+i, text))
		}
		r.write(batch...)
	}
	most, seen := 0, 0
	for seen < batches*size {
		events, err := s.Next(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		seen += len(events)
		held := s.out.memory()
		for _, record := range s.changes.pending {
			held += len(record.Data)
		}
		most = max(most, held)
	}
	entry := size * 1200
	if most > budget+entry {
		t.Errorf("held %d bytes of %d written", most, batches*entry)
	}
	t.Logf("held %d bytes at most", most)
}
