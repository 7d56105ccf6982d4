package manifest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// A chunk holds the superseded bits of 1<<chunkBits offsets: one row of system.superseded, 128 KiB of bitmap at most.
const chunkBits = 20

const chunkMask = 1<<chunkBits - 1

// chunk numbers the chunks of one partition.
type chunk struct {
	partition log.PartitionID
	number    int64
}

// readSuperseded joins a table's chunks into one bitmap for each partition.
func readSuperseded(v *materializer.View, t log.TableID) (map[log.PartitionID]*roaring64.Bitmap, error) {
	all := map[log.PartitionID]*roaring64.Bitmap{}
	buf := make([]uint64, 4096)
	err := scan(v, materializer.SystemSuperseded, t, func(r materializer.KeyedRow) error {
		p := log.PartitionID(r.Row.Column(supersededPartition).Int())
		bits, err := decodeBitmap(r.Row)
		if err != nil {
			return err
		}
		if all[p] == nil {
			all[p] = roaring64.New()
		}
		base := uint64(r.Row.Column(supersededChunk).Int()) << chunkBits
		it := bits.ManyIterator()
		for n := it.NextMany64(base, buf); n > 0; n = it.NextMany64(base, buf) {
			all[p].AddMany(buf[:n])
		}
		return nil
	})
	return all, err
}

func decodeBitmap(r materializer.Row) (*roaring.Bitmap, error) {
	bits := roaring.New()
	if _, err := bits.ReadFrom(bytes.NewReader([]byte(r.Column(supersededBitmap).Str()))); err != nil {
		return nil, fmt.Errorf("decode bitmap: %w", err)
	}
	return bits, nil
}

// split cuts offsets into chunks, in order.
func split(superseded map[log.PartitionID]*roaring64.Bitmap) ([]chunk, map[chunk]*roaring.Bitmap) {
	var order []chunk
	chunks := map[chunk]*roaring.Bitmap{}
	buf := make([]uint64, 4096)
	for _, p := range slices.Sorted(maps.Keys(superseded)) {
		var bits *roaring.Bitmap
		it := superseded[p].ManyIterator()
		for n := it.NextMany(buf); n > 0; n = it.NextMany(buf) {
			for _, offset := range buf[:n] {
				c := chunk{partition: p, number: int64(offset >> chunkBits)}
				if len(order) == 0 || order[len(order)-1] != c {
					bits = roaring.New()
					order, chunks[c] = append(order, c), bits
				}
				bits.Add(uint32(offset & chunkMask))
			}
		}
	}
	return order, chunks
}
