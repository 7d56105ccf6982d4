package subscribe

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// transcript shows events on a line each, without what differs from run to run.
func transcript(events []told) []string {
	var out []string
	for _, e := range events {
		data := regexp.MustCompile(`"timestamp":"[^"]*"`).ReplaceAllString(e.Data, `"timestamp":T`)
		data = regexp.MustCompile(`"(position|id)":"([A-Z2-7]{26}|1:[0-9.]+)"`).ReplaceAllString(data, `"$1":X`)
		out = append(out, string(e.Type)+" "+data)
	}
	return out
}

func expect(t *testing.T, got []told, want ...string) {
	t.Helper()
	if lines := transcript(got); !slices.Equal(lines, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(lines, "\n  "), strings.Join(want, "\n  "))
	}
}

// exactly collects n events.
func exactly(t testing.TB, s *Subscription, n int) []told {
	t.Helper()
	seen := 0
	got := until(t, s, func(told) bool { seen++; return seen >= n })
	if len(got) != n {
		t.Errorf("got %d events, want %d: %v", len(got), n, got)
	}
	return got
}

func TestAllTransitions(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Progress: time.Hour})
	quakes := r.create("quakes", materializer.Shared, 1, 1, "id TEXT", "mag DOUBLE", "place TEXT")
	r.write(r.put(quakes, "a", 5.5, "Chile"), r.put(quakes, "b", 2.0, "Iran"))

	s := r.subscribe(testContext(t), Request{SQL: "SELECT id, mag FROM quakes WHERE mag >= 5", Snapshot: true})
	expect(t, until(t, s, isReady),
		`subscribed {"id":X,"sql":"SELECT id, mag FROM quakes WHERE mag >= 5","table":"default.quakes","columns":[{"name":"id","type":"TEXT"},{"name":"mag","type":"DOUBLE"}]}`,
		`row {"row":{"id":"a","mag":5.5},"partition":0,"offset":0,"timestamp":T}`,
		`ready {"position":X}`)

	r.write(r.put(quakes, "c", 6.0, "Peru"))  // insert
	r.write(r.put(quakes, "b", 5.0, "Iran"))  // enters
	r.write(r.put(quakes, "a", 5.6, "Chile")) // update
	r.write(r.put(quakes, "a", 5.6, "Lima"))  // outside the projection
	r.write(r.put(quakes, "a", 4.9, "Lima"))  // leaves
	r.write(r.put(quakes, "d", nil, "?"))     // NULL does not match
	r.write(r.remove(quakes, "d"))
	r.write(r.remove(quakes, "b")) // delete
	expect(t, exactly(t, s, 5),
		`insert {"row":{"id":"c","mag":6},"transition":"insert","partition":0,"offset":2,"timestamp":T}`,
		`insert {"row":{"id":"b","mag":5},"transition":"enter","partition":0,"offset":3,"timestamp":T}`,
		`update {"old":{"id":"a","mag":5.5},"new":{"id":"a","mag":5.6},"partition":0,"offset":4,"timestamp":T}`,
		`delete {"row":{"id":"a","mag":5.6},"transition":"leave","partition":0,"offset":6,"timestamp":T}`,
		`delete {"row":{"id":"b","mag":5},"transition":"delete","partition":0,"offset":9,"timestamp":T}`)
}

func TestResumeInTheMiddleOfAnEntry(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Progress: time.Hour})
	table := r.create("t", materializer.Shared, 4, 1, "id BIGINT", "v BIGINT")
	other := r.create("other", materializer.Shared, 4, 1, "id BIGINT", "v BIGINT")
	first := r.subscribe(testContext(t), Request{SQL: "SELECT * FROM t WHERE v % 2 = 0"})
	until(t, first, isReady)

	var batch []materializer.Mutation
	for i := range 40 {
		batch = append(batch, r.put(table, i, i), r.put(other, i, i))
	}
	r.write(batch...)
	r.write(batch[0])
	all := exactly(t, first, 20)
	for i, e := range all {
		r.restartNow(i == 7)
		from := e.Cursor
		again := r.subscribe(testContext(t), Request{SQL: "SELECT * FROM t WHERE v % 2 = 0", From: &from})
		got := until(t, again, isReady)
		if got[1].Cursor.String() != from.String() {
			t.Errorf("ready at %s, want %s", got[1].Cursor, from)
		}
		if rest := all[i+1:]; len(rest) > 0 {
			more := exactly(t, again, len(rest))
			if !slices.EqualFunc(more, rest, func(a, b told) bool { return a.Data == b.Data && a.Cursor.String() == b.Cursor.String() }) {
				t.Errorf("after %s: got %v, want %v", from, more, rest)
			}
		}
		again.Close()
	}
	if part := all[3].Cursor.Part(1); part.Seen == 0 {
		t.Errorf("cursor %s is not inside the entry", all[3].Cursor)
	}
}

func (r *rig) restartNow(now bool) {
	if now {
		r.restart()
	}
}

func TestProgressOfAQuietFilter(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Progress: 10 * time.Millisecond})
	table := r.create("t", materializer.Shared, 2, 1, "id BIGINT")
	s := r.subscribe(testContext(t), Request{SQL: "SELECT * FROM t WHERE id < 0"})
	until(t, s, isReady)
	written := r.write(r.put(table, 1)).Position
	got := until(t, s, func(e told) bool { return e.Cursor.Covers(written) })
	last := got[len(got)-1]
	if last.Type != Progress || last.Data != `{"position":"`+last.Cursor.String()+`"}` {
		t.Errorf("got %v", last)
	}
	ctx, cancel := context.WithTimeout(testContext(t), 100*time.Millisecond)
	defer cancel()
	if events, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while the log stands still: %v, %v", keep(events), err)
	}
	r.write(r.put(table, -1))
	if got := until(t, s, func(e told) bool { return e.Type == Inserted }); len(got) > 2 {
		t.Errorf("got %v", got)
	}
}

func TestWithoutInitialRows(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Progress: time.Hour})
	table := r.create("t", materializer.Shared, 2, 1, "id BIGINT")
	r.write(r.put(table, 1))
	s := r.subscribe(testContext(t), Request{SQL: "SUBSCRIBE TO SELECT id FROM t"})
	r.write(r.put(table, 2))
	got := exactly(t, s, 3)
	if got[1].Type != Ready || got[2].Type != Inserted || !strings.Contains(got[2].Data, `{"id":2}`) {
		t.Errorf("got %v", got)
	}
	// Who saw nothing but ready resumes there.
	again := r.subscribe(testContext(t), Request{SQL: "SELECT id FROM t", From: &got[1].Cursor, Snapshot: true})
	if more := exactly(t, again, 3); more[2].Data != got[2].Data {
		t.Errorf("got %v", more)
	}
}

func TestLastRows(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{BufferBytes: 1})
	for _, kind := range []materializer.TableKind{materializer.Shared, materializer.Stream} {
		name := string(kind)
		table := r.create(name, kind, 4, 1, "id BIGINT", "v BIGINT")
		for i := range 50 {
			r.write(r.put(table, i, i))
		}
		r.write(r.put(table, 100, 3), r.put(table, 101, 5))
		for _, c := range []struct {
			last int
			want []float64
		}{{3, []float64{49, 100, 101}}, {1, []float64{101}}, {4, []float64{47, 49, 100, 101}}} {
			s := r.subscribe(testContext(t), Request{SQL: "SELECT id FROM " + name + " WHERE v % 2 = 1", Snapshot: true, LastRows: c.last})
			got := initialIDs(t, s)
			if c.last != 1 { // the last two share an entry: their order is that of their partitions
				slices.Sort(got[len(got)-2:])
				if !slices.Equal(got, c.want) {
					t.Errorf("%s, last %d: got %v, want %v", name, c.last, got, c.want)
				}
			} else if len(got) != 1 || got[0] < 100 {
				t.Errorf("%s, last 1: got %v", name, got)
			}
		}
		s := r.subscribe(testContext(t), Request{SQL: "SELECT id FROM " + name, Snapshot: true, LastRows: 1000})
		if got := initialIDs(t, s); len(got) != 52 {
			t.Errorf("%s: %d rows, want 52", name, len(got))
		}
	}
}

func initialIDs(t *testing.T, s *Subscription) []float64 {
	t.Helper()
	var ids []float64
	for _, e := range until(t, s, isReady) {
		if e.Type != InitialRow {
			continue
		}
		if !e.Cursor.IsZero() {
			t.Errorf("initial row has cursor %s", e.Cursor)
		}
		var p struct{ Row struct{ ID float64 } }
		if err := json.Unmarshal([]byte(e.Data), &p); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, p.Row.ID)
	}
	return ids
}

func TestStreamStartsWithWhatIsRetained(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{BufferBytes: 64})
	table := r.create("s", materializer.Stream, 4, 1, "id BIGINT")
	for i := range 100 {
		r.write(r.put(table, i))
	}
	got := initialIDs(t, r.subscribe(testContext(t), Request{SQL: "SELECT id FROM s WHERE id >= 10", Snapshot: true}))
	if len(got) != 90 || !slices.IsSorted(got) {
		t.Errorf("got %v", got)
	}
}

func TestUserSeesOwnRowsAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Progress: time.Hour})
	table := r.create("notes", materializer.User, 4, 1, "id BIGINT", "n BIGINT")
	r.write(r.put(table, "ann", 1, 1), r.put(table, "bob", 1, 2), r.put(table, "anna", 1, 3))
	// Of another's row not even an error of the filter is seen.
	sql := "SELECT * FROM notes WHERE n + 9223372036854775800 > 0"
	r.write(r.put(table, "bob", 2, 9223372036854775807))
	s := r.subscribe(as(testContext(t), "ann"), Request{SQL: sql, Snapshot: true})
	expect(t, until(t, s, isReady)[1:2], `row {"row":{"id":1,"n":1},"partition":`+r.partitionOf(table, "ann", 1)+`,"offset":0,"timestamp":T}`)
	r.write(r.put(table, "bob", 1, 7), r.put(table, "ann", 2, 4))
	r.write(r.remove(table, "anna", 1))
	r.write(r.put(table, "ann", 3, 4))
	for _, e := range exactly(t, s, 2) {
		if e.Type != Inserted || !strings.Contains(e.Data, `"n":4`) {
			t.Errorf("got %v", e)
		}
	}
	all := initialIDs(t, r.subscribe(testContext(t), Request{SQL: "SELECT id, _user FROM notes", Snapshot: true}))
	if len(all) != 5 {
		t.Errorf("the administrator sees %v", all)
	}
	_, err := r.registry.Subscribe(as(testContext(t), "ann"), Request{SQL: "SELECT * FROM system.tables"})
	if !problem.Is(err, problem.Forbidden) {
		t.Errorf("system table: %v", err)
	}
	if _, err := r.registry.Subscribe(context.Background(), Request{SQL: sql}); !problem.Is(err, problem.Forbidden) {
		t.Errorf("no caller: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{})
	r.create("t", materializer.Shared, 1, 1, "id BIGINT", "name TEXT")
	future := log.PositionOf(log.Part{Group: 1, Index: 1 << 40})
	for _, c := range []struct {
		name string
		q    Request
		code problem.Code
	}{
		{"no such table", Request{SQL: "SELECT * FROM missing"}, problem.UnknownTable},
		{"no such namespace", Request{SQL: "SELECT * FROM nowhere.t"}, problem.UnknownNamespace},
		{"no such column", Request{SQL: "SELECT * FROM t WHERE nam = 'x'"}, problem.UnknownColumn},
		{"syntax", Request{SQL: "SELECT * FORM t"}, ""},
		{"nothing", Request{SQL: "  "}, problem.Unsupported},
		{"two statements", Request{SQL: "SELECT * FROM t; SELECT * FROM t"}, problem.Unsupported},
		{"a write", Request{SQL: "DELETE FROM t"}, problem.Unsupported},
		{"join", Request{SQL: "SELECT * FROM t a, t b"}, problem.Unsupported},
		{"aggregate", Request{SQL: "SELECT count(*) AS n FROM t"}, ""},
		{"group by", Request{SQL: "SELECT name FROM t GROUP BY name"}, problem.Unsupported},
		{"order by", Request{SQL: "SELECT * FROM t ORDER BY id"}, problem.Unsupported},
		{"limit", Request{SQL: "SELECT * FROM t LIMIT 5"}, problem.Unsupported},
		{"no name", Request{SQL: "SELECT id + 1 FROM t"}, problem.Unsupported},
		{"same name twice", Request{SQL: "SELECT *, id FROM t"}, problem.DuplicateColumn},
		{"system column", Request{SQL: "SELECT id FROM t WHERE _offset > 5"}, problem.Unsupported},
		{"no parameter", Request{SQL: "SELECT id FROM t WHERE id = $1"}, problem.BadRequest},
		{"subquery", Request{SQL: "SELECT id FROM t WHERE id IN (SELECT 1)"}, problem.Unsupported},
		{"future", Request{SQL: "SELECT id FROM t", From: &future}, problem.PositionInvalid},
		{"future at_least", Request{SQL: "SELECT id FROM t", AtLeast: future}, problem.PositionInvalid},
		{"negative", Request{SQL: "SELECT id FROM t", LastRows: -1}, problem.OutOfRange},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := r.registry.Subscribe(testContext(t), c.q)
			if s != nil {
				t.Fatal("accepted")
			}
			p := problem.As(err)
			if p == nil || c.code != "" && p.Code != c.code {
				t.Fatalf("got %v, want %s", err, c.code)
			}
			if p.Message == "" {
				t.Error("no message")
			}
		})
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Progress: time.Hour})
	table := r.create("t", materializer.Shared, 2, 1, "id BIGINT", "n BIGINT")
	bystander := r.subscribe(testContext(t), Request{SQL: "SELECT * FROM t"})
	until(t, bystander, isReady)

	t.Run("filter that fails", func(t *testing.T) {
		s := r.subscribe(testContext(t), Request{SQL: "SELECT id FROM t WHERE n + 9223372036854775800 > 0"})
		until(t, s, isReady)
		r.write(r.put(table, 1, 1))
		r.write(r.put(table, 1, 9223372036854775807))
		r.write(r.put(table, 1, 2))
		got := until(t, s, func(e told) bool { return e.Type == Failed })
		if len(got) != 2 || got[0].Type != Inserted || !strings.Contains(got[1].Data, `{"error":{"code":"out_of_range"`) {
			t.Errorf("got %v", got)
		}
		if _, err := s.Next(testContext(t)); !problem.Is(err, problem.OutOfRange) {
			t.Errorf("afterwards: %v", err)
		}
		exactly(t, bystander, 3)
	})
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(testContext(t))
		s := r.subscribe(ctx, Request{SQL: "SELECT * FROM t"})
		until(t, s, isReady)
		gone := errors.New("client gone")
		go cancel(gone)
		if _, err := s.Next(testContext(t)); !errors.Is(err, gone) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("closed while it waits", func(t *testing.T) {
		s := r.subscribe(testContext(t), Request{SQL: "SELECT * FROM t"})
		until(t, s, isReady)
		go s.Close()
		if _, err := s.Next(testContext(t)); !errors.Is(err, errClosed) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("killed", func(t *testing.T) {
		s := r.subscribe(testContext(t), Request{SQL: "SELECT * FROM t", Snapshot: true})
		until(t, s, isReady)
		if err := r.registry.Kill(s.ID()); err != nil {
			t.Fatal(err)
		}
		if got := exactly(t, s, 1); got[0].Type != Failed {
			t.Errorf("got %v", got)
		}
		if err := r.registry.Kill(s.ID()); !problem.Is(err, problem.UnknownLiveQuery) {
			t.Errorf("again: %v", err)
		}
	})
	t.Run("dropped table", func(t *testing.T) {
		asleep := r.subscribe(testContext(t), Request{SQL: "SELECT * FROM t", Snapshot: true})
		drop, err := r.state.Catalog().DropTable(table)
		if err != nil {
			t.Fatal(err)
		}
		go r.write(drop...)
		for _, s := range []*Subscription{bystander, asleep} {
			got := until(t, s, func(e told) bool { return e.Type == Failed })
			if last := got[len(got)-1]; !strings.Contains(last.Data, `"unknown_table"`) {
				t.Errorf("got %v", got)
			}
		}
	})
	t.Run("registry", func(t *testing.T) {
		r.create("u", materializer.Shared, 2, 1, "id BIGINT")
		s := r.subscribe(testContext(t), Request{SQL: "SELECT * FROM u"})
		until(t, s, isReady)
		r.subscribe(testContext(t), Request{SQL: "SELECT * FROM u", Snapshot: true}) // never asked
		closed := make(chan error)
		go func() { closed <- r.registry.Close() }()
		if _, err := s.Next(testContext(t)); !problem.Is(err, problem.ShuttingDown) {
			t.Errorf("got %v", err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if _, err := r.registry.Subscribe(testContext(t), Request{SQL: "SELECT * FROM u"}); !problem.Is(err, problem.ShuttingDown) {
			t.Errorf("after close: %v", err)
		}
	})
}
