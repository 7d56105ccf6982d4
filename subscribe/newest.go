package subscribe

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// newestRows are the rows of a keyed table that were changed last, oldest of them first. State is kept by key, so all of it is looked at once;
// only where the rows are is remembered.
type newestRows struct {
	scan    *stateScan
	most    int
	found   rowHeap
	scanned bool
}

// rowPlace says where a current row is found again.
type rowPlace struct {
	place
	key []byte
}

func (a rowPlace) compare(b rowPlace) int {
	return cmp.Or(cmp.Compare(a.timestamp, b.timestamp), cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
}

// rowHeap has its oldest row on top.
type rowHeap []rowPlace

func (h rowHeap) Len() int           { return len(h) }
func (h rowHeap) Less(i, j int) bool { return h[i].compare(h[j]) < 0 }
func (h rowHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *rowHeap) Push(x any)        { *h = append(*h, x.(rowPlace)) }
func (h *rowHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

func (n *newestRows) read(ctx context.Context, b *batch, maxBytes int) (bool, error) {
	if !n.scanned {
		if _, err := n.scan.each(ctx, n.consider); err != nil {
			return false, err
		}
		n.scanned = true
		slices.SortFunc(n.found, rowPlace.compare)
	}
	q := n.scan.query
	for len(n.found) > 0 && b.size() < maxBytes {
		at := n.found[0]
		r, err := n.scan.view.Row(q.table, at.partition, at.key)
		if err != nil {
			return false, fmt.Errorf("read row of %s again: %w", q.table.QualifiedName(), err)
		}
		if err := q.tellInitial(b, r.Row, at.place); err != nil {
			return false, err
		}
		n.found = n.found[1:]
	}
	return len(n.found) == 0, nil
}

// consider keeps a matching row if it is among the newest so far.
func (n *newestRows) consider(p log.PartitionID, r materializer.KeyedRow) (bool, error) {
	ok, err := n.scan.query.match(r.Row)
	if !ok || err != nil {
		return true, err
	}
	row := rowPlace{place: placeOf(p, r)}
	if len(n.found) == n.most {
		if row.compare(n.found[0]) < 0 {
			return true, nil
		}
		heap.Pop(&n.found)
	}
	row.key = slices.Clone(r.Key)
	heap.Push(&n.found, row)
	return true, nil
}
