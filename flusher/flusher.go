package flusher

import (
	"context"
	"fmt"
	"sync"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// Flusher runs flush jobs. It is safe for concurrent use.
type Flusher struct {
	options   Options
	metrics   *metrics
	actor     *actor
	slots     chan struct{}   // a running job holds one
	recovered chan struct{}   // closed once what an earlier run left is in order; this node's jobs run from then on
	life      context.Context // ends with Close; kept because the actor outlives the call of New
	stop      context.CancelFunc
	ended     chan struct{} // closed by the actor
	owned     sync.WaitGroup
}

// New starts a Flusher. In the background, once this node leads, it first puts in order what an earlier run or another leader left: files that no manifest
// names are removed, jobs that were cut off are done again. Jobs started meanwhile wait for that.
func New(o Options) (*Flusher, error) {
	o.setDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	f := &Flusher{
		options: o, metrics: m, slots: make(chan struct{}, o.Jobs), recovered: make(chan struct{}), ended: make(chan struct{}),
	}
	f.actor = &actor{flusher: f, mailbox: make(chan message, o.Mailbox), jobs: map[string]*job{}, active: map[log.TableID]*job{}}
	f.life, f.stop = context.WithCancel(context.Background())
	f.owned.Go(func() { f.actor.loop(f.life) })
	f.owned.Go(func() { f.lead(f.life) })
	return f, nil
}

// Close cancels all jobs and returns when they have ended. It is idempotent. Close it before the log.
func (f *Flusher) Close() error {
	f.stop()
	f.owned.Wait()
	return nil
}

// Flush starts a flush of t, or answers with the one that is active. It returns the job's id once the job is in
// system.jobs.
func (f *Flusher) Flush(ctx context.Context, t *materializer.Table) (string, error) {
	if t.ID < materializer.FirstUserTable {
		return "", problem.New(problem.Unsupported, "%s is a system table: it is not flushed", t.QualifiedName())
	}
	if err := f.options.Room(); err != nil {
		return "", err
	}
	j, err := ask(ctx, f, func(reply chan<- *job) message { return startJob{table: t, reply: reply} })
	if err != nil {
		return "", err
	}
	select {
	case <-j.recorded:
		return j.id, nil
	case <-ctx.Done():
		return "", ended(ctx)
	}
}

// Kill cancels a job and returns when it has ended: cancelled, or completed if it was just about to be. The error is a
// *problem.Error UnknownJob if no such job is active.
func (f *Flusher) Kill(ctx context.Context, id string) error {
	j, err := ask(ctx, f, func(reply chan<- *job) message { return cancelJob{id: id, reply: reply} })
	if err != nil {
		return err
	}
	if j == nil {
		return unknownJob(id)
	}
	return f.await(ctx, j)
}

// Wait returns the final status of a job once it has ended.
func (f *Flusher) Wait(ctx context.Context, id string) (Status, error) {
	j, err := ask(ctx, f, func(reply chan<- *job) message { return findJob{id: id, reply: reply} })
	if err != nil {
		return Status{}, err
	}
	if j != nil {
		if err := f.await(ctx, j); err != nil {
			return Status{}, err
		}
	}
	return f.Status(ctx, id)
}

func (f *Flusher) await(ctx context.Context, j *job) error {
	select {
	case <-j.done:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

// Status returns how a job stands, whether it is active or ended. The error is a *problem.Error UnknownJob.
func (f *Flusher) Status(ctx context.Context, id string) (Status, error) {
	s, err := ask(ctx, f, func(reply chan<- *Status) message { return readStatus{id: id, reply: reply} })
	if err != nil {
		return Status{}, err
	}
	if s != nil {
		return *s, nil
	}
	return f.storedStatus(id)
}

// storedStatus reads system.jobs.
func (f *Flusher) storedStatus(id string) (s Status, err error) {
	v, err := f.options.State.View()
	if err != nil {
		return Status{}, fmt.Errorf("open view: %w", err)
	}
	defer closeView(v, &err)
	key, err := materializer.EncodeKey(nil, []expr.Value{expr.TextOf(id)})
	if err != nil {
		return Status{}, fmt.Errorf("encode job id: %w", err)
	}
	row, err := v.Row(v.Catalog().TableByID(materializer.SystemJobs), 0, key)
	if problem.Is(err, problem.KeyNotFound) {
		return Status{}, unknownJob(id)
	}
	if err != nil {
		return Status{}, fmt.Errorf("read job %s: %w", id, err)
	}
	return decodeStatus(row.Row), nil
}

func unknownJob(id string) error {
	return problem.New(problem.UnknownJob, "there is no active job %q", id).WithHint("SELECT * FROM system.jobs lists all jobs")
}
