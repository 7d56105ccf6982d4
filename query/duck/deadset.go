package duck

import (
	"kalamlog.dev/kalam/log"
)

// A block holds one bit for each of blockSize consecutive offsets.
const (
	blockShift = 16
	blockSize  = 1 << blockShift
)

type block [blockSize / 64]uint64

// deadSet is an immutable set of flushed offsets that are no live row, quick to ask. Sets that follow from each other
// share the blocks that are equal. A nil set is empty.
type deadSet struct {
	partitions [][]*block // by partition, then by offset / blockSize; nil blocks and missing ones are empty
}

// has reports whether the set contains an offset.
func (d *deadSet) has(p log.PartitionID, at log.Offset) bool {
	if d == nil || int(p) >= len(d.partitions) {
		return false
	}
	blocks := d.partitions[p]
	i := at >> blockShift
	if uint64(i) >= uint64(len(blocks)) || blocks[i] == nil {
		return false
	}
	bit := at % blockSize
	return blocks[i][bit/64]&(1<<(bit%64)) != 0
}

// with returns the set with more offsets in it.
func (d *deadSet) with(more offsets) *deadSet {
	next := &deadSet{}
	if d != nil {
		next.partitions = append(next.partitions, d.partitions...)
	}
	for p, bits := range more {
		for int(p) >= len(next.partitions) {
			next.partitions = append(next.partitions, nil)
		}
		blocks := append([]*block{}, next.partitions[p]...)
		own := map[uint64]bool{}
		for it := bits.Iterator(); it.HasNext(); {
			at := it.Next()
			i := at >> blockShift
			for i >= uint64(len(blocks)) {
				blocks = append(blocks, nil)
			}
			if !own[i] {
				own[i] = true
				blocks[i] = blocks[i].clone()
			}
			bit := at % blockSize
			blocks[i][bit/64] |= 1 << (bit % 64)
		}
		next.partitions[p] = blocks
	}
	return next
}

func (b *block) clone() *block {
	if b == nil {
		return new(block)
	}
	c := *b
	return &c
}
