package api

import (
	"fmt"
	"strconv"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/log"
)

// kept is what has been stored of a body so far.
type kept struct {
	rows     int64
	batches  int
	position log.Position
	offsets  map[log.PartitionID]wire.OffsetRange
	replayed bool
	unknown  bool // whether the chunk after these rows was stored too
}

func (k *kept) add(w written) {
	k.batches++
	k.position = k.position.Max(w.receipt.Position)
	k.replayed = w.receipt.Replayed
	for i, a := range w.receipt.Applied {
		if !a.Done || i >= len(w.chunk.batch.Mutations) {
			continue
		}
		k.rows++
		k.note(w.chunk.batch.Mutations[i].Partition.ID, uint64(a.Offset))
	}
}

func (k *kept) note(p log.PartitionID, offset uint64) {
	if k.offsets == nil {
		k.offsets = make(map[log.PartitionID]wire.OffsetRange)
	}
	r, ok := k.offsets[p]
	if !ok {
		r = wire.OffsetRange{First: offset, Last: offset}
	}
	r.First, r.Last = min(r.First, offset), max(r.Last, offset)
	k.offsets[p] = r
}

// reply says what is kept as the client sees it.
func (k *kept) reply() wire.WriteReply {
	offsets := make(map[string]wire.OffsetRange, len(k.offsets))
	for p, r := range k.offsets {
		offsets[strconv.Itoa(int(p))] = r
	}
	w := wire.WriteReply{RowCount: k.rows, Offsets: offsets, Batches: k.batches}
	if !k.position.IsZero() {
		w.Position = k.position.String()
	}
	return w
}

// etag is the version of the one row that was written, "" if there is not one.
func (k *kept) etag() string {
	if k.rows != 1 {
		return ""
	}
	for _, r := range k.offsets {
		return etagOf(log.Offset(r.First))
	}
	return ""
}

// hint says how to go on after a body that was not stored whole.
func (k *kept) hint() string {
	switch {
	case k.unknown:
		return fmt.Sprintf("whether rows after the first %d were stored is unknown: send the whole body again with the same Idempotency-Key", k.rows)
	case k.rows > 0:
		return fmt.Sprintf("the first %d rows are stored: send the rest, or the whole body again with the same Idempotency-Key", k.rows)
	}
	return ""
}
