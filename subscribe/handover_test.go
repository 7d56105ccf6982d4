package subscribe

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"kalamlog.dev/kalam/materializer"
)

// TestStreamHandOver follows a stream into which one writer counts: whoever joins, at whatever moment, must see the numbers without a gap.
func TestStreamHandOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Progress: time.Hour, BufferBytes: 400})
	table := r.create("s", materializer.Stream, 3, 1, "id BIGINT")
	ctx, stop := context.WithCancel(testContext(t))
	var writer, readers sync.WaitGroup
	writer.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			r.write(r.put(table, i))
		}
	})
	for range 6 {
		readers.Go(func() {
			for round := range 60 {
				q := Request{SQL: "SELECT id FROM s", Snapshot: true, LastRows: 1 + round%4*3}
				if err := countUp(ctx, r, q, 20); err != nil {
					t.Errorf("last %d: %v", q.LastRows, err)
				}
			}
		})
	}
	readers.Wait()
	stop()
	writer.Wait()
}

// countUp takes n rows, which must be consecutive numbers.
func countUp(ctx context.Context, r *rig, q Request, n int) error {
	s, err := r.registry.Subscribe(ctx, q)
	if err != nil {
		return err
	}
	defer s.Close()
	for last := -1; n > 0; {
		events, err := s.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.Type == Failed {
				return fmt.Errorf("%s", e.Data)
			}
			if e.Type != InitialRow && e.Type != Inserted {
				continue
			}
			var p struct{ Row struct{ ID int } }
			if err := json.Unmarshal(e.Data, &p); err != nil {
				return err
			}
			if last >= 0 && p.Row.ID != last+1 {
				return fmt.Errorf("%s %d follows %d", e.Type, p.Row.ID, last)
			}
			last = p.Row.ID
			n--
		}
	}
	return nil
}

// TestHandOver subscribes at random moments under load: initial rows and the changes after them must fit without a gap or an overlap.
func TestHandOver(t *testing.T) {
	t.Parallel()
	rnd := random(t)
	r := newRig(t, Options{Progress: 5 * time.Millisecond, BufferBytes: 2000})
	table := r.create("t", materializer.Shared, 3, 1, "id BIGINT", "a BIGINT", "b TEXT", "c DOUBLE")
	const keys = 300 // some hundred calls of Next for the initial rows
	var rows []materializer.Mutation
	for id := range keys {
		rows = append(rows, r.put(table, id, id%10, "5", 0.5))
	}
	r.write(rows...)
	writers := startLoad(r, table, rnd, 3, keys)
	ctx := testContext(t)
	var lives []*life
	var wg sync.WaitGroup
	for range 8 {
		own := rand.New(rand.NewPCG(rnd.Uint64(), 4))
		for range 25 {
			lives = append(lives, &life{query: randomQuery(t, rnd, table), lag: true})
		}
		mine := lives[len(lives)-25:]
		wg.Go(func() {
			for _, l := range mine {
				if l.err = l.connect(ctx, r, own, 5, nil); l.err == nil {
					l.remember()
				}
			}
		})
	}
	wg.Wait()
	writers.end()
	story := readChanges(t, r, table)
	for _, l := range lives {
		l.check(t, story)
	}
	t.Logf("%d changes, %d subscriptions", len(story.all), len(lives))
}
