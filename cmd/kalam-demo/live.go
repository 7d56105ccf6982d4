package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/tmaxmax/go-sse"
)

// liveQuery is one open subscription, read in the background.
type liveQuery struct {
	events chan event
	cancel context.CancelFunc
	done   chan struct{}
	lastID string // of the events taken so far
}

type event struct {
	kind string
	id   string
	payload
	err error
}

type payload struct {
	Row        json.RawMessage `json:"row"`
	Old        json.RawMessage `json:"old"`
	New        json.RawMessage `json:"new"`
	Transition string          `json:"transition"`
	Position   string          `json:"position"`
}

// subscribe opens a live query; lastID resumes an earlier one.
func (d *demo) subscribe(ctx context.Context, sql, lastID string) (*liveQuery, error) {
	ctx, cancel := context.WithCancel(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.server.URL+"/v1/subscribe?sql="+url.QueryEscape(sql), nil)
	if err != nil {
		cancel()
		return nil, err
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		cancel()
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		cancel()
		return nil, fmt.Errorf("subscribe: status %s", res.Status)
	}
	q := &liveQuery{events: make(chan event, 4096), cancel: cancel, done: make(chan struct{}), lastID: lastID}
	go q.read(res)
	return q, nil
}

func (q *liveQuery) read(res *http.Response) {
	defer close(q.done)
	defer close(q.events)
	defer res.Body.Close()
	for e, err := range sse.Read(res.Body, nil) {
		ev := event{kind: e.Type, id: e.LastEventID, err: err}
		if err == nil {
			ev.err = json.Unmarshal([]byte(e.Data), &ev.payload)
		}
		q.events <- ev
	}
}

// await returns the next event that is no progress; it fails after ten seconds.
func (q *liveQuery) await(ctx context.Context) (event, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return event{}, errors.New("no event came in time")
		case e, open := <-q.events:
			if !open {
				return event{}, errors.New("the stream ended")
			}
			if e.err != nil {
				return event{}, e.err
			}
			if e.id != "" {
				q.lastID = e.id
			}
			if e.kind != "progress" {
				return e, nil
			}
		}
	}
}

// awaitKind returns the next event and fails if it is of another kind.
func (q *liveQuery) awaitKind(ctx context.Context, kind string) (event, error) {
	e, err := q.await(ctx)
	if err == nil && e.kind != kind {
		err = fmt.Errorf("got event %q where %q was due", e.kind, kind)
	}
	return e, err
}

func (q *liveQuery) close() {
	q.cancel()
	for range q.events { // drained, so that the reader can end
		continue
	}
	<-q.done
}
