package materializer

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/query/expr"
)

// The first byte of every encoded Batch: its format. batchFormat is written; the older one lacks the bounds of the idempotency memory, which are the
// default then.
const (
	batchFormat1 = 1
	batchFormat  = 2
)

// The bits of a mutation's first byte.
const (
	opBits      = 0x07
	bitSkip     = 0x08 // Miss is Skip
	bitWhere    = 0x10
	bitVersion  = 0x20
	bitSameHome = 0x40 // table and schema are those of the mutation before
)

// EncodeBatch returns the bytes that DecodeBatch reads. FORMAT.md draws them.
func EncodeBatch(b *Batch) []byte {
	size := 64 + len(b.IdempotencyKey) + len(b.Caller)
	for i := range b.Mutations {
		size += 24 + len(b.Mutations[i].Key) + len(b.Mutations[i].Row)
	}
	dst := append(make([]byte, 0, size), batchFormat)
	dst = appendBytes(dst, b.IdempotencyKey)
	if b.IdempotencyKey != "" {
		m := b.Memory.orDefault()
		dst = binary.AppendUvarint(dst, uint64(m.Keys))
		dst = binary.AppendUvarint(dst, uint64(m.Age.Microseconds()))
	}
	dst = binary.LittleEndian.AppendUint64(dst, b.Fingerprint)
	dst = appendBytes(dst, b.Caller)
	dst = binary.AppendUvarint(dst, uint64(len(b.Mutations)))
	var last *Mutation
	for i := range b.Mutations {
		m := &b.Mutations[i]
		dst = appendMutation(dst, m, last)
		last = m
	}
	return dst
}

func appendMutation(dst []byte, m, last *Mutation) []byte {
	head := byte(m.Op) & opBits
	if m.Miss == Skip {
		head |= bitSkip
	}
	if m.Where != nil {
		head |= bitWhere
	}
	if m.Version >= 0 {
		head |= bitVersion
	}
	same := last != nil && last.Partition.Table == m.Partition.Table && last.Schema == m.Schema
	if same {
		head |= bitSameHome
	}
	dst = append(dst, head)
	if !same {
		dst = binary.AppendUvarint(dst, uint64(m.Partition.Table))
		dst = binary.AppendUvarint(dst, uint64(m.Schema))
	}
	dst = binary.AppendUvarint(dst, uint64(m.Partition.ID))
	dst = appendBytes(dst, m.Key)
	switch m.Op {
	case Insert, Upsert:
		dst = appendBytes(dst, m.Row)
	case Patch:
		dst = binary.AppendUvarint(dst, uint64(len(m.Set)))
		for _, a := range m.Set {
			dst = binary.AppendUvarint(dst, uint64(a.Column))
			dst = appendBytes(dst, expr.Encode(a.Expr))
		}
	case Remove, Check:
	}
	if m.Where != nil {
		dst = appendBytes(dst, expr.Encode(m.Where))
	}
	if m.Version >= 0 {
		dst = binary.AppendUvarint(dst, uint64(m.Version))
	}
	return dst
}

// DecodeBatch reads what EncodeBatch wrote; its byte slices share raw's memory. It fails with ErrDamaged on anything else.
func DecodeBatch(raw []byte) (*Batch, error) {
	var r batchReader
	if err := r.reset(raw); err != nil {
		return nil, err
	}
	b := &Batch{IdempotencyKey: string(r.idempotencyKey), Memory: r.memory, Fingerprint: r.fingerprint, Caller: string(r.caller)}
	b.Mutations = make([]Mutation, 0, r.left)
	for {
		m, err := r.next()
		if err != nil {
			return nil, err
		}
		if m == nil {
			return b, nil
		}
		full, err := m.decode()
		if err != nil {
			return nil, err
		}
		b.Mutations = append(b.Mutations, full)
	}
}

// rawMutation is a Mutation whose expressions are still encoded: apply looks them up among those it has compiled.
type rawMutation struct {
	op        MutationOp
	partition log.Partition
	schema    uint32
	key       []byte
	row       []byte
	set       []rawAssignment
	where     []byte // nil: none
	version   int64
	miss      OnMiss
}

type rawAssignment struct {
	column int
	expr   []byte
}

func (m *rawMutation) decode() (Mutation, error) {
	out := Mutation{
		Op: m.op, Partition: m.partition, Schema: m.schema, Key: m.key, Row: m.row, Version: m.version, Miss: m.miss,
	}
	var err error
	if m.where != nil {
		if out.Where, err = expr.Decode(m.where); err != nil {
			return Mutation{}, fmt.Errorf("decode condition: %w", err)
		}
	}
	for _, a := range m.set {
		n, err := expr.Decode(a.expr)
		if err != nil {
			return Mutation{}, fmt.Errorf("decode assignment: %w", err)
		}
		out.Set = append(out.Set, Assignment{Column: a.column, Expr: n})
	}
	return out, nil
}

// batchReader goes through an encoded Batch without allocating.
type batchReader struct {
	d              decoder
	idempotencyKey []byte
	memory         Memory // zero without a key
	fingerprint    uint64
	caller         []byte
	left           int // mutations not read yet
	m              rawMutation
}

// reset reads the frame around the mutations.
func (r *batchReader) reset(raw []byte) error {
	r.d = decoder{src: raw}
	r.m = rawMutation{set: r.m.set[:0]}
	format := r.d.byte()
	if format != batchFormat && format != batchFormat1 {
		return fmt.Errorf("batch: %w", ErrDamaged)
	}
	r.idempotencyKey = r.d.bytes()
	r.memory = r.d.memory(format, len(r.idempotencyKey) > 0)
	r.fingerprint = r.d.fixed64()
	r.caller = r.d.bytes()
	r.left = r.d.count(3)
	if r.d.bad {
		return fmt.Errorf("batch: %w", ErrDamaged)
	}
	return nil
}

// memory reads the bounds that follow an idempotency key.
func (d *decoder) memory(format byte, keyed bool) Memory {
	switch {
	case !keyed:
		return Memory{}
	case format == batchFormat1:
		return Memory{}.orDefault()
	}
	m := Memory{Keys: int(d.upTo(math.MaxInt32)), Age: time.Duration(d.upTo(math.MaxInt64/1000)) * time.Microsecond}
	if m.Keys == 0 || m.Age == 0 {
		d.fail()
	}
	return m
}

// next returns the next mutation, valid until next is called again, or nil after the last.
func (r *batchReader) next() (*rawMutation, error) {
	if r.left == 0 {
		if len(r.d.src) > 0 {
			return nil, fmt.Errorf("batch: %d bytes too many: %w", len(r.d.src), ErrDamaged)
		}
		return nil, nil
	}
	r.left--
	if r.read(); r.d.bad {
		return nil, fmt.Errorf("mutation: %w", ErrDamaged)
	}
	return &r.m, nil
}

func (r *batchReader) read() {
	d, m := &r.d, &r.m
	head := d.byte()
	m.op = MutationOp(head & opBits)
	m.miss = Refuse
	if head&bitSkip != 0 {
		m.miss = Skip
	}
	if head&bitSameHome == 0 {
		m.partition.Table = log.TableID(d.uint32())
		m.schema = d.uint32()
	}
	m.partition.ID = log.PartitionID(d.uint16())
	m.key = d.bytes()
	m.row, m.set, m.where = nil, m.set[:0], nil
	switch m.op {
	case Insert, Upsert:
		m.row = d.bytes()
	case Patch:
		for range d.count(2) {
			m.set = append(m.set, rawAssignment{column: int(d.uint16()), expr: d.bytes()})
		}
	case Remove, Check:
	default:
		d.fail()
	}
	if head&bitWhere != 0 {
		m.where = d.bytes()
	}
	m.version = AnyVersion
	if head&bitVersion != 0 {
		m.version = int64(d.upTo(1<<63 - 1))
	}
}
