package subscribe

import (
	"context"
	"fmt"
	"slices"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

// initialRows are the rows that a subscription starts with. read appends them to b until it has about maxBytes, and reports whether
// that was all. It keeps no iterator open between calls, which would pin the store's memory for a slow reader; after an error of ctx
// it goes on where it was.
type initialRows interface {
	read(ctx context.Context, b *batch, maxBytes int) (done bool, err error)
}

// newInitialRows picks the way to read the rows at v: a stream has no state but its log.
func newInitialRows(l *log.Log, v *materializer.View, q *liveQuery, lastRows int) (initialRows, error) {
	stream := q.table.Kind == materializer.Stream
	switch {
	case stream && lastRows > 0:
		return newNewestRetained(l, v, q, lastRows)
	case stream:
		return newRetainedRows(l, v, q)
	}
	scan, err := newStateScan(v, q)
	if err != nil {
		return nil, err
	}
	if lastRows > 0 {
		return &newestRows{scan: scan, most: lastRows}, nil
	}
	return &stateRows{scan: scan}, nil
}

// checkEvery is how many rows are looked at between two looks at the context.
const checkEvery = 256

// stateScan goes through the current rows that q could match, partition by partition, in steps.
type stateScan struct {
	view       *materializer.View
	query      *liveQuery
	partitions []log.PartitionID // still to be read; the first is being read
	keys       storage.Range     // what of them
	next       []byte            // the least key not yet visited; nil: keys.Start
}

func newStateScan(v *materializer.View, q *liveQuery) (*stateScan, error) {
	s := &stateScan{view: v, query: q}
	if q.shape.owner != "" {
		return s, s.narrow(expr.TextOf(q.shape.owner))
	}
	s.partitions = allPartitions(q.table)
	return s, nil
}

func allPartitions(t *materializer.Table) []log.PartitionID {
	all := make([]log.PartitionID, t.Partitions)
	for p := range all {
		all[p] = log.PartitionID(p)
	}
	return all
}

// narrow limits the scan to the rows of one user: the user is the key's first column, and chooses the partition.
func (s *stateScan) narrow(user expr.Value) error {
	prefix, err := materializer.EncodeKey(nil, []expr.Value{user})
	if err != nil {
		return fmt.Errorf("encode user: %w", err)
	}
	s.keys = storage.Range{Start: prefix, End: prefixEnd(prefix)}
	key := make([]expr.Value, len(s.query.table.Schema().Key))
	key[0] = user
	s.partitions = allPartitions(s.query.table) // if it takes more of the key to choose one
	if p, err := s.query.table.PartitionOf(key); err == nil {
		s.partitions = []log.PartitionID{p}
	}
	return nil
}

// prefixEnd returns the least key beyond all that start with prefix, nil if there is none.
func prefixEnd(prefix []byte) []byte {
	end := slices.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// each visits rows until visit wants no more or none is left (done).
func (s *stateScan) each(ctx context.Context, visit func(p log.PartitionID, r materializer.KeyedRow) (more bool, err error)) (done bool, err error) {
	for len(s.partitions) > 0 {
		more, err := s.partition(ctx, visit)
		if err != nil || !more {
			return false, err
		}
		s.partitions, s.next = s.partitions[1:], nil
	}
	return true, nil
}

// partition visits what is left of the first partition.
func (s *stateScan) partition(ctx context.Context, visit func(log.PartitionID, materializer.KeyedRow) (bool, error)) (more bool, err error) {
	p, keys, visited := s.partitions[0], s.keys, 0
	if s.next != nil {
		keys.Start = s.next
	}
	for row, err := range s.view.Scan(s.query.table, p, keys) {
		if err != nil {
			return false, fmt.Errorf("scan partition %d of %s: %w", p, s.query.table.QualifiedName(), err)
		}
		if visited++; visited%checkEvery == 0 && ctx.Err() != nil {
			s.next = slices.Clone(row.Key)
			return false, context.Cause(ctx)
		}
		more, err := visit(p, row)
		if err != nil {
			return false, err
		}
		if !more {
			s.next = append(slices.Clone(row.Key), 0)
			return false, nil
		}
	}
	return true, nil
}

// stateRows are all rows of a keyed table, in key order within each partition.
type stateRows struct{ scan *stateScan }

func (s *stateRows) read(ctx context.Context, b *batch, maxBytes int) (bool, error) {
	return s.scan.each(ctx, func(p log.PartitionID, r materializer.KeyedRow) (bool, error) {
		err := s.scan.query.tellInitial(b, r.Row, placeOf(p, r))
		return b.size() < maxBytes, err
	})
}

func placeOf(p log.PartitionID, r materializer.KeyedRow) place {
	return place{partition: p, offset: r.Version, timestamp: r.Timestamp}
}
