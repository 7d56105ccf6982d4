package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"kalamlog.dev/kalam/internal/process"
)

const (
	failoverClients = 8
	failoverRuns    = 5
	failoverBefore  = 1500 * time.Millisecond // of load before each fault
	failoverLimit   = 20 * time.Second        // until writes go on
	rateWindow      = 250 * time.Millisecond
)

// failover takes the leader away while clients write at a follower, and times how long writes stand still. Clients repeat what was not acknowledged
// under the same idempotency key. In the end the rows must be the acknowledged ones, each once.
func (b *bench) failover(ctx context.Context) error {
	n, err := b.three(ctx)
	if err != nil {
		return err
	}
	defer n.stop()
	if _, err := n.servers[1].SQL(ctx, `CREATE SCHEMA bench; CREATE TABLE bench.messages`+messages); err != nil {
		return err
	}
	written := 0
	for _, f := range faults {
		pauses, whole, err := b.repeat(ctx, n, f, &written)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		b.report(f.name+", writes go on after s", pauses[len(pauses)/2], "%s   (budget: under 5)", spread(pauses))
		b.report(f.name+", at 80 % of the rate after s", whole[len(whole)/2], "%s", spread(whole))
	}
	return n.count(ctx, written)
}

// fault takes leadership away from a node, and gives the node back.
type fault struct {
	name string
	take func(ctx context.Context, n *nodes, leader, follower int) error
	give func(ctx context.Context, n *nodes, leader int) error
}

var faults = []fault{
	{"kill -9 of the leader", func(_ context.Context, n *nodes, leader, _ int) error {
		n.servers[leader].Kill()
		delete(n.servers, leader)
		return nil
	}, func(ctx context.Context, n *nodes, leader int) error { return n.restart(ctx, leader) }},
	{"SIGSTOP of the leader", func(_ context.Context, n *nodes, leader, _ int) error {
		return syscall.Kill(n.servers[leader].PID(), syscall.SIGSTOP)
	}, func(_ context.Context, n *nodes, leader int) error {
		return syscall.Kill(n.servers[leader].PID(), syscall.SIGCONT)
	}},
	{"kalam cluster transfer", func(ctx context.Context, n *nodes, _, follower int) error {
		return n.transfer(ctx, follower)
	}, func(context.Context, *nodes, int) error { return nil }},
}

// repeat has a fault failoverRuns times and returns, sorted, the seconds until writes went on, and until they had their rate again.
func (b *bench) repeat(ctx context.Context, n *nodes, f fault, written *int) (pauses, whole []float64, err error) {
	for range failoverRuns {
		if err := n.whole(ctx); err != nil {
			return nil, nil, err
		}
		leader, follower, err := n.roles(ctx)
		if err != nil {
			return nil, nil, err
		}
		load := startLoad(n.servers[follower], *written)
		time.Sleep(failoverBefore)
		struck := time.Now()
		err = f.take(ctx, n, leader, follower)
		if err == nil {
			err = load.recovered(ctx, struck)
		}
		acks, failed := load.stop()
		*written += len(acks)
		if err := errors.Join(err, failed, f.give(ctx, n, leader)); err != nil {
			return nil, nil, err
		}
		pause, back := recovery(acks, load.began, struck)
		pauses, whole = append(pauses, pause.Seconds()), append(whole, back.Seconds())
	}
	slices.Sort(pauses)
	slices.Sort(whole)
	return pauses, whole, nil
}

func spread(sorted []float64) string {
	return fmt.Sprintf("min %.2f   median %.2f   max %.2f", sorted[0], sorted[len(sorted)/2], sorted[len(sorted)-1])
}

// load is clients that write rows one by one at a server.
type load struct {
	server *process.Server
	began  time.Time
	end    context.CancelFunc
	owned  sync.WaitGroup

	mu     sync.Mutex
	acks   []time.Time
	failed error
}

// startLoad starts failoverClients clients, whose rows have keys from first on in ranges of their own.
func startLoad(s *process.Server, first int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{server: s, began: time.Now(), end: cancel}
	for w := range failoverClients {
		l.owned.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				err := l.write(row(w+1, first+i))
				l.mu.Lock()
				if err == nil {
					l.acks = append(l.acks, time.Now())
				} else if l.failed == nil {
					l.failed = err
				}
				l.mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	return l
}

// write inserts a row and repeats it under its key until it is acknowledged, or surely refused.
func (l *load) write(row []byte) error {
	key := http.Header{"Idempotency-Key": {string(row)}}
	deadline := time.Now().Add(failoverLimit)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), failoverLimit)
		err := l.server.Call(ctx, http.MethodPost, "/v1/tables/bench/messages/rows?mode=insert", "application/json", bytes.NewReader(row), key, nil)
		cancel()
		var refused *process.RefusedError
		if err == nil || errors.As(err, &refused) && refused.Status < http.StatusInternalServerError || time.Now().After(deadline) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// recovered waits until writes have gone on for a while after a fault.
func (l *load) recovered(ctx context.Context, struck time.Time) error {
	settled := struck.Add(2500 * time.Millisecond) // longer than the longest election
	for time.Since(struck) < failoverLimit && ctx.Err() == nil {
		l.mu.Lock()
		last := struck
		if len(l.acks) > 0 {
			last = l.acks[len(l.acks)-1]
		}
		l.mu.Unlock()
		if time.Now().After(settled) && last.After(settled) {
			time.Sleep(2 * time.Second) // in which the rate comes back
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("writes do not go on")
}

// stop ends the clients once their writes are acknowledged, and returns when each was.
func (l *load) stop() ([]time.Time, error) {
	l.end()
	l.owned.Wait()
	slices.SortFunc(l.acks, time.Time.Compare)
	return l.acks, l.failed
}

// recovery returns how long after struck the longest standstill ended, and the first window began with four fifths of the rate before.
func recovery(acks []time.Time, began, struck time.Time) (pause, back time.Duration) {
	at, _ := slices.BinarySearchFunc(acks, struck, time.Time.Compare)
	last, longest, on := struck, time.Duration(0), struck
	for _, a := range acks[at:] {
		if gap := a.Sub(last); gap > longest {
			longest, on = gap, a
		}
		last = a
	}
	enough := int(0.8 * float64(at) / struck.Sub(began).Seconds() * rateWindow.Seconds())
	from, _ := slices.BinarySearchFunc(acks, on, time.Time.Compare)
	for ; from+enough < len(acks); from++ {
		if acks[from+enough].Sub(acks[from]) <= rateWindow {
			return on.Sub(struck), acks[from].Sub(struck)
		}
	}
	return on.Sub(struck), last.Sub(struck)
}

// count checks that the table has as many rows as were acknowledged, on every node.
func (n *nodes) count(ctx context.Context, want int) error {
	if err := n.whole(ctx); err != nil {
		return err
	}
	for node, s := range n.servers {
		results, err := s.SQL(ctx, "SELECT count(*) FROM bench.messages")
		if err != nil {
			return err
		}
		var have int
		if err := json.Unmarshal(results[0].Rows[0][0], &have); err != nil {
			return err
		}
		if have != want {
			return fmt.Errorf("node %d has %d rows, %d were acknowledged", node, have, want)
		}
	}
	return nil
}
