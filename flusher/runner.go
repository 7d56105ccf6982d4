package flusher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/materializer"
)

// progressInterval is how often a job writes its progress to system.jobs.
const progressInterval = time.Second

// recordTimeout bounds how long the last status of a job may take to be written.
const recordTimeout = 10 * time.Second

// runner is the goroutine of one job.
type runner struct {
	flusher  *Flusher
	job      *job
	status   Status
	reported time.Time // when progress was last written
}

func (r *runner) run() {
	ctx := r.job.context
	err := r.record(ctx)
	close(r.job.recorded)
	if err == nil {
		err = r.work(ctx)
	}
	r.finish(ctx, err)
}

// work waits for its turn, then flushes.
func (r *runner) work(ctx context.Context) error {
	select {
	case <-r.flusher.recovered:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case r.flusher.slots <- struct{}{}:
		defer func() { <-r.flusher.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r.status.State, r.status.Started = Running, r.now()
	if err := r.record(ctx); err != nil {
		return err
	}
	r.reported = r.flusher.options.Clock.Now()
	return r.flush(ctx)
}

func (r *runner) now() int64 { return clock.Micros(r.flusher.options.Clock) }

// record writes the status to system.jobs and tells it to the actor.
func (r *runner) record(ctx context.Context) error {
	r.tell()
	b, err := r.statusBatch()
	if err != nil {
		return err
	}
	if _, err := r.flusher.options.Writer.Write(ctx, b); err != nil {
		return fmt.Errorf("record job %s as %s: %w", r.status.ID, r.status.State, err)
	}
	return nil
}

func (r *runner) tell() { r.flusher.actor.mailbox <- jobStatus{job: r.job, status: r.status} }

func (r *runner) statusBatch() (*materializer.Batch, error) {
	m, err := r.flusher.statusMutation(&r.status)
	if err != nil {
		return nil, err
	}
	return &materializer.Batch{Caller: identity.Root.Name, Mutations: []materializer.Mutation{m}}, nil
}

// statusMutation puts s into system.jobs.
func (f *Flusher) statusMutation(s *Status) (m materializer.Mutation, err error) {
	v, err := f.options.State.View()
	if err != nil {
		return m, fmt.Errorf("open view: %w", err)
	}
	defer closeView(v, &err)
	return s.mutation(v.Catalog().TableByID(materializer.SystemJobs))
}

// progress notes how far the job is. It writes to system.jobs at most every progressInterval; that it cannot is no
// reason to fail.
func (r *runner) progress(ctx context.Context, rows int64, part float64) {
	r.status.Rows, r.status.Progress = rows, part
	now := r.flusher.options.Clock.Now()
	if now.Sub(r.reported) < progressInterval {
		return
	}
	r.reported = now
	if err := r.record(ctx); err != nil && ctx.Err() == nil {
		r.flusher.options.Logger.Warn("flush progress not recorded", "job", r.status.ID, "error", err)
	}
}

// finish records how the job ended. A flush that was committed is recorded by its own batch.
func (r *runner) finish(ctx context.Context, err error) {
	log, f := r.flusher.options.Logger, r.flusher
	switch {
	case err == nil && r.status.State == Completed:
		f.metrics.jobs.WithLabelValues(string(Completed)).Inc()
		log.Info("flush completed", "job", r.status.ID, "table", r.status.Namespace+"."+r.status.Table, "rows", r.status.Rows)
		r.tell()
		return
	case err == nil:
		r.status.State, r.status.Progress = Completed, 1
	case errors.Is(err, errKilled) || errors.Is(err, errStopped):
		r.status.State, r.status.Error = Cancelled, context.Cause(ctx).Error()
	default:
		r.status.State, r.status.Error = Failed, err.Error()
		log.Error("flush failed", "job", r.status.ID, "table", r.status.Namespace+"."+r.status.Table, "error", err)
	}
	f.metrics.jobs.WithLabelValues(string(r.status.State)).Inc()
	r.status.Finished = r.now()
	r.recordEnd(ctx)
	r.tell()
}

// recordEnd writes the final status even if the job was cancelled.
func (r *runner) recordEnd(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	b, err := r.statusBatch()
	if err == nil {
		_, err = r.flusher.options.Writer.Write(ctx, b)
	}
	if err != nil {
		r.flusher.options.Logger.Error("end of flush job not recorded", "job", r.status.ID, "state", r.status.State, "error", err)
	}
}

// closeView closes v and joins its error to *err.
func closeView(v *materializer.View, err *error) {
	if e := v.Close(); e != nil {
		*err = errors.Join(*err, fmt.Errorf("close view: %w", e))
	}
}
