package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// recorder takes batches in place of the log. It gives offsets in order, and fails the batch numbered failAt.
type recorder struct {
	mu      sync.Mutex
	batches []*materializer.Batch
	running int
	failAt  int // from 1; 0: never
	fault   error
	next    log.Offset
}

func (r *recorder) write(_ context.Context, b *materializer.Batch) (materializer.WriteReceipt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running++; r.running > 1 {
		panic("two chunks in flight")
	}
	defer func() { r.running-- }()
	r.batches = append(r.batches, b)
	if len(r.batches) == r.failAt {
		return materializer.WriteReceipt{}, r.fault
	}
	var w materializer.WriteReceipt
	w.Position = log.PositionOf(log.Part{Group: 1, Index: log.Index(len(r.batches))})
	for range b.Mutations {
		w.Applied = append(w.Applied, materializer.Applied{Done: true, Offset: r.next})
		r.next++
	}
	return w, nil
}

func (r *recorder) ingest(t *testing.T, body io.Reader, key string, cond precondition) *ingest {
	t.Helper()
	d := newRowDrafter(quakes(t), identity.Root, 0, materializer.NewIDs(1), modeUpsert, cond)
	return &ingest{rows: newRowScanner(body, nil, 1<<20, false), drafter: d, write: r.write, key: key, caller: "root"}
}

func rowsBody(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"id\":\"k%d\"}\n", i)
	}
	return b.String()
}

func TestIngestCutsChunksInOrder(t *testing.T) {
	t.Parallel()
	for n, want := range map[int][]int{0: nil, 1: {1}, 999: {999}, 1000: {1000}, 1001: {1000, 1}, 2500: {1000, 1000, 500}} {
		var r recorder
		in := r.ingest(t, strings.NewReader(rowsBody(n)), "", anyRow())
		if err := in.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		var have []int
		for _, b := range r.batches {
			have = append(have, len(b.Mutations))
		}
		if fmt.Sprint(have) != fmt.Sprint(want) || in.kept.rows != int64(n) {
			t.Errorf("%d rows: chunks %v, kept %d", n, have, in.kept.rows)
		}
	}
}

func TestIngestCutsByBytes(t *testing.T) {
	t.Parallel()
	row := func(size int) string { return `{"id":"a","place":"` + strings.Repeat("x", size) + `"}` }
	var r recorder
	body := strings.Join([]string{row(600 << 10), row(600 << 10), row(10), row(1<<20 - 100), row(10)}, "\n")
	in := r.ingest(t, strings.NewReader(body), "", anyRow())
	if err := in.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.batches) != 3 || len(r.batches[1].Mutations) != 2 {
		t.Errorf("%d chunks", len(r.batches))
	}
}

func TestIngestKeepsAPrefix(t *testing.T) {
	t.Parallel()
	refused := problem.New(problem.DuplicateKey, "key k1500 already exists")
	for name, c := range map[string]struct {
		body    string
		failAt  int
		fault   error
		kept    int64
		code    problem.Code
		batches int
	}{
		"refused":              {rowsBody(5000), 2, refused, 1000, problem.DuplicateKey, 2},
		"refused at once":      {rowsBody(10), 1, refused, 0, problem.DuplicateKey, 1},
		"broken JSON":          {rowsBody(2500) + `{"id":` + "\n" + rowsBody(10), 0, nil, 2000, problem.BadJSON, 2},
		"broken in the first":  {rowsBody(20) + `{"id":}` + "\n" + rowsBody(10), 0, nil, 0, problem.BadJSON, 0},
		"wrong value":          {rowsBody(1000) + `{"id":"a","felt":"x"}`, 0, nil, 1000, problem.InvalidValue, 1},
		"refused, then broken": {rowsBody(1500) + `{"id":}`, 1, refused, 0, problem.DuplicateKey, 1},
	} {
		r := recorder{failAt: c.failAt, fault: c.fault}
		in := r.ingest(t, strings.NewReader(c.body), "", anyRow())
		err := in.run(t.Context())
		if problemOf(err).Code != c.code || in.kept.rows != c.kept || len(r.batches) != c.batches {
			t.Errorf("%s: %v, kept %d, %d batches", name, err, in.kept.rows, len(r.batches))
		}
		reply := in.kept.reply()
		if reply.RowCount != c.kept || (reply.Position == "") != (c.kept == 0) {
			t.Errorf("%s: reply %+v", name, reply)
		}
		if r.running != 0 {
			t.Errorf("%s: a write goes on", name)
		}
	}
}

func TestIngestNamesTheRow(t *testing.T) {
	t.Parallel()
	var r recorder
	err := r.ingest(t, strings.NewReader(rowsBody(1234)+`{"id":"a","felt":"x"}`), "", anyRow()).run(t.Context())
	if p := problem.As(err); p == nil || !strings.HasPrefix(p.Message, `row 1235: column "felt": `) {
		t.Error(err)
	}
}

func TestUnknownOutcomeIsSaid(t *testing.T) {
	t.Parallel()
	r := recorder{failAt: 2, fault: problem.New(problem.Timeout, "the outcome is unknown")}
	in := r.ingest(t, strings.NewReader(rowsBody(3000)), "", anyRow())
	if err := in.run(t.Context()); err == nil || !strings.Contains(in.kept.hint(), "after the first 1000 were stored is unknown") {
		t.Errorf("%v, %q", err, in.kept.hint())
	}
}

// identify returns the keys and fingerprints of the chunks of body.
func identify(t *testing.T, body io.Reader, key string) []string {
	t.Helper()
	var r recorder
	if err := r.ingest(t, body, key, anyRow()).run(t.Context()); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, b := range r.batches {
		ids = append(ids, fmt.Sprintf("%s=%x", b.IdempotencyKey, b.Fingerprint))
	}
	return ids
}

func TestIdempotencyOfChunks(t *testing.T) {
	t.Parallel()
	body := rowsBody(2500)
	first := identify(t, strings.NewReader(body), "k")
	if len(first) != 3 || !strings.HasPrefix(first[0], "k/0=") || !strings.HasPrefix(first[2], "k/2=") {
		t.Fatalf("chunks %v", first)
	}
	again := identify(t, iotest.HalfReader(strings.NewReader(body)), "k")
	if fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("the same body in other pieces: %v, want %v", again, first)
	}
	array := "[" + strings.ReplaceAll(strings.TrimSpace(body), "\n", ",") + "]"
	if same := identify(t, strings.NewReader(array), "k"); fmt.Sprint(same) != fmt.Sprint(first) {
		t.Errorf("the same rows as an array: %v, want %v", same, first)
	}
	// A body that begins the same is another one, and its last chunk says so.
	shorter := identify(t, strings.NewReader(rowsBody(1000)), "k")
	if len(shorter) != 1 || shorter[0] == first[0] {
		t.Errorf("a body of the first chunk alone has its fingerprint: %v", shorter)
	}
	// A later chunk depends on all the rows before it.
	changed := identify(t, strings.NewReader(strings.Replace(body, "k5\"", "K5\"", 1)), "k")
	for i := range first {
		if changed[i] == first[i] {
			t.Errorf("chunk %d of another body has the same fingerprint", i)
		}
	}
	if none := identify(t, strings.NewReader(body), ""); none[0] != "=0" {
		t.Errorf("without a key: %v", none)
	}
}

func TestConditionsAreForOneRow(t *testing.T) {
	t.Parallel()
	var r recorder
	err := r.ingest(t, strings.NewReader(rowsBody(2)), "", precondition{version: 7}).run(t.Context())
	if !problem.Is(err, problem.BadRequest) || len(r.batches) != 0 {
		t.Errorf("%v, %d batches", err, len(r.batches))
	}
	if err := r.ingest(t, strings.NewReader(rowsBody(1)), "", precondition{version: 7}).run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m := r.batches[0].Mutations[0]; m.Version != 7 || m.Op != materializer.Upsert {
		t.Errorf("mutation %+v", m)
	}
}

func TestParsePrecondition(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		match, noneMatch string
		mode             rowMode
		want             precondition
		bad              bool
	}{
		{"", "", modeInsert, precondition{version: -1}, false},
		{`"12"`, "", modeUpsert, precondition{version: 12}, false},
		{`12`, "", modePatch, precondition{version: 12}, false},
		{`0`, "", modeDelete, precondition{version: 0}, false},
		{`*`, "", modeUpsert, precondition{version: -1, exists: true}, false},
		{``, "*", modeUpsert, precondition{version: -1, absent: true}, false},
		{``, "*", modeInsert, precondition{version: -1, absent: true}, false},
		{`W/"12"`, "", modeUpsert, precondition{}, true},
		{`-1`, "", modeUpsert, precondition{}, true},
		{`x`, "", modeUpsert, precondition{}, true},
		{`12`, "", modeInsert, precondition{}, true},
		{`*`, "", modeInsert, precondition{}, true},
		{``, "*", modePatch, precondition{}, true},
		{``, `"1"`, modeUpsert, precondition{}, true},
		{`1`, `*`, modeUpsert, precondition{}, true},
	} {
		h := http.Header{}
		h.Set("If-Match", c.match)
		h.Set("If-None-Match", c.noneMatch)
		have, err := parsePrecondition(h, c.mode)
		if (err != nil) != c.bad || !c.bad && have != c.want {
			t.Errorf("%q %q %s: %+v, %v", c.match, c.noneMatch, c.mode, have, err)
		}
	}
}
