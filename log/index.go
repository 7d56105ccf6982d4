package log

import (
	"encoding/binary"
	"sort"
)

// An index file stands beside each segment file and is derived from it. It is a list of chunks, one each time the index was saved:
//
//	| count u32 | crc u32 | count times: offset u64, index u64, timestamp i64, position u64 |
//
// Integers are little-endian. crc is CRC-32C of table, partition, the segment's base (u64) and the entries. Whatever follows the
// first chunk that does not fit is ignored and made anew from the segment.
const (
	indexInterval  = 4096 // bytes of segment between two entries, about
	indexEntrySize = 32
	indexChunkHead = 8
)

// indexEntry says where a frame starts.
type indexEntry struct {
	offset    Offset
	index     Index
	timestamp int64
	position  int64
}

// sparseIndex finds frames of one segment. Entries are only ever appended: a reader may keep the slice.
type sparseIndex struct {
	entries []indexEntry
	saved   int // how many entries, from the first, the index file holds
}

// add takes the next frame of the segment; it keeps an entry for the first and then for one about every indexInterval.
func (x *sparseIndex) add(f frame, position int64) {
	if n := len(x.entries); n > 0 && position-x.entries[n-1].position < indexInterval {
		return
	}
	x.entries = append(x.entries, indexEntry{offset: f.base, index: f.index, timestamp: f.timestamp, position: position})
}

// lastBefore returns the last entry for which before holds, or the first entry. before holds for a prefix of entries.
func lastBefore(entries []indexEntry, before func(indexEntry) bool) indexEntry {
	i := sort.Search(len(entries), func(i int) bool { return !before(entries[i]) })
	return entries[max(i-1, 0)]
}

// indexSeed is the CRC state that the chunks of one index file start from.
func indexSeed(p Partition, base Offset) uint32 {
	return checksum(partitionSeed(p), binary.LittleEndian.AppendUint64(nil, uint64(base)))
}

// appendIndexChunk appends the chunk made of entries to dst.
func appendIndexChunk(dst []byte, seed uint32, entries []indexEntry) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(entries)))
	dst = append(dst, 0, 0, 0, 0)
	for _, e := range entries {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.offset))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.index))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.timestamp))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.position))
	}
	binary.LittleEndian.PutUint32(dst[start+4:], checksum(seed, dst[start+indexChunkHead:]))
	return dst
}

// decodeIndex returns the entries of the leading sound chunks, and whether they are all of data.
func decodeIndex(data []byte, seed uint32) (entries []indexEntry, whole bool) {
	for len(data) >= indexChunkHead {
		count := int64(binary.LittleEndian.Uint32(data))
		end := indexChunkHead + count*indexEntrySize
		if count == 0 || end > int64(len(data)) || checksum(seed, data[indexChunkHead:end]) != binary.LittleEndian.Uint32(data[4:]) {
			return entries, false
		}
		for b := data[indexChunkHead:end]; len(b) > 0; b = b[indexEntrySize:] {
			e := indexEntry{
				offset:    Offset(binary.LittleEndian.Uint64(b)),
				index:     Index(binary.LittleEndian.Uint64(b[8:])),
				timestamp: int64(binary.LittleEndian.Uint64(b[16:])),
				position:  int64(binary.LittleEndian.Uint64(b[24:])),
			}
			if n := len(entries); n == 0 && e.position != 0 || n > 0 && (e.position <= entries[n-1].position || e.offset <= entries[n-1].offset) {
				return entries, false
			}
			entries = append(entries, e)
		}
		data = data[end:]
	}
	return entries, len(data) == 0
}
