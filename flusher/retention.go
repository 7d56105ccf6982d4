package flusher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// retention moves the starts of logs: what is flushed leaves the log once it is old enough, or once its table has more of it than it may. It
// also takes the data files of streams out of their manifests when their TTL has passed. It runs in the scheduler's goroutine.
type retention struct {
	flusher *Flusher
	next    map[log.TableID]time.Time   // when a table is looked at again
	oldest  map[log.Partition]firstKept // so that what does not change is read once
	expired []expiredFile
}

// firstKept is the first change of a partition that the log has.
type firstKept struct {
	offset    log.Offset
	timestamp int64
}

// expiredFile is a file that no manifest names any more. A query that began before may still read it.
type expiredFile struct {
	path  string
	since time.Time
}

func newRetention(f *Flusher) *retention {
	return &retention{flusher: f, next: map[log.TableID]time.Time{}, oldest: map[log.Partition]firstKept{}}
}

// run looks at every table whose turn it is.
func (r *retention) run(ctx context.Context) error {
	if err := r.removeExpired(); err != nil {
		return err
	}
	tables, err := r.tables()
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range tables {
		if err := r.table(ctx, t); err != nil {
			errs = append(errs, fmt.Errorf("retention of %s: %w", t.QualifiedName(), err))
		}
	}
	return errors.Join(errs...)
}

// tables lists the tables whose turn it is, and forgets dropped ones.
func (r *retention) tables() (due []*materializer.Table, err error) {
	v, err := r.flusher.options.State.View()
	if err != nil {
		return nil, fmt.Errorf("open view: %w", err)
	}
	defer closeView(v, &err)
	now := r.flusher.options.Clock.Now()
	seen := map[log.TableID]time.Time{}
	for _, t := range v.Catalog().Tables() {
		if t.ID < materializer.FirstUserTable && materializer.KeepsLog(t.ID) {
			continue
		}
		seen[t.ID] = r.next[t.ID]
		if now.Before(seen[t.ID]) {
			continue
		}
		seen[t.ID] = now.Add(r.interval(t))
		due = append(due, t)
	}
	r.next = seen
	for p := range r.oldest {
		if _, ok := seen[p.Table]; !ok {
			delete(r.oldest, p)
		}
	}
	return due, nil
}

// interval is how often t is looked at: often enough that its starts lag by a tenth of its age at most.
func (r *retention) interval(t *materializer.Table) time.Duration {
	if age := r.age(t); age > 0 {
		return min(age/10, r.flusher.options.RetentionInterval)
	}
	return r.flusher.options.RetentionInterval
}

// What the system tables that are not flushed keep of their changes: enough to see what happened.
const (
	systemAge   = 24 * time.Hour
	systemBytes = 64 << 20
)

// age is how long t keeps flushed changes in the log, 0 for ever.
func (r *retention) age(t *materializer.Table) time.Duration {
	if !materializer.KeepsLog(t.ID) {
		return systemAge
	}
	age := t.Options.Retention
	if age == 0 {
		age = max(r.flusher.options.RetentionAge, 0)
	}
	if age == materializer.Unlimited {
		age = 0
	}
	if ttl := expiry(t); ttl > 0 && (age == 0 || ttl < age) {
		age = ttl
	}
	return age
}

// expiry is how long the rows of t live, 0 for ever.
func expiry(t *materializer.Table) time.Duration {
	if t.Kind != materializer.Stream {
		return 0
	}
	return t.Options.TTL
}

// bytes is how much of the log t may take, 0 for any.
func (r *retention) bytes(t *materializer.Table) int64 {
	if !materializer.KeepsLog(t.ID) {
		return systemBytes
	}
	switch most := t.Options.RetentionBytes; most {
	case 0:
		return max(r.flusher.options.RetentionBytes, 0)
	case int64(materializer.Unlimited):
		return 0
	default:
		return most
	}
}

func (r *retention) table(ctx context.Context, t *materializer.Table) error {
	if r.age(t) > 0 || r.bytes(t) > 0 {
		if err := r.write(ctx, t, r.moveStarts); err != nil {
			return err
		}
	}
	if expiry(t) > 0 {
		return r.write(ctx, t, r.expire)
	}
	return nil
}

// planner makes a batch, nil if there is nothing to do, and tells what to do once it is applied, nil for nothing.
type planner func(*materializer.View, *materializer.Table) (b *materializer.Batch, done func(), err error)

// write applies the batch that plan makes of a fresh view. That somebody else was faster is no error.
func (r *retention) write(ctx context.Context, t *materializer.Table, plan planner) error {
	b, done, err := r.plan(t, plan)
	if b == nil || err != nil {
		return err
	}
	if _, err := r.flusher.options.Writer.Write(ctx, b); err != nil {
		if problem.Is(err, problem.VersionConflict) || problem.Is(err, problem.DuplicateKey) || problem.Is(err, problem.UnknownTable) {
			return nil
		}
		return err
	}
	if done != nil {
		done()
	}
	return nil
}

func (r *retention) plan(t *materializer.Table, plan planner) (b *materializer.Batch, done func(), err error) {
	v, err := r.flusher.options.State.View()
	if err != nil {
		return nil, nil, fmt.Errorf("open view: %w", err)
	}
	defer closeView(v, &err)
	if t = v.Catalog().TableByID(t.ID); t == nil {
		return nil, nil, nil
	}
	return plan(v, t)
}

// moveStarts plans where the log of t is to begin.
func (r *retention) moveStarts(v *materializer.View, t *materializer.Table) (*materializer.Batch, func(), error) {
	logs, err := r.logs(v, t)
	if err != nil {
		return nil, nil, err
	}
	if age := r.age(t); age > 0 {
		if err := r.byAge(logs, age); err != nil {
			return nil, nil, err
		}
	}
	if most := r.bytes(t); most > 0 {
		if err := r.byBytes(logs, most); err != nil {
			return nil, nil, err
		}
	}
	starts := map[log.PartitionID]log.Start{}
	for _, l := range logs {
		if l.to > l.from {
			if starts[l.id.ID], err = r.startAt(l.id, l.to); err != nil {
				return nil, nil, gone(err)
			}
		}
	}
	if len(starts) == 0 {
		return nil, nil, nil
	}
	b, err := manifest.MoveStarts(v, t, starts, r.now())
	return b, nil, err
}

func (r *retention) now() int64 { return r.flusher.options.Clock.Now().UnixMicro() }

// gone forgives a change that somebody else has deleted meanwhile.
func gone(err error) error {
	if problem.Is(err, problem.Trimmed) {
		return nil
	}
	return err
}

// partitionLog is what may go of one partition: the changes [from, flushed), for tables that are not flushed up to the end. Those before to will.
type partitionLog struct {
	id                log.Partition
	from, to, flushed log.Offset
}

func (r *retention) logs(v *materializer.View, t *materializer.Table) ([]*partitionLog, error) {
	ends, err := manifest.Ends(v, t)
	if err != nil {
		return nil, err
	}
	var logs []*partitionLog
	for i := range t.Partitions {
		id := log.Partition{Table: t.ID, ID: log.PartitionID(i)}
		start, err := v.Start(id)
		if err != nil {
			return nil, err
		}
		l := &partitionLog{id: id, from: start.Offset, to: start.Offset, flushed: ends[id.ID]}
		if !materializer.KeepsLog(t.ID) {
			if l.flushed, err = v.End(id); err != nil {
				return nil, fmt.Errorf("read end of %s: %w", t.QualifiedName(), err)
			}
		}
		logs = append(logs, l)
	}
	return logs, nil
}

// byAge lets go what is older than age. It waits until the oldest is older by a tenth more: one entry then moves the start by so much.
func (r *retention) byAge(logs []*partitionLog, age time.Duration) error {
	oldest := r.now() - age.Microseconds()
	for _, l := range logs {
		if l.from >= l.flushed {
			continue
		}
		first, err := r.firstKept(l)
		if err != nil {
			if gone(err) != nil {
				return err
			}
			continue
		}
		if first > oldest-age.Microseconds()/10 {
			continue
		}
		to, _, err := r.flusher.options.Log.OffsetAtTime(l.id, oldest)
		if err != nil {
			return fmt.Errorf("find changes older than %s in partition %d: %w", age, l.id.ID, err)
		}
		l.to = max(l.to, min(to, l.flushed))
	}
	return nil
}

// firstKept returns the timestamp of l's first change.
func (r *retention) firstKept(l *partitionLog) (int64, error) {
	if known, ok := r.oldest[l.id]; ok && known.offset == l.from {
		return known.timestamp, nil
	}
	record, err := r.record(l.id, l.from)
	if err != nil {
		return 0, err
	}
	r.oldest[l.id] = firstKept{offset: l.from, timestamp: record.Timestamp}
	return record.Timestamp, nil
}

func (r *retention) record(p log.Partition, at log.Offset) (log.Record, error) {
	records, err := r.flusher.options.Log.Read(p, at, 1)
	if err != nil {
		return log.Record{}, fmt.Errorf("read log of partition %d at offset %d: %w", p.ID, at, err)
	}
	if len(records) == 0 {
		return log.Record{}, fmt.Errorf("read log of partition %d: it has no offset %d", p.ID, at)
	}
	return records[0], nil
}

// startAt is the start before offset.
func (r *retention) startAt(p log.Partition, offset log.Offset) (log.Start, error) {
	last, err := r.record(p, offset-1)
	return log.Start{Offset: offset, Index: last.Index}, err
}

// byBytes lets go the oldest segments of the partitions that have most, until all of them together have no more than most bytes. The segments are this
// node's: another one's may be cut elsewhere.
func (r *retention) byBytes(logs []*partitionLog, most int64) error {
	segments, sizes, total := map[*partitionLog][]log.SegmentInfo{}, map[*partitionLog]int64{}, int64(0)
	for _, l := range logs {
		infos, err := r.flusher.options.Log.Segments(l.id)
		if err != nil {
			return fmt.Errorf("list segments of partition %d: %w", l.id.ID, err)
		}
		for _, info := range infos {
			if info.End > l.to {
				segments[l] = append(segments[l], info)
				sizes[l] += info.Bytes
			}
		}
		total += sizes[l]
	}
	for total > most {
		var largest *partitionLog
		for _, l := range logs {
			if s := segments[l]; len(s) > 0 && s[0].Sealed && s[0].End <= l.flushed && (largest == nil || sizes[l] > sizes[largest]) {
				largest = l
			}
		}
		if largest == nil {
			return nil
		}
		oldest := segments[largest][0]
		largest.to = oldest.End
		segments[largest] = segments[largest][1:]
		sizes[largest] -= oldest.Bytes
		total -= oldest.Bytes
	}
	return nil
}

// expire plans which data files of a stream go.
func (r *retention) expire(v *materializer.View, t *materializer.Table) (*materializer.Batch, func(), error) {
	now := r.now()
	b, files, err := manifest.Expire(v, t, now-expiry(t).Microseconds(), now)
	if b == nil || err != nil {
		return nil, nil, err
	}
	return b, func() {
		since := r.flusher.options.Clock.Now()
		for i := range files {
			r.expired = append(r.expired, expiredFile{path: files[i].Path, since: since})
		}
		r.flusher.options.Logger.Info("data files expired", "table", t.QualifiedName(), "files", len(files))
	}, nil
}

// removeExpired removes expired files once nobody can be reading them.
func (r *retention) removeExpired() error {
	now := r.flusher.options.Clock.Now()
	for len(r.expired) > 0 && now.Sub(r.expired[0].since) >= r.flusher.options.FileGrace {
		if err := r.flusher.options.Store.Delete(r.expired[0].path); err != nil {
			return fmt.Errorf("remove expired data file: %w", err)
		}
		r.expired = r.expired[1:]
	}
	return nil
}
