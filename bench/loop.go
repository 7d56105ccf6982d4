package main

import (
	"context"
	"slices"
	"sync"
	"time"
)

// timing is the outcome of a closed loop.
type timing struct {
	count int
	took  time.Duration
	all   []time.Duration // sorted
}

func (t timing) rate() float64 { return float64(t.count) / t.took.Seconds() }

// at returns the quantile q (0 to 1) in milliseconds.
func (t timing) at(q float64) float64 {
	if len(t.all) == 0 {
		return 0
	}
	d := t.all[min(len(t.all)-1, int(q*float64(len(t.all))))]
	return float64(d) / float64(time.Millisecond)
}

// closedLoop runs n workers, each calling its function again as soon as it returns, for d after a warm-up of a tenth of it.
func closedLoop(ctx context.Context, n int, d time.Duration, work func(worker, i int) error) (timing, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		total timing
		first error
	)
	warm := time.Now().Add(d / 10)
	end := warm.Add(d)
	for w := range n {
		wg.Go(func() {
			var mine []time.Duration
			for i := 0; ctx.Err() == nil; i++ {
				began := time.Now()
				if began.After(end) {
					break
				}
				if err := work(w, i); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
					cancel()
					return
				}
				if began.After(warm) {
					mine = append(mine, time.Since(began))
				}
			}
			mu.Lock()
			total.all = append(total.all, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.Sort(total.all)
	total.count, total.took = len(total.all), d
	return total, first
}

// summarise turns a list of latencies into a timing.
func summarise(all []time.Duration, took time.Duration) timing {
	slices.Sort(all)
	return timing{count: len(all), took: took, all: all}
}
