package materializer

import (
	"encoding/binary"
	"math"
)

// decoder reads the building blocks of the codecs. After the first fault every read gives zero and bad stays set, so callers check once.
type decoder struct {
	src []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.src) < 1 {
		d.fail()
		return 0
	}
	b := d.src[0]
	d.src = d.src[1:]
	return b
}

func (d *decoder) fail() {
	d.bad = true
	d.src = nil
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.src)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.src = d.src[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.src)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.src = d.src[n:]
	return v
}

// upTo reads an unsigned number that must not exceed limit.
func (d *decoder) upTo(limit uint64) uint64 {
	v := d.uvarint()
	if v > limit {
		d.fail()
		return 0
	}
	return v
}

func (d *decoder) uint32() uint32 { return uint32(d.upTo(math.MaxUint32)) }

func (d *decoder) uint16() uint16 { return uint16(d.upTo(math.MaxUint16)) }

func (d *decoder) fixed64() uint64 {
	if len(d.src) < 8 {
		d.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(d.src)
	d.src = d.src[8:]
	return v
}

// bytes reads a length and as many bytes, which share the source's memory.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.src)) {
		d.fail()
		return nil
	}
	b := d.src[:n:n]
	d.src = d.src[n:]
	return b
}

// count reads a number of items that take at least each bytes apiece, which bounds what a caller may allocate for them.
func (d *decoder) count(each int) int {
	return int(d.upTo(uint64(len(d.src) / each)))
}

func appendBytes[T string | []byte](dst []byte, b T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}
