package subscribe

import (
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

// retain deletes all changes of t so far from the log, as retention does once they are flushed.
func (r *rig) retain(t *materializer.Table) {
	r.t.Helper()
	flushed, starts := r.state.Catalog().TableByID(materializer.SystemFlushed), r.state.Catalog().TableByID(materializer.SystemLogStarts)
	var mutations []materializer.Mutation
	for i := range t.Partitions {
		p := log.Partition{Table: t.ID, ID: log.PartitionID(i)}
		end := r.log.End(p)
		if end == 0 {
			continue
		}
		last, err := r.log.Read(p, end-1, 1)
		if err != nil {
			r.t.Fatal(err)
		}
		start := materializer.LogStart{Start: log.Start{Offset: end, Index: last[0].Index}}
		mutations = append(mutations, r.put(flushed, t.ID, i, end, 1))
		m, err := starts.NewRow(materializer.Upsert, materializer.LogStartRow(p, start, 1))
		if err != nil {
			r.t.Fatal(err)
		}
		mutations = append(mutations, m)
	}
	r.write(mutations...)
}

// TestReset lets subscribers learn that the changes after their cursor are gone: one who comes back, and one who is there and behind.
func TestReset(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Progress: time.Hour})
	table := r.create("t", materializer.Shared, 2, 1, "id BIGINT", "v BIGINT")
	old := r.write(r.put(table, 1, 1)).Position
	following := r.subscribe(testContext(t), Request{SQL: "SELECT id FROM t"})
	until(t, following, isReady)
	last := r.write(r.put(table, 2, 2), r.put(table, 1, 3)).Position
	r.retain(table)

	upToDate := r.subscribe(testContext(t), Request{SQL: "SELECT id FROM t", From: &last})
	if got := until(t, upToDate, isReady); len(got) != 2 {
		t.Errorf("who has seen all that is gone: %v", got)
	}
	onResume := r.subscribe(testContext(t), Request{SQL: "SELECT id FROM t", From: &old})
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
	exactly(t, upToDate, 1)
}

// A stream starts over with the rows that its log has kept.
func TestResetOfAStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Progress: time.Hour})
	table := r.create("s", materializer.Stream, 1, 0, "id BIGINT")
	old := r.write(r.put(table, 1)).Position
	r.write(r.put(table, 2))
	r.retain(table)
	r.write(r.put(table, 3))
	s := r.subscribe(testContext(t), Request{SQL: "SELECT id FROM s", From: &old})
	got := until(t, s, isReady)
	if len(got) != 4 || got[1].Type != Reset || got[2].Type != InitialRow || !strings.Contains(got[2].Data, `"id":3`) {
		t.Errorf("got %v", got)
	}
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
