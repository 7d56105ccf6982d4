package flusher

import (
	"fmt"
	"slices"
	"strconv"
	"unsafe"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"kalamlog.dev/kalam/flusher/datafile"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// router decodes changes and sends each to the file of its shard.
type router struct {
	plan       *plan
	files      *fileSet
	superseded *superseded
	key        []byte
}

// records routes those of rs, one chunk of the log, that lie before end and returns how many.
func (r *router) records(rs []log.Record, end log.Offset) (int, error) {
	bytes := int64(0)
	for i := range rs {
		bytes += int64(len(rs[i].Data))
	}
	if err := r.files.nextChunk(bytes); err != nil {
		return 0, err
	}
	for i := range rs {
		if rs[i].Offset >= end {
			return i, nil
		}
		if err := r.record(&rs[i]); err != nil {
			return 0, err
		}
	}
	return len(rs), nil
}

func (r *router) record(rec *log.Record) error {
	c, err := materializer.DecodeChange(*rec)
	if err != nil {
		return fmt.Errorf("decode change: %w", err)
	}
	raw := c.New
	if c.Op == materializer.RowDeleted {
		raw = c.Old
		r.superseded.add(c.Partition.ID, c.Offset)
	}
	if c.HasPrevious {
		r.superseded.add(c.Partition.ID, c.Previous)
	}
	row, err := r.plan.table.DecodeRow(raw)
	if err != nil {
		return fmt.Errorf("decode change at offset %d of partition %d: %w", c.Offset, c.Partition.ID, err)
	}
	m := datafile.Meta{
		Op: c.Op, Partition: c.Partition.ID, Offset: c.Offset, Timestamp: c.Timestamp, Previous: c.Previous, HasPrevious: c.HasPrevious,
	}
	return r.files.add(r.plan.strategy.ShardKey(r.shardKey(row, c.Partition.ID)), m, row)
}

// shardKey returns the text of the row's first key column, or the partition's number for a stream without key. It is valid until the next
// call.
func (r *router) shardKey(row materializer.Row, p log.PartitionID) string {
	key := r.plan.table.Schema().Key
	if len(key) == 0 {
		return r.number(int64(p))
	}
	v := row.Column(key[0])
	switch v.Kind() {
	case expr.Text:
		return v.Str()
	case expr.SmallInt, expr.Integer, expr.BigInt:
		return r.number(v.Int())
	default:
		return v.String()
	}
}

// number spells i in a buffer that is used again: one allocation a row less.
func (r *router) number(i int64) string {
	r.key = strconv.AppendInt(r.key[:0], i, 10)
	return unsafe.String(unsafe.SliceData(r.key), len(r.key))
}

// superseded collects the offsets that are no current rows any more.
type superseded struct {
	sets    map[log.PartitionID]*roaring64.Bitmap
	current log.PartitionID
	waiting []uint64 // of current
}

// supersededWaiting is how many offsets are sorted and added at once: bitmaps take them in order much faster.
const supersededWaiting = 1 << 16

func newSuperseded() *superseded {
	return &superseded{sets: map[log.PartitionID]*roaring64.Bitmap{}, waiting: make([]uint64, 0, supersededWaiting)}
}

// add notes an offset. Partitions come one after the other, with endPartition between.
func (s *superseded) add(p log.PartitionID, offset log.Offset) {
	s.current = p
	if s.waiting = append(s.waiting, uint64(offset)); len(s.waiting) == cap(s.waiting) {
		s.endPartition()
	}
}

func (s *superseded) endPartition() {
	if len(s.waiting) == 0 {
		return
	}
	set := s.sets[s.current]
	if set == nil {
		set = roaring64.New()
		s.sets[s.current] = set
	}
	slices.Sort(s.waiting)
	set.AddMany(s.waiting)
	s.waiting = s.waiting[:0]
}

func (s *superseded) bitmaps() map[log.PartitionID]*roaring64.Bitmap {
	s.endPartition()
	return s.sets
}
