package log

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A Raft entry carries the batches that shared it:
//
//	| version u8 = 1 | timestamp i64 | count uvarint | length uvarint, batch | length uvarint, batch | ...
//
// and its result carries one answer a batch:
//
//	| length uvarint, result | length uvarint, result | ...
//
// Fixed integers are little-endian. Raft storage checksums entries, so there is no checksum here.
const (
	entryVersion = 1
	entryHead    = 1 + 8 + binary.MaxVarintLen64 // at most, before the batches
)

var errEntry = errors.New("malformed entry")

// entry is a decoded Raft entry. Its batches alias the input.
type entry struct {
	timestamp int64
	batches   [][]byte
}

// appendEntry appends the entry made of batches to dst.
func appendEntry(dst []byte, timestamp int64, batches [][]byte) []byte {
	dst = append(dst, entryVersion)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(timestamp))
	dst = binary.AppendUvarint(dst, uint64(len(batches)))
	for _, b := range batches {
		dst = appendBytes(dst, b)
	}
	return dst
}

// decodeEntry reads an entry into e, whose slices it reuses.
func decodeEntry(data []byte, e *entry) error {
	if len(data) < 9 {
		return fmt.Errorf("%w: %d bytes", errEntry, len(data))
	}
	if data[0] != entryVersion {
		return fmt.Errorf("%w: version %d is not known, was it written by a newer release?", errEntry, data[0])
	}
	e.timestamp = int64(binary.LittleEndian.Uint64(data[1:]))
	data = data[9:]
	count, n := binary.Uvarint(data)
	if n <= 0 || count > uint64(len(data)) {
		return fmt.Errorf("%w: bad count", errEntry)
	}
	batches, err := decodeList(data[n:], int(count), e.batches[:0])
	e.batches = batches
	return err
}

// appendBytes appends b behind its length.
func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// decodeList appends the count length-prefixed items that data consists of to dst. They alias data.
func decodeList(data []byte, count int, dst [][]byte) ([][]byte, error) {
	for i := range count {
		size, n := binary.Uvarint(data)
		if n <= 0 || size > uint64(len(data)-n) {
			return dst, fmt.Errorf("%w: item %d of %d is cut off", errEntry, i, count)
		}
		end := n + int(size)
		dst = append(dst, data[n:end:end])
		data = data[end:]
	}
	if len(data) > 0 {
		return dst, fmt.Errorf("%w: %d bytes too many", errEntry, len(data))
	}
	return dst, nil
}
