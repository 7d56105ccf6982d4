package manifest

import (
	"encoding/json"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// Commit is what one flush adds to a table's manifest.
type Commit struct {
	Table      *materializer.Table
	Flush      int64 // greater than the manifest's
	Files      []File
	Flushed    map[log.PartitionID]log.Offset // new ends of the partitions that the flush has moved
	Superseded map[log.PartitionID]*roaring64.Bitmap
	Now        int64 // microseconds
}

// DefaultBatchBytes is how large Batches lets a batch grow by bitmaps.
const DefaultBatchBytes = 4 << 20

// Batches returns what makes c part of the manifest that v shows. The last batch does, atomically: it is refused
// (VersionConflict, DuplicateKey) if another flush of the table was committed since v, because every flush writes all rows that
// the table has in system.flushed, at the versions v shows.
//
// Usually it is the only one. If the bitmaps would make it larger than limit bytes, batches before it carry them. To apply those
// alone is harmless: an offset is superseded from the moment its replacement is in the log, flushed or not.
func (c *Commit) Batches(v *materializer.View, limit int) ([]*materializer.Batch, error) {
	last, err := c.flushed(v)
	if err != nil {
		return nil, err
	}
	for i := range c.Files {
		m, err := c.file(v, &c.Files[i])
		if err != nil {
			return nil, err
		}
		last = append(last, m)
	}
	bitmaps, err := c.bitmaps(v)
	if err != nil {
		return nil, err
	}
	var batches []*materializer.Batch
	for size(last)+size(bitmaps) > limit {
		n := fitting(bitmaps, limit)
		batches = append(batches, newBatch(bitmaps[:n]))
		if bitmaps = bitmaps[n:]; len(bitmaps) == 0 {
			break
		}
	}
	return append(batches, newBatch(append(last, bitmaps...))), nil
}

// fitting returns how many of ms fit limit bytes, at least one if there are any.
func fitting(ms []materializer.Mutation, limit int) int {
	n, sum := 0, 0
	for n < len(ms) && (n == 0 || sum+size(ms[n:n+1]) <= limit) {
		sum += size(ms[n : n+1])
		n++
	}
	return n
}

func size(ms []materializer.Mutation) int {
	n := 0
	for i := range ms {
		n += len(ms[i].Key) + len(ms[i].Row) + 32
	}
	return n
}

func newBatch(ms []materializer.Mutation) *materializer.Batch {
	return &materializer.Batch{Caller: identity.Root.Name, Mutations: ms}
}

// flushed rewrites the row of every partition, moved or not.
func (c *Commit) flushed(v *materializer.View) ([]materializer.Mutation, error) {
	var ms []materializer.Mutation
	for p := range c.Table.Partitions {
		row, err := current(v, materializer.SystemFlushed, bigint(int64(c.Table.ID)), integer(int64(p)))
		if err != nil {
			return nil, err
		}
		end, moved := c.Flushed[log.PartitionID(p)]
		flush := c.Flush
		if row != nil {
			old := log.Offset(row.Row.Column(flushedEnd).Int())
			if moved && end < old {
				return nil, fmt.Errorf("commit flush %d: partition %d would go back from offset %d to %d", c.Flush, p, old, end)
			}
			if !moved {
				end = old
			}
			flush = max(flush, row.Row.Column(flushedFlush).Int())
		}
		m, err := put(v, materializer.SystemFlushed, row, bigint(int64(c.Table.ID)), integer(int64(p)), bigint(int64(end)), bigint(flush))
		if err != nil {
			return nil, err
		}
		ms = append(ms, m)
	}
	return ms, nil
}

// Fence returns a batch that changes nothing in t's manifest but makes every commit fail that was built on a view before it.
func Fence(v *materializer.View, t *materializer.Table) (*materializer.Batch, error) {
	ms, err := (&Commit{Table: t}).flushed(v)
	if err != nil {
		return nil, err
	}
	return newBatch(ms), nil
}

func (c *Commit) file(v *materializer.View, f *File) (materializer.Mutation, error) {
	offsets, err := json.Marshal(f.Offsets)
	if err != nil {
		return materializer.Mutation{}, fmt.Errorf("encode offsets of %s: %w", f.Path, err)
	}
	return put(v, materializer.SystemDataFiles, nil, bigint(int64(c.Table.ID)), expr.TextOf(f.Path), expr.TextOf(f.Shard), expr.TextOf(f.Strategy),
		bigint(f.Flush), integer(int64(f.Schema)), bigint(f.Rows), bigint(f.Bytes), expr.BlobOf(f.Checksum), expr.JSONOf(string(offsets)),
		expr.IntOf(expr.TimestampTZ, c.Now))
}

// bitmaps adds c.Superseded to the chunks it touches.
func (c *Commit) bitmaps(v *materializer.View) ([]materializer.Mutation, error) {
	order, chunks := split(c.Superseded)
	ms := make([]materializer.Mutation, 0, len(order))
	for _, k := range order {
		m, err := c.bitmap(v, k, chunks[k])
		if err != nil {
			return nil, err
		}
		ms = append(ms, m)
	}
	return ms, nil
}

func (c *Commit) bitmap(v *materializer.View, k chunk, bits *roaring.Bitmap) (materializer.Mutation, error) {
	key := []expr.Value{bigint(int64(c.Table.ID)), integer(int64(k.partition)), bigint(k.number)}
	row, err := current(v, materializer.SystemSuperseded, key...)
	if err != nil {
		return materializer.Mutation{}, err
	}
	if row != nil {
		old, err := decodeBitmap(row.Row)
		if err != nil {
			return materializer.Mutation{}, fmt.Errorf("chunk %d of partition %d: %w", k.number, k.partition, err)
		}
		bits.Or(old)
	}
	bits.RunOptimize()
	raw, err := bits.ToBytes()
	if err != nil {
		return materializer.Mutation{}, fmt.Errorf("encode bitmap: %w", err)
	}
	return put(v, materializer.SystemSuperseded, row, append(key, expr.BlobOf(raw))...)
}

// current returns the row of a system table, nil if there is none.
func current(v *materializer.View, system log.TableID, key ...expr.Value) (*materializer.KeyedRow, error) {
	table := v.Catalog().TableByID(system)
	raw, err := materializer.EncodeKey(nil, key)
	if err != nil {
		return nil, fmt.Errorf("encode key of %s: %w", table.QualifiedName(), err)
	}
	row, err := v.Row(table, 0, raw)
	if problem.Is(err, problem.KeyNotFound) {
		return nil, nil //nolint:nilnil // no row is an answer here
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", table.QualifiedName(), err)
	}
	return &row, nil
}

// put replaces row, or inserts if it is nil; either is refused if the row has changed meanwhile.
func put(v *materializer.View, system log.TableID, row *materializer.KeyedRow, values ...expr.Value) (materializer.Mutation, error) {
	table := v.Catalog().TableByID(system)
	op, version := materializer.Insert, int64(materializer.AnyVersion)
	if row != nil {
		op, version = materializer.Upsert, int64(row.Version)
	}
	m, err := table.NewRow(op, values)
	if err != nil {
		return materializer.Mutation{}, fmt.Errorf("encode row of %s: %w", table.QualifiedName(), err)
	}
	m.Version, m.Miss = version, materializer.Refuse
	return m, nil
}

// Forget returns batches that remove everything the manifest holds of a dropped table. Remove the files afterwards.
func Forget(v *materializer.View, t log.TableID, limit int) ([]*materializer.Batch, error) {
	var ms []materializer.Mutation
	for _, system := range []log.TableID{materializer.SystemDataFiles, materializer.SystemFlushed, materializer.SystemSuperseded, materializer.SystemLogStarts} {
		table := v.Catalog().TableByID(system)
		err := scan(v, system, t, func(r materializer.KeyedRow) error {
			key := make([]expr.Value, len(table.Schema().Key))
			for i := range key {
				key[i] = r.Row.Column(i)
			}
			m, err := table.OfKey(materializer.Remove, key)
			m.Miss = materializer.Skip
			ms = append(ms, m)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	var batches []*materializer.Batch
	for len(ms) > 0 {
		n := fitting(ms, limit)
		batches, ms = append(batches, newBatch(ms[:n])), ms[n:]
	}
	return batches, nil
}
