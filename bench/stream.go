package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"github.com/tmaxmax/go-sse"

	"kalamlog.dev/kalam/internal/process"
)

const (
	streamRate    = 2000 // writes a second
	streamWriters = 8
)

// subscribe times from the writer's acknowledgement to the event's arrival, at streamRate writes a second.
func (b *bench) subscribe(ctx context.Context) error {
	if err := b.sql(ctx, `CREATE SCHEMA IF NOT EXISTS bench; CREATE TABLE bench.stream`+messages); err != nil {
		return err
	}
	arrivals, stop, err := b.follow(ctx, "SELECT id FROM bench.stream WHERE room = 'lobby'")
	if err != nil {
		return err
	}
	total := int(b.each.Seconds() * streamRate)
	acks, err := b.paced(total)
	if err != nil {
		stop()
		return err
	}
	lags := make([]time.Duration, 0, total)
	timeout := time.After(30 * time.Second)
	for len(lags) < total {
		select {
		case a := <-arrivals:
			lags = append(lags, max(0, a.at.Sub(acks[a.id])))
		case <-timeout:
			stop()
			return fmt.Errorf("%d of %d events arrived", len(lags), total)
		}
	}
	stop()
	t := summarise(lags, b.each)
	b.report("acknowledged to event p50 ms", t.at(.5), "%.3f   (budget: under 1)", t.at(.5))
	b.report("acknowledged to event p99 ms", t.at(.99), "%.3f   (budget: under 10)", t.at(.99))
	return nil
}

type arrival struct {
	id int64
	at time.Time
}

// follow opens a live query and gives the arrival of each insert.
func (b *bench) follow(ctx context.Context, sql string) (<-chan arrival, func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.server.URL+"/v1/subscribe?sql="+url.QueryEscape(sql), http.NoBody)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	res, err := http.DefaultClient.Do(req) //nolint:bodyclose // the reading goroutine closes it
	if err != nil {
		cancel()
		return nil, nil, err
	}
	arrivals := make(chan arrival, 1<<20)
	ready := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer res.Body.Close()
		for e, err := range sse.Read(res.Body, nil) {
			at := time.Now()
			if err != nil {
				return
			}
			if e.Type == "ready" {
				close(ready)
			}
			var p struct{ Row struct{ ID int64 } }
			if e.Type == "insert" && json.Unmarshal([]byte(e.Data), &p) == nil {
				arrivals <- arrival{p.Row.ID, at}
			}
		}
	}()
	select {
	case <-ready:
	case <-done:
		cancel()
		return nil, nil, fmt.Errorf("subscribe ended: %s", res.Status)
	}
	return arrivals, func() { cancel(); <-done }, nil
}

// paced writes total rows at streamRate and returns when each was acknowledged, by its id.
func (b *bench) paced(total int) (map[int64]time.Time, error) {
	c := newClient(b.server.URL)
	acks := make(map[int64]time.Time, total)
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		first error
	)
	began := time.Now()
	for w := range streamWriters {
		wg.Go(func() {
			for i := w; i < total; i += streamWriters {
				time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / streamRate)))
				err := c.post("/v1/tables/bench/stream/rows", row(0, i))
				at := time.Now()
				mu.Lock()
				acks[int64(i)] = at
				if err != nil && first == nil {
					first = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return acks, first
}

// fresh starts a server on an empty directory.
func (b *bench) fresh(ctx context.Context) (*process.Server, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return process.Start(ctx, process.Options{Binary: b.binary, Data: filepath.Join(b.dir, fmt.Sprintf("fresh-%d", time.Now().UnixNano()))})
}
