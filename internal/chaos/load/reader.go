package load

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/tmaxmax/go-sse"

	"kalamlog.dev/kalam/internal/chaos/history"
)

// reader follows a live query. Its connection is cut every few seconds, and it goes on at another node.
type reader struct {
	load   *Load
	trail  *history.Trail
	rnd    *rand.Rand
	node   int
	start  string // cursor of the first connection
	cutMax time.Duration

	mu      sync.Mutex
	session int
	cursor  string          // the last id
	next    map[int32]int64 // by partition, the offset after the last one shown
}

// startReaders starts all readers.
func (l *Load) startReaders(ctx context.Context) {
	tail := l.newReader("tail", history.Tail, history.Events)
	tail.start = "0"
	l.follow(ctx, tail)
	l.follow(ctx, l.newReader("folded", history.Folded, history.Registers))
	l.follow(ctx, l.newReader("counters", history.Folded, history.Counters))
	l.follow(ctx, l.newReader("snapshot", history.Snapshot, history.Events))
	for i, t := range l.targets {
		r := l.newTopicReader(fmt.Sprintf("topic%d", t.ID), i, []string{history.Events, history.Registers, history.Counters}[i%3])
		l.topics = append(l.topics, r)
		l.reading.Go(func() { r.run(ctx) })
	}
	l.reading.Go(func() { l.branches(ctx, tail) })
}

func (l *Load) newReader(name string, how history.Reader, table string) *reader {
	r := &reader{load: l, rnd: l.random(name), next: map[int32]int64{}, cutMax: 6 * time.Second}
	r.trail = &history.Trail{Name: name, How: how, Table: table}
	r.node = r.rnd.IntN(len(l.targets))
	return r
}

func (l *Load) follow(ctx context.Context, r *reader) {
	l.options.Recorder.Start(r.trail)
	l.board.mu.Lock()
	l.readers = append(l.readers, r)
	l.board.mu.Unlock()
	l.reading.Go(func() { r.run(ctx) })
}

// maxBranches bounds how many readers are started at another one's cursor.
const maxBranches = 3

// branches starts readers at random cursors of the tail.
func (l *Load) branches(ctx context.Context, tail *reader) {
	rnd := l.random("branches")
	for i := range maxBranches {
		pause(ctx, time.Duration(2000+rnd.IntN(4000))*time.Millisecond)
		select {
		case <-ctx.Done():
			return
		case <-l.calm:
			return
		default:
		}
		r := l.newReader(fmt.Sprintf("branch%d", i+1), history.Branch, tail.trail.Table)
		tail.mu.Lock()
		r.start, r.trail.Starts = tail.cursor, maps.Clone(tail.next)
		tail.mu.Unlock()
		if r.start != "" {
			l.follow(ctx, r)
		}
	}
}

// run connects again and again until ctx is done.
func (r *reader) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := r.connection(ctx); err != nil && ctx.Err() == nil {
			pause(ctx, 100*time.Millisecond)
		}
		r.node = (r.node + 1 + r.rnd.IntN(2)) % len(r.load.targets)
	}
}

// connection follows one connection to its end.
func (r *reader) connection(ctx context.Context) error {
	ctx, cancel := r.cutter(ctx)
	defer cancel()
	t := r.load.targets[r.node]
	req, resume, err := r.request(ctx, t)
	if err != nil {
		return err
	}
	res, err := t.client.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("subscribe: %s", res.Status)
	}
	r.open(t.ID, resume)
	for e, err := range sse.Read(res.Body, nil) {
		if err == nil {
			err = r.take(t.ID, &e)
		}
		if err != nil {
			r.see(history.Seen{Node: t.ID, Kind: history.Broken, Error: err.Error()})
			return err
		}
	}
	r.see(history.Seen{Node: t.ID, Kind: history.Broken})
	return nil
}

// cutter returns a context that ends at a random moment, unless calm comes first.
func (r *reader) cutter(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	after := time.Duration(r.rnd.Int64N(int64(r.cutMax))) + 200*time.Millisecond
	go func() {
		select {
		case <-ctx.Done():
		case <-r.load.calm:
		case <-time.After(after):
			cancel()
		}
	}()
	return ctx, cancel
}

func (r *reader) request(ctx context.Context, t *target) (req *http.Request, resume string, err error) {
	column := "v"
	if r.trail.Table == history.Counters {
		column = "n"
	}
	query := url.Values{"sql": {fmt.Sprintf("SELECT id, %s FROM %s", column, r.load.table(r.trail.Table))}}
	switch r.trail.How {
	case history.Tail, history.Branch:
		query.Set("from", r.start)
		query.Set("snapshot", "false")
	default:
		query.Set("at_least", r.load.board.read())
	}
	if req, err = http.NewRequestWithContext(ctx, http.MethodGet, t.URL+"/v1/subscribe?"+query.Encode(), nil); err != nil {
		return nil, "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cursor != "" && r.trail.How != history.Snapshot {
		req.Header.Set("Last-Event-ID", r.cursor)
		return req, r.cursor, nil
	}
	return req, "", nil
}

// open notes a new connection. One without a cursor begins from nothing.
func (r *reader) open(node int, resume string) {
	r.mu.Lock()
	r.session++
	if resume == "" {
		clear(r.next)
	}
	r.mu.Unlock()
	r.see(history.Seen{Node: node, Kind: history.Opened, Cursor: resume})
}

func (r *reader) see(s history.Seen) {
	s.Session = r.session
	r.load.options.Recorder.See(r.trail, s)
}

// event is the payload of every event.
type event struct {
	Row, New, Old map[string]any
	Partition     int32
	Offset        int64
	Position      string
	Reason        string
	Error         struct{ Code, Message string }
}

// take records an event. The error is that of an error event.
func (r *reader) take(node int, e *sse.Event) error {
	var p event
	if err := json.Unmarshal([]byte(e.Data), &p); err != nil {
		return fmt.Errorf("event %s %q: %w", e.Type, e.Data, err)
	}
	s := history.Seen{Node: node, Partition: p.Partition, Offset: p.Offset, Cursor: e.LastEventID}
	switch e.Type {
	case "row":
		s.Kind = history.Row
		s.Key, s.Value = cells(p.Row)
	case "insert":
		s.Kind = history.Changed
		s.Key, s.Value = cells(p.Row)
	case "update":
		s.Kind = history.Changed
		s.Key, s.Value = cells(p.New)
	case "delete":
		s.Kind = history.Deleted
		s.Key, _ = cells(p.Row)
	case "ready":
		s.Kind, s.Cursor = history.Ready, p.Position
	case "progress":
		s.Kind, s.Cursor = history.Progress, p.Position
	case "reset":
		s.Kind, s.Error = history.Reset, p.Reason
	case "error":
		return fmt.Errorf("%s: %s", p.Error.Code, p.Error.Message)
	default:
		return nil
	}
	r.see(s)
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.LastEventID != "" {
		r.cursor = e.LastEventID
	}
	if s.Kind == history.Row || s.Kind == history.Changed || s.Kind == history.Deleted {
		r.next[s.Partition] = max(r.next[s.Partition], s.Offset+1)
	}
	return nil
}

// cells returns the key of a row, and its other column as text.
func cells(row map[string]any) (key, value string) {
	for name, v := range row {
		switch text := fmt.Sprint(v); name {
		case "id":
			key = text
		default:
			value = text
		}
	}
	return key, value
}

// reached reports whether the reader has been shown everything before the ends.
func (r *reader) reached(ends map[int32]int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, end := range ends {
		if r.next[p] < end {
			return false
		}
	}
	return true
}

func (l *Load) caughtUp(ends map[string]map[int32]int64) bool {
	l.board.mu.Lock()
	defer l.board.mu.Unlock()
	for _, r := range l.readers {
		if !r.reached(ends[r.trail.Table]) {
			return false
		}
	}
	for _, t := range l.topics {
		if !t.reached(ends[t.trail.Table]) {
			return false
		}
	}
	return true
}
