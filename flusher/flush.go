package flusher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"kalamlog.dev/kalam/flusher/datafile"
	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/flusher/shard"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// plan is what a flush will write: the changes [From[p], To[p]) of each partition.
type plan struct {
	table    *materializer.Table
	layout   *datafile.Layout
	strategy shard.Strategy
	sharding string // its name
	flushed  map[log.PartitionID]log.Offset
	ends     map[log.PartitionID]log.Offset // of the partitions with something to flush
	number   int64                          // of the flush: the last one's, then its own
	folder   string                         // of the flush's files. The job's id is in its name: nothing is ever written over a file that a manifest may name
	total    int64
}

// flush writes the table's unflushed changes and commits them. It returns nil with the state still Running if there were none.
func (r *runner) flush(ctx context.Context) error {
	p, err := r.flusher.plan(r.job.table)
	if err != nil || p.total == 0 {
		return err
	}
	p.number++
	p.folder = manifest.Folder(p.table, p.number, strings.TrimPrefix(r.status.ID, "flush-"))
	w := newFileSet(ctx, r.flusher, p)
	superseded, err := r.route(ctx, p, w)
	files, err := w.finish(err)
	if err != nil {
		return causeOf(ctx, err)
	}
	if err := r.flusher.options.Spread(ctx, files); err != nil {
		return errors.Join(causeOf(ctx, err), r.flusher.discard(files))
	}
	c := &manifest.Commit{Table: p.table, Flush: p.number, Files: files, Flushed: p.ends, Superseded: superseded.bitmaps(), Now: r.now()}
	return r.commit(ctx, p, c)
}

// causeOf tells why ctx ended, if it did.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// plan looks at a view what there is to flush.
func (f *Flusher) plan(id log.TableID) (p *plan, err error) {
	v, err := f.options.State.View()
	if err != nil {
		return nil, fmt.Errorf("open view: %w", err)
	}
	defer closeView(v, &err)
	t := v.Catalog().TableByID(id)
	if t == nil {
		return nil, problem.New(problem.UnknownTable, "the table was dropped")
	}
	p = &plan{table: t, ends: map[log.PartitionID]log.Offset{}}
	if p.number, err = manifest.Version(v, t.ID); err != nil {
		return nil, err
	}
	if p.flushed, err = manifest.Ends(v, t); err != nil {
		return nil, err
	}
	for i := range t.Partitions {
		part := log.PartitionID(i)
		end, err := v.End(log.Partition{Table: t.ID, ID: part})
		if err != nil {
			return nil, fmt.Errorf("read end of partition %d: %w", part, err)
		}
		if end > p.flushed[part] {
			p.ends[part] = end
			p.total += int64(end - p.flushed[part])
		}
	}
	return p, f.layOut(p)
}

func (f *Flusher) layOut(p *plan) (err error) {
	if p.sharding = p.table.Options.Sharding; p.sharding == "" {
		p.sharding = f.options.DefaultStrategy
	}
	if p.strategy, err = f.options.Strategies.Strategy(p.sharding); err != nil {
		return err
	}
	p.layout, err = datafile.NewLayout(p.table.Schema())
	return err
}

// chunkBytes is how much of the log is read at a time.
const chunkBytes = 256 << 10

// route reads the changes of p, partition by partition, and hands each to the file of its shard.
func (r *runner) route(ctx context.Context, p *plan, w *fileSet) (*superseded, error) {
	s := newSuperseded()
	rt := &router{plan: p, files: w, superseded: s}
	rows := int64(0)
	for i := range p.table.Partitions {
		part := log.Partition{Table: p.table.ID, ID: log.PartitionID(i)}
		end, ok := p.ends[part.ID]
		for from := p.flushed[part.ID]; ok && from < end; {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			records, err := r.flusher.options.Log.Read(part, from, chunkBytes)
			if err != nil {
				return nil, fmt.Errorf("read log of partition %d from offset %d: %w", i, from, err)
			}
			if len(records) == 0 {
				return nil, fmt.Errorf("read log of partition %d: it ends at offset %d, the state at %d", i, from, end)
			}
			n, err := rt.records(records, end)
			if err != nil {
				return nil, err
			}
			from += log.Offset(n)
			rows += int64(n)
			r.progress(ctx, rows, float64(rows)/float64(p.total))
		}
		s.endPartition()
	}
	r.status.Rows = rows
	return s, nil
}

// commit makes the files part of the manifest, together with the end of the job. If they certainly are not, it removes them.
func (r *runner) commit(ctx context.Context, p *plan, c *manifest.Commit) error {
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), r.flusher.discard(c.Files))
	}
	done := r.status
	done.State, done.Progress, done.Location, done.Finished = Completed, 1, p.folder, r.now()
	batches, err := r.flusher.commitBatches(p, c, &done)
	if err != nil {
		return errors.Join(err, r.flusher.discard(c.Files))
	}
	for i, b := range batches {
		b.IdempotencyKey = fmt.Sprintf("flusher/%s/%d", r.status.ID, i)
		sure, err := r.flusher.write(ctx, b)
		if err == nil {
			continue
		}
		err = fmt.Errorf("commit flush %d: %w", c.Flush, err)
		if sure || i < len(batches)-1 {
			err = errors.Join(err, r.flusher.discard(c.Files))
		}
		return err
	}
	r.status = done
	r.flusher.metrics.committed(c)
	return nil
}

// commitBatches builds the commit on a fresh view, after making sure that nobody else has flushed since p.
func (f *Flusher) commitBatches(p *plan, c *manifest.Commit, done *Status) (batches []*materializer.Batch, err error) {
	v, err := f.options.State.View()
	if err != nil {
		return nil, fmt.Errorf("open view: %w", err)
	}
	defer closeView(v, &err)
	ends, err := manifest.Ends(v, p.table)
	if err != nil {
		return nil, err
	}
	if !maps.Equal(ends, p.flushed) {
		return nil, problem.New(problem.VersionConflict, "%s was flushed by somebody else meanwhile", p.table.QualifiedName())
	}
	if batches, err = c.Batches(v, manifest.DefaultBatchBytes); err != nil {
		return nil, err
	}
	m, err := done.mutation(v.Catalog().TableByID(materializer.SystemJobs))
	if err != nil {
		return nil, err
	}
	last := batches[len(batches)-1]
	last.Mutations = append(last.Mutations, m)
	return batches, nil
}

// discard removes files that no manifest names.
func (f *Flusher) discard(files []manifest.File) error {
	var errs []error
	for i := range files {
		errs = append(errs, f.options.Store.Delete(files[i].Path))
	}
	return errors.Join(errs...)
}
