package subscribe

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"testing"
	"time"

	"kalamlog.dev/kalam/materializer"
)

// fill writes n rows of about 100 bytes in batches; another round changes each of them.
func (r *rig) fill(t *materializer.Table, n, round int) {
	var batch []materializer.Mutation
	for i := range n {
		batch = append(batch, r.put(t, i, i%100, "earthquake near the coast of somewhere far away", float64(i+round)/7))
		if len(batch) == 1000 {
			r.write(batch...)
			batch = batch[:0]
		}
	}
	if len(batch) > 0 {
		r.write(batch...)
	}
}

// BenchmarkCatchUp reads changes from the log, filters and encodes them: an operation is one change.
func BenchmarkCatchUp(b *testing.B) {
	for _, c := range []struct{ name, sql string }{
		{"all", "SELECT * FROM t"},
		{"half", "SELECT * FROM t WHERE a < 50 AND b LIKE 'earth%'"},
		{"none", "SELECT * FROM t WHERE a < 0"},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, Options{Progress: 20 * time.Millisecond})
			table := r.create("t", materializer.Shared, 4, 1, "id BIGINT", "a BIGINT", "b TEXT", "c DOUBLE")
			from := r.log.Position()
			const rows = 20_000
			r.fill(table, rows, 0)
			end := r.log.Position()
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; done += rows {
				s := r.subscribe(testContext(b), Request{SQL: c.sql, From: &from})
				for cursor := from; !cursor.Covers(end); {
					events, err := s.Next(testContext(b))
					if err != nil {
						b.Fatal(err)
					}
					for _, e := range events {
						if e.MovesCursor() {
							cursor = e.Cursor
						}
					}
				}
				s.Close()
			}
		})
	}
}

// BenchmarkFanOut writes one change at a time to many waiting subscriptions: an operation is one delivery.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			r := newRig(b, Options{Progress: time.Hour})
			table := r.create("t", materializer.Shared, 4, 1, "id BIGINT", "a BIGINT", "b TEXT", "c DOUBLE")
			told := make(chan int)
			for range n {
				s := r.subscribe(testContext(b), Request{SQL: "SELECT * FROM t WHERE a >= 0"})
				if _, err := s.Next(testContext(b)); err != nil {
					b.Fatal(err)
				}
				ctx := testContext(b)
				go func() {
					for {
						events, err := s.Next(ctx)
						if err != nil {
							return
						}
						told <- len(events)
					}
				}()
			}
			b.ReportAllocs()
			b.ResetTimer()
			const changes = 50
			for done := 0; done < b.N; done += n * changes {
				r.fill(table, changes, done)
				for left := n * changes; left > 0; {
					left -= <-told
				}
			}
		})
	}
}

// BenchmarkLatency is the time from the call of a write to its event.
func BenchmarkLatency(b *testing.B) {
	r := newRig(b, Options{Progress: time.Hour})
	table := r.create("t", materializer.Shared, 4, 1, "id BIGINT", "a BIGINT", "b TEXT", "c DOUBLE")
	s := r.subscribe(testContext(b), Request{SQL: "SELECT * FROM t WHERE a >= 0"})
	if _, err := s.Next(testContext(b)); err != nil {
		b.Fatal(err)
	}
	ctx := testContext(b)
	m := []materializer.Mutation{r.put(table, 1, 1, "x", 1), r.put(table, 1, 2, "x", 1)}
	var acknowledged, heard time.Duration
	for i := range b.N {
		start := time.Now()
		done := make(chan time.Duration)
		go func() { r.write(m[i%2]); done <- time.Since(start) }()
		if _, err := s.Next(ctx); err != nil {
			b.Fatal(err)
		}
		heard += time.Since(start)
		acknowledged += <-done
	}
	b.ReportMetric(float64(acknowledged.Microseconds())/float64(b.N), "µs/ack")
	b.ReportMetric(float64(heard.Microseconds())/float64(b.N), "µs/event")
}

// BenchmarkIdle opens b.N subscriptions that wait, and reports the memory of one.
func BenchmarkIdle(b *testing.B) {
	r := newRig(b, Options{Progress: time.Hour})
	table := r.create("t", materializer.Shared, 4, 1, "id BIGINT", "a BIGINT", "b TEXT", "c DOUBLE")
	r.fill(table, 1000, 0)
	before := heapBytes()
	ctx := testContext(b)
	subscriptions := make([]*Subscription, 0, b.N)
	for range b.N {
		s := r.subscribe(ctx, Request{SQL: "SELECT * FROM t WHERE a = 5 AND b LIKE 'e%'", Snapshot: true})
		until(b, s, isReady)
		subscriptions = append(subscriptions, s)
	}
	r.fill(table, 1000, 1)
	for _, s := range subscriptions { // they have followed once, and wait again
		if _, err := s.Next(ctx); err != nil {
			b.Fatal(err)
		}
		brief, cancel := context.WithTimeout(ctx, time.Microsecond)
		if _, err := s.Next(brief); !errors.Is(err, context.DeadlineExceeded) {
			b.Fatal(err)
		}
		cancel()
	}
	b.ReportMetric(float64(heapBytes()-before)/float64(b.N), "bytes/subscription")
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
