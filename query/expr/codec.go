package expr

import (
	"encoding/binary"
	"errors"
	"math"
	"unicode/utf8"
)

// ErrMalformed reports bytes that are no encoding of a value or node: damage, or a newer format.
var ErrMalformed = errors.New("expr: malformed encoding")

// nodeVersion is the first byte of an encoded node.
const nodeVersion = 1

// maxDepth bounds the nesting of nodes and of lists that the decoders accept and Compile compiles.
const maxDepth = 200

// AppendValue appends v's binary form: one byte of kind, then
//
//	Bool                       1 byte, 0 or 1
//	integer and time kinds     zig-zag varint
//	Real                       4 bytes, little endian IEEE 754
//	Double                     8 bytes, little endian IEEE 754
//	Decimal                    1 byte scale, 16 bytes little endian two's complement
//	UUID                       16 bytes
//	Text, Blob, JSON           uvarint length, bytes
//	List                       uvarint count, values
//
// Equal values have equal bytes; every NaN is one value.
func AppendValue(dst []byte, v Value) []byte {
	dst = append(dst, byte(v.kind))
	switch v.kind {
	case Null:
		return dst
	case Bool:
		return append(dst, byte(v.lo))
	case Real:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(canonicalNaN(v.float()))))
	case Double:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(canonicalNaN(v.float())))
	case Decimal:
		dst = binary.LittleEndian.AppendUint64(append(dst, v.scale), v.lo)
		return binary.LittleEndian.AppendUint64(dst, v.hi)
	case UUID:
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, v.hi), v.lo)
	case Text, Blob, JSON:
		return append(binary.AppendUvarint(dst, uint64(len(v.str))), v.str...)
	case List:
		dst = binary.AppendUvarint(dst, uint64(len(*v.list)))
		for _, e := range *v.list {
			dst = AppendValue(dst, e)
		}
		return dst
	case tinyInt, hugeInt:
		panic(v.wrong("encoding"))
	}
	return binary.AppendVarint(dst, int64(v.lo))
}

func canonicalNaN(f float64) float64 {
	if f != f {
		return math.NaN()
	}
	return f
}

// DecodeValue reads a value from the start of src and returns how many bytes it took. The error wraps ErrMalformed.
// Any input is safe.
func DecodeValue(src []byte) (Value, int, error) {
	d := decoder{src: src}
	v := d.value(0)
	if d.err != nil {
		return Value{}, 0, d.err
	}
	return v, d.pos, nil
}

// decoder reads from src and remembers the first error; after it, it returns zero values.
type decoder struct {
	src []byte
	pos int
	err error
}

func (d *decoder) fail() { d.err = ErrMalformed; d.pos = len(d.src) }

func (d *decoder) byte() byte {
	if d.pos >= len(d.src) {
		d.fail()
		return 0
	}
	d.pos++
	return d.src[d.pos-1]
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.src)-d.pos) {
		d.fail()
		return nil
	}
	b := d.src[d.pos : d.pos+int(n)]
	d.pos += int(n)
	return b
}

// fixed takes n bytes, zeros if there are not enough.
func (d *decoder) fixed(n int) []byte {
	if b := d.take(uint64(n)); b != nil {
		return b
	}
	return make([]byte, n)
}

func (d *decoder) uvarint() uint64 {
	u, n := binary.Uvarint(d.src[d.pos:])
	if n <= 0 || n > 1 && d.src[d.pos+n-1] == 0 {
		d.fail()
		return 0
	}
	d.pos += n
	return u
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// count reads a number of items of at least one byte each.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.src)-d.pos) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) string() string { return string(d.take(d.uvarint())) }

func (d *decoder) text() string {
	s := d.string()
	if !utf8.ValidString(s) {
		d.fail()
	}
	return s
}

func (d *decoder) value(depth int) Value {
	if depth > maxDepth {
		d.fail()
		return Value{}
	}
	switch k := Kind(d.byte()); k {
	case Null:
		return Value{}
	case Bool:
		b := d.byte()
		if b > 1 {
			d.fail()
		}
		return BoolOf(b == 1)
	case SmallInt, Integer, BigInt, Date, Time, Timestamp, TimestampTZ:
		return d.integer(k)
	case Real:
		return FloatOf(Real, canonicalNaN(float64(math.Float32frombits(binary.LittleEndian.Uint32(d.fixed(4))))))
	case Double:
		return FloatOf(Double, canonicalNaN(math.Float64frombits(binary.LittleEndian.Uint64(d.fixed(8)))))
	case Decimal:
		return d.decimal()
	case UUID:
		return UUIDOf([16]byte(d.fixed(16)))
	case Text:
		return TextOf(d.text())
	case Blob:
		return Value{kind: Blob, str: d.string()}
	case JSON:
		s := d.string()
		if d.err == nil && !ValidJSON(s) {
			d.fail()
		}
		return JSONOf(s)
	case List:
		return d.list(depth)
	}
	d.fail()
	return Value{}
}

func (d *decoder) integer(k Kind) Value {
	i := d.varint()
	low, high := intRange(k)
	switch k {
	case Date:
		low, high = -infinityDate, infinityDate
	case Time:
		low, high = 0, microsPerDay
	case Timestamp, TimestampTZ:
		low, high = -infinityTimestamp, infinityTimestamp
	}
	if i < low || i > high {
		d.fail()
		return Value{}
	}
	return IntOf(k, i)
}

func (d *decoder) decimal() Value {
	scale := d.byte()
	b := d.fixed(16)
	u := int128{lo: binary.LittleEndian.Uint64(b), hi: int64(binary.LittleEndian.Uint64(b[8:]))}
	if scale > maxPrecision || !fits(u, maxPrecision) {
		d.fail()
	}
	return decimalOf(u, scale)
}

func (d *decoder) list(depth int) Value {
	n := d.count()
	vs := make([]Value, 0, min(n, 64))
	elem := Null
	for range n {
		v := d.value(depth + 1)
		if d.err != nil {
			return Value{}
		}
		if v.kind != Null {
			if elem != Null && elem != v.kind {
				d.fail()
				return Value{}
			}
			elem = v.kind
		}
		vs = append(vs, v)
	}
	return ListOf(vs)
}

func appendType(dst []byte, t Type) []byte {
	dst = append(dst, byte(t.Kind))
	switch t.Kind {
	case Decimal:
		return append(dst, t.Precision, t.Scale)
	case List:
		return appendType(dst, *t.Elem)
	}
	return dst
}

func (d *decoder) typ() Type {
	var t Type
	for depth := 0; ; depth++ {
		k := Kind(d.byte())
		if k == List && depth < maxTypeDepth {
			continue
		}
		t = typeOf(k)
		if k == Decimal {
			t.Precision, t.Scale = d.byte(), d.byte()
		}
		if !t.Valid() {
			d.fail()
			return Type{Kind: Text}
		}
		for ; depth > 0; depth-- {
			t = listType(t)
		}
		return t
	}
}
