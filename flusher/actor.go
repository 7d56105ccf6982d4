package flusher

import (
	"context"
	"errors"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// Why a job's context is cancelled.
var (
	errKilled  = errors.New("cancelled by KILL JOB")
	errStopped = errors.New("the server was shut down")
)

// endedJobs is how many jobs that have ended the actor remembers; older ones are in system.jobs.
const endedJobs = 128

// actor owns the jobs. Everything in it belongs to the goroutine of loop, which takes one message at a time and never waits
// for a job, the log or a disk.
type actor struct {
	flusher *Flusher
	mailbox chan message
	jobs    map[string]*job
	active  map[log.TableID]*job // not ended
	ended   []string             // ids in jobs, oldest first
}

// message is one request to the actor. It must not block.
type message interface{ handle(a *actor) }

// loop handles messages until life is cancelled and every job has ended.
func (a *actor) loop(life context.Context) {
	defer close(a.flusher.ended)
	stop := life.Done()
	for stop != nil || len(a.active) > 0 {
		select {
		case m := <-a.mailbox:
			m.handle(a)
		case <-stop:
			stop = nil
			for _, j := range a.active {
				j.cancel(errStopped)
			}
		}
	}
}

// startJob asks for a flush of a table; the reply is its job, or the one that is active already.
type startJob struct {
	table *materializer.Table
	reply chan<- *job
}

func (m startJob) handle(a *actor) {
	j := a.active[m.table.ID]
	if j == nil {
		j = a.start(m.table)
	}
	m.reply <- j
}

func (a *actor) start(t *materializer.Table) *job {
	f := a.flusher
	ctx, cancel := context.WithCancelCause(context.Background())
	if f.life.Err() != nil {
		cancel(errStopped)
	}
	id := newJobID(f.options.Clock)
	j := &job{
		id: id, table: t.ID, context: ctx, cancel: cancel, recorded: make(chan struct{}), done: make(chan struct{}),
		status: Status{
			ID: id, Kind: kindFlush, Namespace: t.Namespace, Table: t.Name, State: Created,
			Created: clock.Micros(f.options.Clock), Node: f.options.Node,
		},
	}
	a.jobs[id], a.active[t.ID] = j, j
	go (&runner{flusher: f, job: j, status: j.status}).run()
	return j
}

// findJob asks for a job by its id; the reply is nil if the actor does not know it.
type findJob struct {
	id    string
	reply chan<- *job
}

func (m findJob) handle(a *actor) { m.reply <- a.jobs[m.id] }

// readStatus asks for the newest status of a job that the actor knows.
type readStatus struct {
	id    string
	reply chan<- *Status
}

func (m readStatus) handle(a *actor) {
	if j := a.jobs[m.id]; j != nil {
		s := j.status
		m.reply <- &s
		return
	}
	m.reply <- nil
}

// cancelJob cancels an active job; the reply is the job, nil if there is none.
type cancelJob struct {
	id    string
	reply chan<- *job
}

func (m cancelJob) handle(a *actor) {
	j := a.jobs[m.id]
	if j == nil || j.status.State.Ended() {
		m.reply <- nil
		return
	}
	j.cancel(errKilled)
	m.reply <- j
}

// jobStatus tells the actor how a job stands. The job's goroutine sends it; after a final state it ends.
type jobStatus struct {
	job    *job
	status Status
}

func (m jobStatus) handle(a *actor) {
	m.job.status = m.status
	if !m.status.State.Ended() {
		return
	}
	m.job.cancel(nil)
	delete(a.active, m.job.table)
	if a.ended = append(a.ended, m.status.ID); len(a.ended) > endedJobs {
		delete(a.jobs, a.ended[0])
		a.ended = a.ended[1:]
	}
	close(m.job.done)
}

// ask sends the message that build makes of a reply channel and returns the reply.
func ask[T any](ctx context.Context, f *Flusher, build func(reply chan<- T) message) (T, error) {
	var zero T
	reply := make(chan T, 1)
	select {
	case f.actor.mailbox <- build(reply):
	case <-f.ended:
		return zero, errShuttingDown()
	case <-ctx.Done():
		return zero, ended(ctx)
	}
	select {
	case r := <-reply:
		return r, nil
	case <-f.ended:
		return zero, errShuttingDown()
	case <-ctx.Done():
		return zero, ended(ctx)
	}
}

func errShuttingDown() error {
	return problem.New(problem.ShuttingDown, "the flusher has stopped").WithHint("retry after the server has restarted")
}

func ended(ctx context.Context) error {
	code := problem.Cancelled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		code = problem.Timeout
	}
	return problem.New(code, "waiting for a flush job ended").Because(context.Cause(ctx))
}
