package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"kalamlog.dev/kalam/internal/process"
)

const (
	restartRuns  = 3
	restartFresh = 50_000 // rows written before each kill
	quiet        = 15 * time.Second
	idleFor      = 10 * time.Second
)

// restart kills a server right after its last acknowledgement and times its start, with 300,000 rows and with 3,000,000. Then it reports what the
// server keeps in memory when it has nothing to do.
func (b *bench) restart(ctx context.Context) error {
	dir := filepath.Join(b.dir, "restart")
	defer os.RemoveAll(dir)
	pprof, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	start := func() (*process.Server, float64, error) {
		ctx, cancel := context.WithTimeout(ctx, startLimit)
		defer cancel()
		began := time.Now()
		s, err := process.Start(ctx, process.Options{Binary: b.binary, Data: dir, Env: append([]string{"KALAM_SERVER_PPROF=" + pprof}, whenTold...)})
		return s, time.Since(began).Seconds(), err
	}
	s, _, err := start()
	if err != nil {
		return err
	}
	defer func() { s.Kill() }()
	if _, err := s.SQL(ctx, `CREATE SCHEMA bench; CREATE TABLE bench.messages`+messages); err != nil {
		return err
	}
	rows := 0
	for _, size := range []int{300_000, 3_000_000} {
		var took []float64
		for run := range restartRuns {
			to := size - (restartRuns-1-run)*restartFresh
			if err := fill(s.URL, rows, to); err != nil {
				return err
			}
			rows = to
			s.Kill()
			again, seconds, err := start()
			if err != nil {
				return err
			}
			s = again
			took = append(took, seconds)
		}
		slices.Sort(took)
		b.report(fmt.Sprintf("start after kill -9, %d rows, s", size), took[restartRuns/2], "%s   (budget: under 2)", spread(took))
	}
	b.ratio("start with 3M rows over 300k", "start after kill -9, 3000000 rows, s", "start after kill -9, 300000 rows, s", "1")
	return b.memory(ctx, "server with 3M rows, quiet", s, pprof)
}

// memory reports what s has resident after a while without requests, and what it keeps once its garbage is collected, which it is every two minutes.
func (b *bench) memory(ctx context.Context, what string, s *process.Server, pprof string) error {
	time.Sleep(quiet)
	now, err := residentMiB(s.PID())
	if err != nil {
		return err
	}
	if err := collect(ctx, pprof); err != nil {
		return err
	}
	time.Sleep(quiet / 3)
	kept, err := residentMiB(s.PID())
	b.report(what+", MiB resident", now, "%.0f, after a garbage collection %.0f", now, kept)
	return err
}

// collect has a server collect its garbage.
func collect(ctx context.Context, pprof string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+pprof+"/debug/pprof/heap?gc=1", http.NoBody)
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return reply.Body.Close()
}

// fill inserts the rows [from, to) in requests of bulkRows.
func fill(url string, from, to int) error {
	c := newClient(url)
	var g errgroup.Group
	g.SetLimit(bulkWriters)
	for at := from; at < to; at += bulkRows {
		g.Go(func() error {
			var body bytes.Buffer
			for i := at; i < min(at+bulkRows, to); i++ {
				body.Write(row(0, i))
				body.WriteByte('\n')
			}
			return c.post("/v1/tables/bench/messages/rows?mode=insert", body.Bytes())
		})
	}
	return g.Wait()
}

// idle reports what servers that have nothing to do take: one just started on an empty directory, and three that are a cluster.
func (b *bench) idle(ctx context.Context) error {
	server, err := b.fresh(ctx)
	if err != nil {
		return err
	}
	err = b.idling("idle server", server)
	server.Kill()
	if err != nil {
		return err
	}
	n, err := b.three(ctx)
	if err != nil {
		return err
	}
	defer n.stop()
	leader, follower, err := n.roles(ctx)
	if err != nil {
		return err
	}
	if err := b.idling("idle leader of three", n.servers[leader]); err != nil {
		return err
	}
	if err := b.idling("idle follower of three", n.servers[follower]); err != nil {
		return err
	}
	if _, err := n.servers[leader].SQL(ctx, `CREATE SCHEMA bench; CREATE TABLE bench.messages`+messages); err != nil {
		return err
	}
	if err := fill(n.servers[leader].URL, 0, 300_000); err != nil {
		return err
	}
	if err := b.memory(ctx, "leader of three, quiet after 300k rows", n.servers[leader], n.pprof[leader]); err != nil {
		return err
	}
	return b.memory(ctx, "follower of three, quiet after 300k rows", n.servers[follower], n.pprof[follower])
}

// idling reports the resident memory and the processor time of a server that nobody asks anything.
func (b *bench) idling(what string, s *process.Server) error {
	time.Sleep(2 * time.Second) // what starting leaves behind
	before, err := processorSeconds(s.PID())
	if err != nil {
		return err
	}
	time.Sleep(idleFor)
	after, err := processorSeconds(s.PID())
	if err != nil {
		return err
	}
	rss, err := residentMiB(s.PID())
	b.report(what+", MiB resident", rss, "%.0f   (budget: under 120)", rss)
	b.report(what+", % of a core", 100*(after-before)/idleFor.Seconds(), "%.1f", 100*(after-before)/idleFor.Seconds())
	return err
}

// processorSeconds returns what a process has used so far, in user and in kernel mode.
func processorSeconds(pid int) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(raw), ") ") // behind the name, which may hold anything
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("unexpected /proc/%d/stat: %s", pid, raw)
	}
	const hertz = 100 // of the kernel's clock ticks, on every Linux of today
	return float64(number(fields[11])+number(fields[12])) / hertz, nil
}
