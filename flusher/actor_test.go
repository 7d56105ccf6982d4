package flusher

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// gatedLog is a Log whose reads wait until the gate opens.
type gatedLog struct {
	Log
	entered chan struct{} // gets one value for each read that waits
	gate    chan struct{}
}

func newGate(l Log) *gatedLog {
	return &gatedLog{Log: l, entered: make(chan struct{}, 100), gate: make(chan struct{})}
}

func (g *gatedLog) Read(p log.Partition, from log.Offset, maxBytes int) ([]log.Record, error) {
	g.entered <- struct{}{}
	<-g.gate
	return g.Log.Read(p, from, maxBytes)
}

func TestSecondStartAnswersWithTheActiveJob(t *testing.T) {
	t.Parallel()
	var gate *gatedLog
	r := newRig(t, vfs.NewMem(), func(o *Options) { gate = newGate(o.Log); o.Log = gate })
	table := r.createTable(people(1))
	other := people(1)
	other.Name = "other"
	second := r.createTable(other)
	r.mustWrite(person(r, table, "ada", 1), person(r, second, "bob", 1))
	r.withFlusher(func(f *Flusher) {
		ctx := shortContext(t)
		first, err := f.Flush(ctx, table)
		if err != nil {
			t.Fatal(err)
		}
		<-gate.entered
		again, err := f.Flush(ctx, table)
		if err != nil || again != first {
			t.Errorf("second start answers with %q, %v, want %q", again, err, first)
		}
		// One job runs at a time: the other table's waits.
		waiting, err := f.Flush(ctx, second)
		if err != nil || waiting == first {
			t.Fatalf("start of another table answers with %q, %v", waiting, err)
		}
		for id, want := range map[string]JobState{first: Running, waiting: Created} {
			if s, err := f.Status(ctx, id); err != nil || s.State != want {
				t.Errorf("status of %s is %+v, %v, want %s", id, s, err, want)
			}
		}
		for _, s := range r.jobs() {
			if want := map[string]JobState{first: Running, waiting: Created}[s.ID]; s.State != want {
				t.Errorf("system.jobs has %+v, want %s", s, want)
			}
		}
		close(gate.gate)
		for _, id := range []string{first, waiting} {
			if s, err := f.Wait(ctx, id); err != nil || s.State != Completed || s.Rows != 1 {
				t.Errorf("job ended as %+v, %v", s, err)
			}
		}
		third, err := f.Flush(ctx, table)
		if err != nil || third == first {
			t.Errorf("start after the end answers with %q, %v", third, err)
		}
		if _, err := f.Wait(ctx, third); err != nil {
			t.Fatal(err)
		}
	})
}

func TestKill(t *testing.T) {
	t.Parallel()
	var gate *gatedLog
	r := newRig(t, vfs.NewMem(), func(o *Options) { gate = newGate(o.Log); o.Log = gate })
	table := r.createTable(people(1))
	r.mustWrite(person(r, table, "ada", 1))
	r.withFlusher(func(f *Flusher) {
		ctx := shortContext(t)
		if err := f.Kill(ctx, "flush-x"); !problem.Is(err, problem.UnknownJob) {
			t.Errorf("kill of an unknown job: %v", err)
		}
		id, err := f.Flush(ctx, table)
		if err != nil {
			t.Fatal(err)
		}
		<-gate.entered
		killed := make(chan error, 1)
		go func() { killed <- f.Kill(ctx, id) }()
		j, err := ask(ctx, f, func(reply chan<- *job) message { return findJob{id: id, reply: reply} })
		if err != nil || j == nil {
			t.Fatal(j, err)
		}
		// The read that the job waits in cannot be interrupted; let it go on once the kill has reached the job.
		eventually(t, "the kill to reach the job", func() bool {
			_, err := f.Status(ctx, id)
			return err == nil && j.context.Err() != nil
		})
		close(gate.gate)
		if err := <-killed; err != nil {
			t.Fatal(err)
		}
		if s := r.jobs()[0]; s.State != Cancelled || s.Finished == 0 || !strings.Contains(s.Error, "KILL") {
			t.Errorf("system.jobs has %+v", s)
		}
		if err := f.Kill(ctx, id); !problem.Is(err, problem.UnknownJob) {
			t.Errorf("kill of a job that has ended: %v", err)
		}
		if m := r.check(table); m.Flush != 0 {
			t.Errorf("a cancelled job committed flush %d", m.Flush)
		}
		r.flush(f, table)
		r.check(table)
	})
}

func TestKillOfAWaitingJob(t *testing.T) {
	t.Parallel()
	var gate *gatedLog
	r := newRig(t, vfs.NewMem(), func(o *Options) { gate = newGate(o.Log); o.Log = gate })
	table := r.createTable(people(1))
	other := people(1)
	other.Name = "other"
	second := r.createTable(other)
	r.mustWrite(person(r, table, "ada", 1), person(r, second, "bob", 1))
	r.withFlusher(func(f *Flusher) {
		ctx := shortContext(t)
		first, err := f.Flush(ctx, table)
		if err != nil {
			t.Fatal(err)
		}
		<-gate.entered
		waiting, err := f.Flush(ctx, second)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Kill(ctx, waiting); err != nil {
			t.Fatal(err)
		}
		if s, err := f.Status(ctx, waiting); err != nil || s.State != Cancelled || s.Started != 0 {
			t.Errorf("status is %+v, %v", s, err)
		}
		close(gate.gate)
		if s, err := f.Wait(ctx, first); err != nil || s.State != Completed {
			t.Errorf("the running job ended as %+v, %v", s, err)
		}
	})
}

func TestCloseCancelsJobs(t *testing.T) {
	t.Parallel()
	var gate *gatedLog
	r := newRig(t, vfs.NewMem(), func(o *Options) { gate = newGate(o.Log); o.Log = gate })
	table := r.createTable(people(1))
	r.mustWrite(person(r, table, "ada", 1))
	f := r.open()
	id, err := f.Flush(shortContext(t), table)
	if err != nil {
		t.Fatal(err)
	}
	<-gate.entered
	closed := make(chan error, 1)
	go func() { closed <- f.Close() }()
	<-f.life.Done()
	close(gate.gate)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if s := r.jobs()[0]; s.ID != id || s.State != Cancelled {
		t.Errorf("system.jobs has %+v", s)
	}
	if _, err := f.Flush(t.Context(), table); !problem.Is(err, problem.ShuttingDown) {
		t.Errorf("flush after Close: %v", err)
	}
	if m := r.check(table); m.Flush != 0 {
		t.Errorf("a cancelled job committed flush %d", m.Flush)
	}
}

func TestInterruptedJobIsRedone(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), nil)
	table := r.createTable(people(1))
	r.mustWrite(person(r, table, "ada", 1))
	jobs := r.m.Catalog().TableByID(materializer.SystemJobs)
	for _, s := range []Status{
		{ID: "flush-1", Kind: kindFlush, Namespace: "default", Table: "people", State: Running, Created: 1, Started: 2, Node: 1},
		{ID: "flush-2", Kind: kindFlush, Namespace: "default", Table: "gone", State: Created, Created: 1, Node: 1},
		{ID: "flush-3", Kind: kindFlush, Namespace: "default", Table: "people", State: Completed, Created: 1, Node: 1},
		{ID: "flush-4", Kind: kindFlush, Namespace: "default", Table: "people", State: Running, Created: 1, Node: 2},
		{ID: "load-5", Kind: "load", Namespace: "default", Table: "people", State: Running, Created: 1, Node: 1},
	} {
		m, err := s.mutation(jobs)
		if err != nil {
			t.Fatal(err)
		}
		r.mustWrite(m)
	}
	r.withFlusher(func(f *Flusher) {
		<-f.recovered
		var lines []string
		var redone string
		for _, s := range r.jobs() {
			if after, ok := strings.CutPrefix(s.Error, "interrupted by a restart or a change of leader; redone as job "); ok {
				redone = after
				s.Error = strings.Replace(s.Error, redone, "X", 1)
			}
			if strings.HasPrefix(s.ID, "flush-0") { // a UUID of our time
				continue
			}
			lines = append(lines, fmt.Sprintf("%s %s %q", s.ID, s.State, s.Error))
		}
		want := []string{
			`flush-1 failed "interrupted by a restart or a change of leader; redone as job X"`,
			`flush-2 failed "interrupted by a restart or a change of leader; its table is gone"`,
			`flush-3 completed ""`,
			`flush-4 failed "interrupted by a restart or a change of leader; redone as job X"`, // of a node that leads no more
			`load-5 running ""`,
		}
		if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("system.jobs has\n%s", got)
		}
		if s, err := f.Wait(shortContext(t), redone); err != nil || s.State != Completed || s.Rows != 1 {
			t.Errorf("the job was redone as %+v, %v", s, err)
		}
		r.check(table)
	})
}

func TestEndedJobsAreForgottenButStored(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), nil)
	table := r.createTable(people(1))
	r.withFlusher(func(f *Flusher) {
		first := r.flush(f, table)
		for range endedJobs + 5 {
			r.flush(f, table)
		}
		j, err := ask(t.Context(), f, func(reply chan<- *job) message { return findJob{id: first.ID, reply: reply} })
		if err != nil || j != nil {
			t.Errorf("the actor still knows %v, %v", j, err)
		}
		if s, err := f.Wait(t.Context(), first.ID); err != nil || s != first {
			t.Errorf("status is %+v, %v, want %+v", s, err, first)
		}
		if _, err := f.Status(t.Context(), "flush-x"); !problem.Is(err, problem.UnknownJob) {
			t.Errorf("status of an unknown job: %v", err)
		}
	})
}

func TestOldJobsArePruned(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), func(o *Options) { o.KeepJobs = 3 })
	jobs := r.m.Catalog().TableByID(materializer.SystemJobs)
	for i := range 8 {
		s := Status{ID: fmt.Sprint("flush-", i), Kind: kindFlush, Namespace: "default", Table: "gone", State: Completed, Node: 1}
		if i == 2 {
			s.Kind = "load"
		}
		m, err := s.mutation(jobs)
		if err != nil {
			t.Fatal(err)
		}
		r.mustWrite(m)
	}
	r.withFlusher(func(f *Flusher) {
		<-f.recovered
		var ids []string
		for _, s := range r.jobs() {
			ids = append(ids, s.ID)
		}
		if got, want := strings.Join(ids, " "), "flush-2 flush-5 flush-6 flush-7"; got != want {
			t.Errorf("jobs left are %s, want %s", got, want)
		}
	})
}

func TestFlushWhileWriting(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), nil)
	table := r.createTable(people(4))
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for i := range 3 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 3))
			for ctx.Err() == nil {
				r.scribble(rng, table, 10)
			}
		})
	}
	r.withFlusher(func(f *Flusher) {
		for range 15 {
			r.flush(f, table)
		}
		stop()
		writers.Wait()
		r.flush(f, table)
		m := r.check(table)
		v := r.view()
		for p, end := range m.Flushed {
			if want, err := v.End(log.Partition{Table: table.ID, ID: p}); err != nil || end != want {
				t.Errorf("partition %d is flushed up to %d of %d, %v", p, end, want, err)
			}
		}
	})
}
