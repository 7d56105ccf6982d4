package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// A frame holds the changes that one Raft entry made to one partition, or part of them if they are large:
//
//	 0        4      8         9      17      21      29          37
//	| length | crc  | version | base | count | index | timestamp | record ... |
//	| u32    | u32  | u8 = 1  | u64  | u32   | u64   | i64       |            |
//
//	record: | size uvarint | bytes |
//
// Integers are little-endian. length counts the bytes from version on; crc is CRC-32C of table (u32), partition
// (u16) and those bytes, so that a frame of another partition never passes.
const (
	frameVersion    = 1
	frameHeaderSize = 37
	frameBodyStart  = 8
	// frameTarget is the size at which the changes of one entry start another frame: a reader must hold a whole frame.
	frameTarget = 1 << 20
)

var errFrame = errors.New("malformed frame")

// frame is a decoded frame. records alias the buffer it was decoded from.
type frame struct {
	base      Offset
	count     uint32
	index     Index
	timestamp int64
	records   []byte
	size      int64  // of the whole frame
	raw       []byte // the whole frame, of a decoded one
}

// end is the offset behind the frame.
func (f *frame) end() Offset { return f.base + Offset(f.count) }

// partitionSeed is the CRC state that every checksum of p's files starts from.
func partitionSeed(p Partition) uint32 {
	var id [6]byte
	binary.LittleEndian.PutUint32(id[:], uint32(p.Table))
	binary.LittleEndian.PutUint16(id[4:], uint16(p.ID))
	return checksum(0, id[:])
}

func checksum(seed uint32, b []byte) uint32 {
	return crc32.Update(seed, crc32.MakeTable(crc32.Castagnoli), b)
}

// sealFrame fills in the header of the frame that b consists of; its records are in place.
func sealFrame(b []byte, seed uint32, f frame) error {
	length := len(b) - frameBodyStart
	if length > math.MaxUint32 {
		return fmt.Errorf("a change of %d bytes does not fit a frame", length)
	}
	binary.LittleEndian.PutUint32(b[0:], uint32(length))
	b[8] = frameVersion
	binary.LittleEndian.PutUint64(b[9:], uint64(f.base))
	binary.LittleEndian.PutUint32(b[17:], f.count)
	binary.LittleEndian.PutUint64(b[21:], uint64(f.index))
	binary.LittleEndian.PutUint64(b[29:], uint64(f.timestamp))
	binary.LittleEndian.PutUint32(b[4:], checksum(seed, b[frameBodyStart:]))
	return nil
}

// frameSize returns the size of the frame that b starts with, of which b needs to hold only the length.
func frameSize(b []byte) (int64, error) {
	length := binary.LittleEndian.Uint32(b)
	if length < frameHeaderSize-frameBodyStart {
		return 0, fmt.Errorf("%w: length %d", errFrame, length)
	}
	return frameBodyStart + int64(length), nil
}

// decodeFrame reads the frame that b starts with. b holds all of it.
func decodeFrame(b []byte, seed uint32) (frame, error) {
	if len(b) < frameHeaderSize {
		return frame{}, fmt.Errorf("%w: cut off", errFrame)
	}
	size, err := frameSize(b)
	if err != nil {
		return frame{}, err
	}
	if int64(len(b)) < size {
		return frame{}, fmt.Errorf("%w: cut off", errFrame)
	}
	b = b[:size]
	if want, got := binary.LittleEndian.Uint32(b[4:]), checksum(seed, b[frameBodyStart:]); want != got {
		return frame{}, fmt.Errorf("%w: checksum %08x, computed %08x", errFrame, want, got)
	}
	if b[8] != frameVersion {
		return frame{}, fmt.Errorf("%w: version %d is not known, was it written by a newer release?", errFrame, b[8])
	}
	f := frame{
		base:      Offset(binary.LittleEndian.Uint64(b[9:])),
		count:     binary.LittleEndian.Uint32(b[17:]),
		index:     Index(binary.LittleEndian.Uint64(b[21:])),
		timestamp: int64(binary.LittleEndian.Uint64(b[29:])),
		records:   b[frameHeaderSize:size:size],
		size:      size,
		raw:       b,
	}
	if f.count == 0 || f.base+Offset(f.count) < f.base {
		return frame{}, fmt.Errorf("%w: %d records from offset %d", errFrame, f.count, f.base)
	}
	return f, nil
}

// appendRecords appends f's records from offset from on to dst. Their data alias f.
func (f *frame) appendRecords(dst []Record, p Partition, from Offset) ([]Record, error) {
	data := f.records
	for offset := f.base; offset < f.end(); offset++ {
		size, n := binary.Uvarint(data)
		if n <= 0 || size > uint64(len(data)-n) {
			return dst, fmt.Errorf("%w: record %d is cut off", errFrame, offset)
		}
		end := n + int(size)
		if offset >= from {
			dst = append(dst, Record{Partition: p, Offset: offset, Index: f.index, Timestamp: f.timestamp, Data: data[n:end:end]})
		}
		data = data[end:]
	}
	if len(data) > 0 {
		return dst, fmt.Errorf("%w: %d bytes behind the last record", errFrame, len(data))
	}
	return dst, nil
}
