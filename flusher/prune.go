package flusher

import (
	"context"
	"fmt"

	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

// pruneJobs removes the oldest ended flush jobs from system.jobs until o.KeepJobs are left.
func (f *Flusher) pruneJobs(ctx context.Context) error {
	ms, err := f.oldJobs()
	if err != nil || len(ms) == 0 {
		return err
	}
	if _, err := f.options.Writer.Write(ctx, &materializer.Batch{Caller: identity.Root.Name, Mutations: ms}); err != nil {
		return fmt.Errorf("remove old jobs: %w", err)
	}
	return nil
}

// maxPruned bounds how many jobs go at once.
const maxPruned = 10_000

func (f *Flusher) oldJobs() (ms []materializer.Mutation, err error) {
	v, err := f.options.State.View()
	if err != nil {
		return nil, fmt.Errorf("open view: %w", err)
	}
	defer closeView(v, &err)
	jobs := v.Catalog().TableByID(materializer.SystemJobs)
	kept := 0
	// Ids sort by time: the newest come first.
	for r, err := range v.Scan(jobs, 0, storage.Range{Reverse: true}) {
		if err != nil {
			return nil, fmt.Errorf("read system.jobs: %w", err)
		}
		s := decodeStatus(r.Row)
		if s.Kind != kindFlush || !s.State.Ended() {
			continue
		}
		if kept++; kept <= f.options.KeepJobs || len(ms) == maxPruned {
			continue
		}
		m, err := jobs.OfKey(materializer.Remove, []expr.Value{expr.TextOf(s.ID)})
		if err != nil {
			return nil, fmt.Errorf("encode job id: %w", err)
		}
		m.Miss = materializer.Skip
		ms = append(ms, m)
	}
	return ms, nil
}
