package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// MoveStarts returns a batch that deletes what lies before the given starts from the log of t. It is refused (VersionConflict) if somebody else has moved
// one of them since v. now is in microseconds.
func MoveStarts(v *materializer.View, t *materializer.Table, starts map[log.PartitionID]log.Start, now int64) (*materializer.Batch, error) {
	var ms []materializer.Mutation
	for _, p := range slices.Sorted(maps.Keys(starts)) {
		m, err := putStart(v, log.Partition{Table: t.ID, ID: p}, now, func(s *materializer.LogStart) {
			s.Start = starts[p]
			if !materializer.KeepsLog(t.ID) {
				s.Expired = s.Offset
			}
		})
		if err != nil {
			return nil, err
		}
		ms = append(ms, m)
	}
	return newBatch(ms), nil
}

// putStart changes a row of system.log_starts.
func putStart(v *materializer.View, p log.Partition, now int64, change func(*materializer.LogStart)) (materializer.Mutation, error) {
	row, err := current(v, materializer.SystemLogStarts, bigint(int64(p.Table)), integer(int64(p.ID)))
	if err != nil {
		return materializer.Mutation{}, err
	}
	var s materializer.LogStart
	if row != nil {
		_, s = materializer.DecodeLogStart(row.Row)
	}
	change(&s)
	return put(v, materializer.SystemLogStarts, row, materializer.LogStartRow(p, s, now)...)
}

// Expire takes the oldest flushes of a stream out of its manifest: those committed before created (microseconds) whose changes are no longer in the log
// either. It returns a batch and the files that no manifest names once it is applied; none if nothing has expired. The batch is refused if the
// manifest has changed since v, and makes flushes fail that were planned before it.
func Expire(v *materializer.View, t *materializer.Table, created, now int64) (*materializer.Batch, []File, error) {
	files, err := Files(v, t.ID)
	if err != nil {
		return nil, nil, err
	}
	starts := map[log.PartitionID]log.Offset{}
	for p := range t.Partitions {
		s, err := v.Start(log.Partition{Table: t.ID, ID: log.PartitionID(p)})
		if err != nil {
			return nil, nil, err
		}
		starts[log.PartitionID(p)] = s.Offset
	}
	gone := expired(files, starts, created)
	if len(gone) == 0 {
		return nil, nil, nil
	}
	b, err := expiry(v, t, gone, now)
	return b, gone, err
}

// expired returns the files of the leading flushes of which nothing is needed any more.
func expired(files []File, starts map[log.PartitionID]log.Offset, created int64) []File {
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b File) int { return cmp.Compare(a.Flush, b.Flush) })
	for i := range files {
		f := &files[i]
		needed := f.Created >= created
		for p, r := range f.Offsets {
			needed = needed || r.Last >= starts[p]
		}
		if needed { // and so are the other files of its flush
			return slices.DeleteFunc(files[:i], func(other File) bool { return other.Flush == f.Flush })
		}
	}
	return files
}

func expiry(v *materializer.View, t *materializer.Table, gone []File, now int64) (*materializer.Batch, error) {
	last, err := Version(v, t.ID)
	if err != nil {
		return nil, err
	}
	// A new number tells readers that the files they know are not those of now.
	ms, err := (&Commit{Table: t, Flush: last + 1}).flushed(v)
	if err != nil {
		return nil, err
	}
	ends := map[log.PartitionID]log.Offset{}
	for i := range gone {
		m, err := v.Catalog().TableByID(materializer.SystemDataFiles).
			OfKey(materializer.Remove, []expr.Value{bigint(int64(t.ID)), expr.TextOf(gone[i].Path)})
		if err != nil {
			return nil, fmt.Errorf("encode key of %s: %w", gone[i].Path, err)
		}
		ms = append(ms, m)
		for p, r := range gone[i].Offsets {
			ends[p] = max(ends[p], r.Last+1)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(ends)) {
		m, err := putStart(v, log.Partition{Table: t.ID, ID: p}, now, func(s *materializer.LogStart) { s.Expired = max(s.Expired, ends[p]) })
		if err != nil {
			return nil, err
		}
		ms = append(ms, m)
	}
	return newBatch(ms), nil
}
