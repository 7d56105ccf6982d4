package flusher

import (
	"context"
	"errors"
	"fmt"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
)

// recover puts in order what an earlier run of this node and other leaders left.
func (f *Flusher) recover(ctx context.Context) error {
	if err := f.forgetDropped(ctx); err != nil {
		return fmt.Errorf("forget dropped tables: %w", err)
	}
	// Once jobs of this node have run, a file that no manifest names may be one that is being written.
	if !f.hasRecovered() {
		if err := f.removeOrphans(ctx); err != nil {
			return fmt.Errorf("remove orphaned data files: %w", err)
		}
	}
	if err := f.redoJobs(ctx); err != nil {
		return fmt.Errorf("redo interrupted jobs: %w", err)
	}
	return f.pruneJobs(ctx)
}

func (f *Flusher) hasRecovered() bool {
	select {
	case <-f.recovered:
		return true
	default:
		return false
	}
}

// removeOrphans deletes the data files that no manifest names. A commit that an earlier run has sent might still be on its way and name them: the
// tables they belong to are fenced first, so such a commit is refused.
func (f *Flusher) removeOrphans(ctx context.Context) error {
	orphans, err := f.orphans()
	if err != nil || len(orphans) == 0 {
		return err
	}
	fenced := map[log.TableID]bool{}
	for _, o := range orphans {
		if id, _ := manifest.ParsePath(o); !fenced[id] {
			fenced[id] = true
			if err := f.fence(ctx, id); err != nil {
				return err
			}
		}
	}
	if orphans, err = f.orphans(); err != nil {
		return err
	}
	for _, o := range orphans {
		if err := f.options.Store.Delete(o); err != nil {
			return err
		}
		f.options.Logger.Info("orphaned data file removed", "path", o)
	}
	return nil
}

// orphans lists the files in the store that no manifest names.
func (f *Flusher) orphans() (orphans []string, err error) {
	v, err := f.options.State.View()
	if err != nil {
		return nil, fmt.Errorf("open view: %w", err)
	}
	defer closeView(v, &err)
	named, err := manifest.AllPaths(v)
	if err != nil {
		return nil, err
	}
	paths, err := f.options.Store.List(manifest.DataFolder)
	if err != nil {
		return nil, err
	}
	for _, p := range paths {
		if _, ok := named[p]; !ok {
			orphans = append(orphans, p)
		}
	}
	return orphans, nil
}

// fence makes commits fail that were built before it.
func (f *Flusher) fence(ctx context.Context, id log.TableID) error {
	b, err := f.fenceBatch(id)
	if err != nil || b == nil {
		return err
	}
	if _, err := f.options.Writer.Write(ctx, b); err != nil {
		return fmt.Errorf("fence manifest of table %d: %w", id, err)
	}
	return nil
}

func (f *Flusher) fenceBatch(id log.TableID) (b *materializer.Batch, err error) {
	v, err := f.options.State.View()
	if err != nil {
		return nil, fmt.Errorf("open view: %w", err)
	}
	defer closeView(v, &err)
	t := v.Catalog().TableByID(id)
	if t == nil || id < materializer.FirstUserTable {
		return nil, nil //nolint:nilnil // nothing to fence
	}
	return manifest.Fence(v, t)
}

// forgetDropped removes the manifests of tables that are gone, then their files.
func (f *Flusher) forgetDropped(ctx context.Context) error {
	ctx = log.Freeing(ctx)
	batches, paths, err := f.dropped()
	if err != nil {
		return err
	}
	for _, b := range batches {
		if _, err := f.options.Writer.Write(ctx, b); err != nil {
			return err
		}
	}
	for _, p := range paths {
		if err := f.options.Store.Delete(p); err != nil {
			return err
		}
	}
	return nil
}

func (f *Flusher) dropped() (batches []*materializer.Batch, paths []string, err error) {
	v, err := f.options.State.View()
	if err != nil {
		return nil, nil, fmt.Errorf("open view: %w", err)
	}
	defer closeView(v, &err)
	tables, err := manifest.Tables(v)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range tables {
		if v.Catalog().TableByID(id) != nil {
			continue
		}
		files, err := manifest.Files(v, id)
		if err != nil {
			return nil, nil, err
		}
		for i := range files {
			paths = append(paths, files[i].Path)
		}
		bs, err := manifest.Forget(v, id, manifest.DefaultBatchBytes)
		if err != nil {
			return nil, nil, err
		}
		batches = append(batches, bs...)
	}
	return batches, paths, nil
}

// redoJobs ends the jobs that an earlier run or another leader left active, and starts each again if its table still exists. A leader that does not know yet
// that it is none may still be at work on one: of the two commits one is refused.
func (f *Flusher) redoJobs(ctx context.Context) error {
	interrupted, catalog, err := f.interrupted()
	if err != nil {
		return err
	}
	for _, s := range interrupted {
		s.State, s.Finished, s.Error = Failed, clock.Micros(f.options.Clock), "interrupted by a restart or a change of leader"
		if t, err := catalog.Table(s.Namespace, s.Table); err != nil {
			s.Error += "; its table is gone"
		} else {
			id, err := f.Flush(ctx, t)
			if err != nil {
				return err
			}
			s.Error += "; redone as job " + id
		}
		m, err := f.statusMutation(&s)
		if err != nil {
			return err
		}
		b := &materializer.Batch{Caller: identity.Root.Name, Mutations: []materializer.Mutation{m}}
		if _, err := f.options.Writer.Write(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// interrupted lists the jobs that system.jobs has as active although the actor does not know them.
func (f *Flusher) interrupted() (list []Status, c *materializer.Catalog, err error) {
	v, err := f.options.State.View()
	if err != nil {
		return nil, nil, fmt.Errorf("open view: %w", err)
	}
	defer closeView(v, &err)
	for r, err := range v.Scan(v.Catalog().TableByID(materializer.SystemJobs), 0, storage.Range{}) {
		if err != nil {
			return nil, nil, fmt.Errorf("read system.jobs: %w", err)
		}
		s := decodeStatus(r.Row)
		if s.Kind != kindFlush || s.State.Ended() {
			continue
		}
		j, err := ask(f.life, f, func(reply chan<- *job) message { return findJob{id: s.ID, reply: reply} })
		if err != nil {
			return nil, nil, errors.Join(err, context.Cause(f.life))
		}
		if j == nil {
			list = append(list, s)
		}
	}
	return list, v.Catalog(), nil
}
