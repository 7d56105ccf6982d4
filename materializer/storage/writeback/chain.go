package writeback

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cespare/xxhash/v2"

	"kalamlog.dev/kalam/materializer/storage"
)

// A record is what the base holds under a key: CRC-32C of the space, the key and what follows (4), hash of the next key of the space (8), value. The
// records of a space form a chain from its head, a key below all others, to the end: a key that is missing, strays or is another space's breaks it. The
// head's value is the generation, the number of the flush, in which the space last changed; the registry knows it too.
const recordHeader = 4 + 8

// First bytes of the base's keys.
const (
	headTag = 0x00 // the head, alone
	keyTag  = 0x01 // + key
	pastTag = 0x02 // above every key
)

var (
	headKey    = []byte{headTag}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// endOfChain is the hash that stands for no next key.
const endOfChain uint64 = 0

func linkTo(key []byte) uint64 {
	if key == nil {
		return endOfChain
	}
	return max(xxhash.Sum64(key), 1)
}

func recordSum(s Space, key, rest []byte) uint32 {
	head := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+storage.MaxPartitionName), s.ID)
	sum := crc32.Checksum(append(head, s.Name...), castagnoli)
	return crc32.Update(crc32.Update(sum, castagnoli, key), castagnoli, rest)
}

func appendRecord(dst []byte, s Space, key []byte, next uint64, value []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, next)
	dst = append(dst, value...)
	binary.LittleEndian.PutUint32(dst[at:], recordSum(s, key, dst[at+4:]))
	return dst
}

// openRecord returns the parts of a record, in place.
func openRecord(s Space, key, record []byte) (next uint64, value []byte, err error) {
	if len(record) < recordHeader || binary.LittleEndian.Uint32(record) != recordSum(s, key, record[4:]) {
		return 0, nil, damage(s, "the checksum of key %x does not match", key)
	}
	return binary.LittleEndian.Uint64(record[4:]), record[recordHeader:len(record):len(record)], nil
}

func damage(s Space, format string, args ...any) error {
	return fmt.Errorf("partition %s: "+format+": %w", append(append([]any{s}, args...), storage.ErrDamaged)...)
}

// neighbours is a checked Around. hasHead is false for a space that has no record at all.
type neighbours struct {
	hasHead bool
	below   Pair   // the record below, its value opened
	next    uint64 // of the record below
	at      []byte // opened; nil: none
	above   uint64
}

// checkAround opens what is around key and checks that the chain leads over it.
func checkAround(s Space, key []byte, a Around) (neighbours, error) {
	if a.Below.Key == nil {
		if a.At != nil || a.Above != nil {
			return neighbours{}, damage(s, "nothing is below key %x", key)
		}
		return neighbours{above: endOfChain}, nil
	}
	if bytes.Compare(a.Below.Key, key) >= 0 || a.Above != nil && bytes.Compare(a.Above, key) <= 0 {
		return neighbours{}, damage(s, "keys around %x are out of order", key)
	}
	next, below, err := openRecord(s, a.Below.Key, a.Below.Value)
	if err != nil {
		return neighbours{}, err
	}
	n := neighbours{hasHead: true, below: Pair{a.Below.Key, below}, next: next, above: linkTo(a.Above)}
	expect := n.above
	if a.At != nil {
		expect = linkTo(key)
		leads, value, err := openRecord(s, key, a.At)
		if err != nil {
			return neighbours{}, err
		}
		if leads != n.above {
			return neighbours{}, damage(s, "the record after key %x is missing", key)
		}
		n.at = value
	}
	if next != expect {
		return neighbours{}, damage(s, "the record after key %x is missing", a.Below.Key)
	}
	return n, nil
}

// aroundMany is how many keys are asked about at a time.
const aroundMany = 512

// weaver turns the new cells of a space into the writes that keep its chain whole.
type weaver struct {
	space      Space
	generation uint64
	born       bool // the space is not in the base yet
	emit       func(Write)
	was        func(key, value []byte) // told what the base held under each key before; nil value: nothing

	// live is the last record of the new chain that is known so far, whose next is not; last is the last key woven, above the base's link behind it.
	live  *link
	last  []byte
	above uint64
}

// link is a record of the new chain.
type link struct {
	key, value []byte
	next       uint64 // in the base
	fresh      bool   // not in the base as it is
}

// weave emits the writes for cells, which ascend.
func (w *weaver) weave(r Reader, cells []cell) error {
	if err := w.begin(r); err != nil {
		return err
	}
	for len(cells) > 0 {
		some := cells[:min(len(cells), aroundMany)]
		cells = cells[len(some):]
		keys := make([][]byte, len(some))
		for i, c := range some {
			keys[i] = c.key
		}
		around, err := r.Around(w.space, keys)
		if err != nil {
			return err
		}
		for i, c := range some {
			n, err := checkAround(w.space, c.key, around[i])
			if err != nil {
				return err
			}
			if n.hasHead == w.born {
				return damage(w.space, "the head is missing or was not expected")
			}
			w.add(c, n)
		}
	}
	w.settle(w.above)
	return nil
}

// begin takes the head as the first record: it always changes.
func (w *weaver) begin(r Reader) error {
	w.live = &link{key: headKey, value: binary.AppendUvarint(nil, w.generation), fresh: true}
	w.last, w.above = headKey, endOfChain
	if w.born {
		return nil
	}
	next, _, err := readHead(r, w.space)
	w.above = next
	return err
}

// readHead returns the hash of the first key of s, and the generation of s.
func readHead(r Reader, s Space) (next, generation uint64, err error) {
	records, err := r.Values(s, [][]byte{headKey})
	if err != nil {
		return 0, 0, err
	}
	next, value, err := openRecord(s, headKey, records[0])
	if err != nil {
		return 0, 0, err
	}
	generation, n := binary.Uvarint(value)
	if n != len(value) {
		return 0, 0, damage(s, "its head has no meaning")
	}
	return next, generation, nil
}

func (w *weaver) add(c cell, n neighbours) {
	if bytes.Compare(n.below.Key, w.last) > 0 {
		// Records that stay as they are lie between the last key and this one.
		w.settle(w.above)
		w.live = &link{key: n.below.Key, value: n.below.Value, next: n.next}
	}
	w.was(c.key, n.at)
	switch {
	case !c.gone:
		w.settle(linkTo(c.key))
		w.live = &link{key: c.key, value: c.value, fresh: true}
	case n.at != nil:
		w.emit(Write{Space: w.space, Key: c.key})
	}
	w.last, w.above = c.key, n.above
}

// settle writes the live record, whose successor is known now.
func (w *weaver) settle(next uint64) {
	if l := w.live; l.fresh || l.next != next {
		record := appendRecord(make([]byte, 0, recordHeader+len(l.value)), w.space, l.key, next, l.value)
		w.emit(Write{Space: w.space, Key: l.key, Value: record})
	}
}
