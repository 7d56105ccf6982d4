package flusher

import (
	"context"
	"fmt"
	"time"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// scheduler starts flushes by policy: a table is due with Rows unflushed changes, Bytes of them, or any that have waited for
// Interval. It also forgets the files of tables that were dropped, and old jobs, and sees to retention.
type scheduler struct {
	flusher *Flusher
	started int                       // jobs since the old ones were removed
	waiting map[log.TableID]time.Time // since when a table has unflushed changes, as far as seen
	catalog uint64                    // version at the last check

	retention *retention
}

// pruneEvery is after how many jobs the scheduler looks for old ones.
const pruneEvery = 100

func newScheduler(f *Flusher) *scheduler {
	return &scheduler{flusher: f, waiting: map[log.TableID]time.Time{}, retention: newRetention(f)}
}

// tick starts what is due.
func (s *scheduler) tick(life context.Context) {
	if err := s.check(life); err != nil && life.Err() == nil {
		s.flusher.options.Logger.Error("check for tables to flush failed", "error", err)
	}
}

// check starts the flushes that are due. While the disk is full it leaves them, they could only fail, and only gives back the space of
// dropped tables.
func (s *scheduler) check(ctx context.Context) error {
	due, catalog, err := s.due()
	if err != nil {
		return err
	}
	if catalog != s.catalog {
		if err := s.flusher.forgetDropped(ctx); err != nil {
			return fmt.Errorf("forget dropped tables: %w", err)
		}
		s.catalog = catalog
	}
	if s.flusher.full() {
		return nil
	}
	for _, t := range due {
		if _, err := s.flusher.Flush(ctx, t); err != nil {
			return fmt.Errorf("flush %s: %w", t.QualifiedName(), err)
		}
		delete(s.waiting, t.ID)
		s.started++
	}
	if err := s.retention.run(ctx); err != nil {
		return err
	}
	if s.started < pruneEvery {
		return nil
	}
	s.started = 0
	return s.flusher.pruneJobs(ctx)
}

// full reports whether there is no space to flush.
func (f *Flusher) full() bool { return f.options.Room() != nil }

// due lists the tables to flush and tells the catalog's version.
func (s *scheduler) due() (due []*materializer.Table, catalog uint64, err error) {
	v, err := s.flusher.options.State.View()
	if err != nil {
		return nil, 0, fmt.Errorf("open view: %w", err)
	}
	defer closeView(v, &err)
	seen := map[log.TableID]time.Time{}
	for _, t := range v.Catalog().Tables() {
		if t.ID < materializer.FirstUserTable {
			continue
		}
		yes, err := s.isDue(v, t, seen)
		if err != nil {
			return nil, 0, err
		}
		if yes {
			due = append(due, t)
		}
	}
	s.waiting = seen
	return due, v.Catalog().Version(), nil
}

func (s *scheduler) isDue(v *materializer.View, t *materializer.Table, seen map[log.TableID]time.Time) (bool, error) {
	u, err := s.unflushed(v, t)
	if err != nil || u.rows == 0 {
		return false, err
	}
	o := &s.flusher.options
	now := o.Clock.Now()
	since, ok := s.waiting[t.ID]
	if !ok {
		since = now
	}
	seen[t.ID] = since
	most := o.Rows
	if t.Options.FlushRows > 0 {
		most = t.Options.FlushRows
	}
	switch {
	case most > 0 && u.rows >= most, o.Interval > 0 && now.Sub(since) >= o.Interval:
		return true, nil
	case o.Bytes <= 0:
		return false, nil
	}
	size, err := u.bytes(o.Log)
	return size >= o.Bytes, err
}

// unflushed is what of a table is only in the log.
type unflushed struct {
	rows  int64
	first log.Partition // one with unflushed changes
	from  log.Offset
}

func (s *scheduler) unflushed(v *materializer.View, t *materializer.Table) (unflushed, error) {
	var u unflushed
	ends, err := manifest.Ends(v, t)
	if err != nil {
		return u, err
	}
	for i := range t.Partitions {
		p := log.Partition{Table: t.ID, ID: log.PartitionID(i)}
		end, err := v.End(p)
		if err != nil {
			return u, fmt.Errorf("read end of partition %d of %s: %w", i, t.QualifiedName(), err)
		}
		if from := ends[p.ID]; end > from {
			u.rows += int64(end - from)
			u.first, u.from = p, from
		}
	}
	return u, nil
}

// sampleBytes is how much of the log bytes looks at.
const sampleBytes = 64 << 10

// bytes estimates the size from the first changes of one partition.
func (u unflushed) bytes(l Log) (int64, error) {
	records, err := l.Read(u.first, u.from, sampleBytes)
	if err != nil {
		return 0, fmt.Errorf("read log: %w", err)
	}
	sum := int64(0)
	for _, r := range records {
		sum += int64(len(r.Data))
	}
	return sum * u.rows / max(int64(len(records)), 1), nil
}
