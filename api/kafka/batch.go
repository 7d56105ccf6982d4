package kafka

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"slices"

	"kalamlog.dev/kalam/log"
)

// batchBuilder makes one record batch of the protocol's format 2, uncompressed:
//
//	base offset i64 · length i32 · leader epoch i32 · magic i8 = 2 · CRC-32C u32 of all that follows · attributes i16 · last offset delta i32 ·
//	first timestamp i64 · max timestamp i64 · producer id i64 · producer epoch i16 · base sequence i32 · records i32 · record*
//
//	record: length varint · attributes i8 · timestamp delta varlong · offset delta varint · key bytes · value bytes · headers varint = 0
//
// Timestamps are milliseconds. They are labelled CreateTime: under the label LogAppendTime consumers take the batch's newest timestamp for every
// record in it, and what a record's timestamp is would depend on where a fetch began.
type batchBuilder struct {
	buf             []byte
	base, next      log.Offset
	count           int32
	firstTS, lastTS int64
}

// Places in a batch.
const (
	batchLength     = 8
	batchEpoch      = 12
	batchMagic      = 16
	batchCRC        = 17
	batchAttributes = 21
	batchLastDelta  = 23
	batchFirstTS    = 27
	batchMaxTS      = 35
	batchProducer   = 43
	batchRecords    = 57
	batchHeader     = 61
)

// recordOverhead bounds what a record takes besides key and value.
const recordOverhead = 40

// newBatch begins a batch at an offset.
func newBatch(base log.Offset) *batchBuilder { return &batchBuilder{base: base, next: base} }

// size is the bytes of the batch so far, 0 without records.
func (b *batchBuilder) size() int { return len(b.buf) }

// reserve makes room for about n more bytes.
func (b *batchBuilder) reserve(n int) { b.buf = slices.Grow(b.buf, n+batchHeader) }

// add appends a record at the next offset. Nil keys and values are null.
func (b *batchBuilder) add(millis int64, key, value []byte) {
	if b.count == 0 {
		b.buf = append(b.buf, make([]byte, batchHeader)...)
		b.firstTS = millis
	}
	tsDelta, offsetDelta := millis-b.firstTS, int64(b.next-b.base)
	length := 1 + varintLen(tsDelta) + varintLen(offsetDelta) + bytesLen(key) + bytesLen(value) + 1
	b.buf = binary.AppendVarint(b.buf, int64(length))
	b.buf = append(b.buf, 0)
	b.buf = binary.AppendVarint(b.buf, tsDelta)
	b.buf = binary.AppendVarint(b.buf, offsetDelta)
	b.buf = appendVarBytes(b.buf, key)
	b.buf = appendVarBytes(b.buf, value)
	b.buf = append(b.buf, 0)
	b.count++
	b.next++
	b.lastTS = millis
}

// finish fills in the header and returns the batch, empty (never nil: clients refuse null records) without records.
func (b *batchBuilder) finish(epoch int32) []byte {
	if b.count == 0 {
		return []byte{}
	}
	be := binary.BigEndian
	be.PutUint64(b.buf, uint64(b.base))
	be.PutUint32(b.buf[batchLength:], uint32(len(b.buf)-batchEpoch))
	be.PutUint32(b.buf[batchEpoch:], uint32(epoch))
	b.buf[batchMagic] = 2
	be.PutUint16(b.buf[batchAttributes:], 0)
	be.PutUint32(b.buf[batchLastDelta:], uint32(b.count-1))
	be.PutUint64(b.buf[batchFirstTS:], uint64(b.firstTS))
	be.PutUint64(b.buf[batchMaxTS:], uint64(b.lastTS)) // the log's timestamps never go back
	for i := batchProducer; i < batchRecords; i++ {    // no producer id, epoch and sequence: all -1
		b.buf[i] = 0xff
	}
	be.PutUint32(b.buf[batchRecords:], uint32(b.count))
	be.PutUint32(b.buf[batchCRC:], crc32.Checksum(b.buf[batchAttributes:], crc32.MakeTable(crc32.Castagnoli)))
	return b.buf
}

// varintLen is the length of v in zigzag form.
func varintLen(v int64) int {
	zigzag := uint64(v)<<1 ^ uint64(v>>63)
	return max(1, (bits.Len64(zigzag)+6)/7)
}

func bytesLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

func appendVarBytes(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}
