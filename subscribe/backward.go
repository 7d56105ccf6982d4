package subscribe

import (
	"context"
	"fmt"
	"slices"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// newestRetained are the newest matching rows of a stream, oldest of them first. It walks the log backwards until it has found enough
// and remembers only where they are.
type newestRetained struct {
	log    history
	query  *liveQuery
	most   int
	runs   []*backward
	found  []recordPlace // newest first while walking, then the other way round
	walked bool
}

// recordPlace says where a change is found again.
type recordPlace struct {
	partition log.Partition
	offset    log.Offset
}

func newNewestRetained(h history, v *materializer.View, q *liveQuery, most int) (*newestRetained, error) {
	runs, err := runsAt(h, v, q)
	if err != nil {
		return nil, err
	}
	n := &newestRetained{log: h, query: q, most: most}
	for _, r := range runs {
		n.runs = append(n.runs, &backward{partition: r.partition, start: r.next, end: r.end, step: firstStep})
	}
	return n, nil
}

func (n *newestRetained) read(ctx context.Context, b *batch, maxBytes int) (bool, error) {
	if !n.walked {
		if err := n.walk(ctx, maxBytes); err != nil {
			return false, err
		}
		slices.Reverse(n.found)
		n.walked = true
	}
	for len(n.found) > 0 && b.size() < maxBytes {
		at := n.found[0]
		records, err := n.log.Read(at.partition, at.offset, 1)
		switch {
		case problem.Is(err, problem.Trimmed): // since it was found
		case err != nil:
			return false, fmt.Errorf("read partition %d at %d again: %w", at.partition.ID, at.offset, err)
		default:
			if err := n.query.tellRecord(b, records[0]); err != nil {
				return false, err
			}
		}
		n.found = n.found[1:]
	}
	return len(n.found) == 0, nil
}

// walk finds the newest matching changes.
func (n *newestRetained) walk(ctx context.Context, maxBytes int) error {
	for looked := 0; len(n.found) < n.most; looked++ {
		if looked%checkEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		newest, err := n.newest(maxBytes)
		if newest == nil || err != nil {
			return err
		}
		record := newest.records[len(newest.records)-1]
		row, err := n.query.recordRow(record)
		if err != nil {
			return err
		}
		ok, err := n.query.match(row)
		if err != nil {
			return err
		}
		if ok {
			n.found = append(n.found, recordPlace{partition: record.Partition, offset: record.Offset})
		}
		newest.records = newest.records[:len(newest.records)-1]
	}
	return nil
}

// newest returns the run whose last record is the newest of all, nil if all are walked.
func (n *newestRetained) newest(maxBytes int) (*backward, error) {
	var last *backward
	for _, candidate := range n.runs {
		if err := candidate.fill(n.log, maxBytes/len(n.runs)); err != nil {
			return nil, err
		}
		if k := len(candidate.records); k > 0 && (last == nil || candidate.records[k-1].Index >= last.records[len(last.records)-1].Index) {
			last = candidate
		}
	}
	return last, nil
}

// backward is a stretch of one partition's changes that is read from its end.
type backward struct {
	partition  log.Partition
	start, end log.Offset   // still to be read: start included, end excluded
	records    []log.Record // read, in order
	step       log.Offset   // how many to read next
}

// firstStep is how many changes are read at first; the step adapts to their size.
const firstStep log.Offset = 16

// fill reads the stretch before end if nothing is at hand.
func (r *backward) fill(h history, maxBytes int) error {
	for len(r.records) == 0 && r.end > r.start {
		from := max(r.start, r.end-min(r.end, r.step))
		bytes, err := r.read(h, from)
		switch {
		case problem.Is(err, problem.Trimmed):
			r.start = max(r.start+1, h.Start(r.partition))
			continue
		case err != nil:
			return fmt.Errorf("read partition %d from %d: %w", r.partition.ID, from, err)
		}
		r.end = from
		if bytes < maxBytes/2 {
			r.step *= 2
		} else {
			r.step = max(1, r.step/2)
		}
	}
	return nil
}

// read loads the records from `from` to r.end and returns their size.
func (r *backward) read(h history, from log.Offset) (bytes int, err error) {
	r.records = r.records[:0]
	for from < r.end {
		const chunk = 64 << 10
		records, err := h.Read(r.partition, from, chunk)
		if err != nil {
			r.records = r.records[:0]
			return 0, err
		}
		if len(records) == 0 {
			return 0, fmt.Errorf("it ends at %d, not at %d", from, r.end)
		}
		records = records[:min(len(records), int(r.end-from))]
		for _, record := range records {
			bytes += len(record.Data)
		}
		r.records = append(r.records, records...)
		from += log.Offset(len(records))
	}
	return bytes, nil
}
