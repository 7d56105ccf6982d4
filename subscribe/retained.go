package subscribe

import (
	"context"
	"fmt"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// history is what the initial rows of a stream need of a *log.Log.
type history interface {
	Read(p log.Partition, from log.Offset, maxBytes int) ([]log.Record, error)
	Start(p log.Partition) log.Offset
}

// run is a stretch of one partition's changes, read piece by piece.
type run struct {
	partition log.Partition
	next, end log.Offset // still to be read: next included, end excluded
	records   []log.Record
}

// runsAt returns the retained changes of q's table up to v.
func runsAt(h history, v *materializer.View, q *liveQuery) ([]*run, error) {
	runs := make([]*run, q.table.Partitions)
	for i := range runs {
		p := log.Partition{Table: q.table.ID, ID: log.PartitionID(i)}
		end, err := v.End(p)
		if err != nil {
			return nil, fmt.Errorf("read end of partition %d: %w", i, err)
		}
		runs[i] = &run{partition: p, next: h.Start(p), end: end}
	}
	return runs, nil
}

// recordRow decodes the row that a stream's change inserted.
func (q *liveQuery) recordRow(record log.Record) (materializer.Row, error) {
	c, err := materializer.DecodeChange(record)
	if err != nil {
		return materializer.Row{}, fmt.Errorf("decode change %d of partition %d: %w", record.Offset, record.Partition.ID, err)
	}
	row, err := q.table.DecodeRow(c.New)
	if err != nil {
		return row, fmt.Errorf("decode row of %s: %w", q.table.QualifiedName(), err)
	}
	return row, nil
}

// tellRecord appends the row of a stream's change, if it matches.
func (q *liveQuery) tellRecord(b *batch, r log.Record) error {
	row, err := q.recordRow(r)
	if err != nil {
		return err
	}
	return q.tellInitial(b, row, place{partition: r.Partition.ID, offset: r.Offset, timestamp: r.Timestamp})
}

// retainedRows are all retained rows of a stream in the order they were written. What retention removes meanwhile is left out.
type retainedRows struct {
	log   history
	query *liveQuery
	runs  []*run
}

func newRetainedRows(h history, v *materializer.View, q *liveQuery) (*retainedRows, error) {
	runs, err := runsAt(h, v, q)
	return &retainedRows{log: h, query: q, runs: runs}, err
}

func (r *retainedRows) read(ctx context.Context, b *batch, maxBytes int) (bool, error) {
	for looked := 0; b.size() < maxBytes; looked++ {
		if looked%checkEvery == 0 && ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		oldest, err := r.oldest(maxBytes)
		if oldest == nil || err != nil {
			return oldest == nil, err
		}
		if err := r.query.tellRecord(b, oldest.records[0]); err != nil {
			return false, err
		}
		oldest.records = oldest.records[1:]
	}
	return false, nil
}

// oldest returns the run whose next record is the oldest of all, nil if all are read.
func (r *retainedRows) oldest(maxBytes int) (*run, error) {
	var first *run
	for _, candidate := range r.runs {
		if err := candidate.fill(r.log, maxBytes/len(r.runs)); err != nil {
			return nil, err
		}
		if len(candidate.records) > 0 && (first == nil || candidate.records[0].Index < first.records[0].Index) {
			first = candidate
		}
	}
	return first, nil
}

// fill reads on if nothing is at hand.
func (r *run) fill(h history, maxBytes int) error {
	if len(r.records) > 0 || r.next >= r.end {
		return nil
	}
	records, err := h.Read(r.partition, r.next, maxBytes)
	for problem.Is(err, problem.Trimmed) {
		if r.next = max(r.next, h.Start(r.partition)); r.next >= r.end {
			return nil
		}
		records, err = h.Read(r.partition, r.next, maxBytes)
	}
	if err != nil {
		return fmt.Errorf("read partition %d from %d: %w", r.partition.ID, r.next, err)
	}
	if len(records) == 0 {
		return fmt.Errorf("partition %d ends at %d, not at %d", r.partition.ID, r.next, r.end)
	}
	if more := len(records) - int(r.end-r.next); more > 0 {
		records = records[:len(records)-more]
	}
	r.records, r.next = records, r.next+log.Offset(len(records))
	return nil
}
