package materializer

import (
	"encoding/binary"
	"fmt"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
)

// metaPartition holds what is not a row: the checkpoint, end offsets and the memory of idempotency keys.
const metaPartition storage.PartitionName = "meta"

// The first bytes of keys in metaPartition.
const (
	metaCheckpoint = 'c'
	metaEnd        = 'e' // + table, partition
	metaReplies    = 'd' // bounds of the idempotency memory
	metaReply      = 'i' // + idempotency key
	metaReplyOrder = 'o' // + sequence number
)

// stateFormat is the first byte of the checkpoint: the version of everything in the state.
const stateFormat = 1

// checkpoint is the record that makes state and log meet. It is written in the batch of every step.
type checkpoint struct {
	log.Checkpoint
	group   log.GroupID
	catalog uint64 // Catalog.Version
}

func appendCheckpoint(dst []byte, c checkpoint) []byte {
	dst = append(dst, stateFormat)
	dst = binary.AppendUvarint(dst, uint64(c.group))
	dst = binary.AppendUvarint(dst, uint64(c.Index))
	dst = binary.AppendVarint(dst, c.Timestamp)
	return binary.AppendUvarint(dst, c.catalog)
}

func decodeCheckpoint(raw []byte) (checkpoint, error) {
	d := decoder{src: raw}
	if d.byte() != stateFormat {
		return checkpoint{}, fmt.Errorf("checkpoint of an unknown format: %w", ErrDamaged)
	}
	var c checkpoint
	c.group = log.GroupID(d.uvarint())
	c.Index = log.Index(d.uvarint())
	c.Timestamp = d.varint()
	c.catalog = d.uvarint()
	if d.bad || len(d.src) > 0 {
		return checkpoint{}, fmt.Errorf("checkpoint: %w", ErrDamaged)
	}
	return c, nil
}

func (c checkpoint) position() log.Position {
	if c.Index == 0 {
		return log.Position{}
	}
	return log.PositionOf(log.Part{Group: c.group, Index: c.Index})
}

func endKey(p log.Partition) []byte {
	key := binary.BigEndian.AppendUint32([]byte{metaEnd}, uint32(p.Table))
	return binary.BigEndian.AppendUint16(key, uint16(p.ID))
}

func decodeEnd(raw []byte) (log.Offset, error) {
	d := decoder{src: raw}
	end := log.Offset(d.uvarint())
	if d.bad || len(d.src) > 0 {
		return 0, fmt.Errorf("end offset: %w", ErrDamaged)
	}
	return end, nil
}

// stateHeader is the longest that appendState puts before a row.
const stateHeader = 2 * binary.MaxVarintLen64

// appendState encodes the value that the state holds under a row's key.
func appendState(dst []byte, version log.Offset, timestamp int64, row []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(version))
	dst = binary.AppendVarint(dst, timestamp)
	return append(dst, row...)
}

func decodeState(raw []byte) (s rowState, timestamp int64, err error) {
	d := decoder{src: raw}
	s = rowState{exists: true, version: log.Offset(d.uvarint())}
	timestamp = d.varint()
	s.raw = d.src
	if d.bad || len(s.raw) == 0 {
		return rowState{}, 0, fmt.Errorf("state of a row: %w", ErrDamaged)
	}
	return s, timestamp, nil
}
