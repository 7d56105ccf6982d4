package materializer

import (
	"encoding/binary"
	"fmt"
	"math"

	"kalamlog.dev/kalam/log"
)

// ChangeOp is what happened to a row.
type ChangeOp uint8

// The operations of a change. Numbers are stored: append only.
const (
	RowInserted ChangeOp = iota + 1
	RowUpdated
	RowDeleted
)

// Change is one entry of a table's history: all that a reader of the log needs. The raw rows are decoded lazily with the schema
// version they were written in (Schema for New, OldSchema for Old).
type Change struct {
	Op          ChangeOp
	Partition   log.Partition
	Offset      log.Offset
	Index       log.Index // with Batch: the transaction id
	Batch       uint32
	Timestamp   int64      // microseconds UTC
	Schema      uint32     // schema version of New (of Old for a delete)
	OldSchema   uint32     // schema version of Old
	Previous    log.Offset // offset of the key's previous change, valid if HasPrevious
	HasPrevious bool
	Key         []byte // encoded key; empty for streams without key
	Old         []byte // encoded row before, nil for an insert
	New         []byte // encoded row after, nil for a delete
}

// changeFormat is the first byte of every encoded change.
const changeFormat = 1

// The bits of a change's second byte.
const (
	changeOpBits   = 0x03
	bitHasPrevious = 0x04
)

// appendChange encodes what the log does not keep beside a change already. Previous is stored as the distance to c's own offset.
func appendChange(dst []byte, c *Change) []byte {
	head := byte(c.Op)
	if c.HasPrevious {
		head |= bitHasPrevious
	}
	dst = append(dst, changeFormat, head)
	dst = binary.AppendUvarint(dst, uint64(c.Batch))
	if c.HasPrevious {
		dst = binary.AppendUvarint(dst, uint64(c.Offset-c.Previous))
	}
	dst = appendBytes(dst, c.Key)
	if c.Op != RowInserted {
		dst = appendBytes(dst, c.Old)
	}
	return append(dst, c.New...)
}

// DecodeChange reads the change in r. The slices of the Change point into r.Data. It fails with ErrDamaged on bytes that are no change.
func DecodeChange(r log.Record) (Change, error) {
	c := Change{Partition: r.Partition, Offset: r.Offset, Index: r.Index, Timestamp: r.Timestamp}
	d := decoder{src: r.Data}
	if d.byte() != changeFormat {
		d.fail()
	}
	head := d.byte()
	c.Op = ChangeOp(head & changeOpBits)
	c.Batch = uint32(d.upTo(math.MaxUint32))
	if head&bitHasPrevious != 0 {
		c.HasPrevious = true
		c.Previous = r.Offset - log.Offset(d.upTo(uint64(r.Offset)))
	}
	c.Key = d.bytes()
	if c.Op != RowInserted {
		c.Old = d.bytes()
	}
	if c.Op != RowDeleted {
		c.New, d.src = d.src, nil
	}
	if d.bad || len(d.src) > 0 || head&^(changeOpBits|bitHasPrevious) != 0 || !c.decodeVersions() {
		return Change{}, fmt.Errorf("change at offset %d of table %d, partition %d: %w", r.Offset, r.Partition.Table, r.Partition.ID, ErrDamaged)
	}
	return c, nil
}

// decodeVersions fills Schema and OldSchema from the rows.
func (c *Change) decodeVersions() bool {
	var err error
	switch c.Op {
	case RowInserted:
		c.Schema, err = rowVersion(c.New)
	case RowUpdated:
		if c.Schema, err = rowVersion(c.New); err == nil {
			c.OldSchema, err = rowVersion(c.Old)
		}
	case RowDeleted:
		c.OldSchema, err = rowVersion(c.Old)
		c.Schema = c.OldSchema
	default:
		return false
	}
	return err == nil
}
