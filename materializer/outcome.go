package materializer

import (
	"encoding/binary"
	"fmt"
	"math"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/query/expr"
)

// resultFormat is the first byte of every result that apply gives a proposer.
const resultFormat = 1

// The kinds of result.
const (
	resultApplied  = 1
	resultReplayed = 2
	resultRefused  = 3
)

// Refusal is the detail of a batch that was refused, behind the *problem.Error of Writer.Write (errors.As finds it).
type Refusal struct {
	Mutation int    // place in the batch
	Key      string // JSON object of the key columns, "" if none or longer than maxConflictKey
	Version  int64  // current version of the key's row, problem.NoVersion if it does not exist
}

func (r *Refusal) Error() string { return fmt.Sprintf("mutation %d, key %s", r.Mutation, r.Key) }

// maxConflictKey bounds what a refusal says of the key that it is about, in bytes.
const maxConflictKey = 4096

// conflictKey shows an encoded key to programs: {"id":5}. It is "" for one that is too long.
func conflictKey(s *Schema, key []byte) string {
	values, err := DecodeKey(s, key)
	if err != nil {
		return ""
	}
	out := []byte{'{'}
	for i, v := range values {
		if i > 0 {
			out = append(out, ',')
		}
		out = expr.AppendJSON(out, expr.TextOf(s.Columns[s.Key[i]].Name))
		out = expr.AppendJSON(append(out, ':'), v)
		if len(out) >= maxConflictKey {
			return ""
		}
	}
	return string(append(out, '}'))
}

// refusedAs joins a refusal to its problem. Programs are told which row it is about where that can be acted upon.
func refusedAs(p *problem.Error, r *Refusal) *problem.Error {
	switch p.Code {
	case problem.DuplicateKey, problem.KeyNotFound, problem.VersionConflict:
		if r.Key != "" {
			p = p.Meeting(problem.Conflict{Key: r.Key, Version: r.Version})
		}
	default:
	}
	return p.Because(r)
}

func appendRefused(dst []byte, p *problem.Error, r *Refusal) []byte {
	dst = append(dst, resultFormat, resultRefused)
	dst = appendBytes(dst, string(p.Code))
	dst = appendBytes(dst, p.Message)
	dst = appendBytes(dst, p.Hint)
	dst = binary.AppendUvarint(dst, uint64(r.Mutation))
	dst = appendBytes(dst, r.Key)
	return binary.AppendVarint(dst, r.Version)
}

// appendResult encodes a batch that was applied, now or at an earlier time.
func appendResult(dst []byte, kind byte, group log.GroupID, index log.Index, applied []byte) []byte {
	dst = append(dst, resultFormat, kind)
	dst = binary.AppendUvarint(dst, uint64(group))
	dst = binary.AppendUvarint(dst, uint64(index))
	return append(dst, applied...)
}

// appendApplied encodes the fate of a batch's mutations. As a batch's changes of one partition have consecutive offsets, a partition's first offset and
// runs of mutations that went to it are enough.
func appendApplied(dst []byte, applied []Applied) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(applied)))
	homes := homesOf(applied)
	dst = binary.AppendUvarint(dst, uint64(len(homes)))
	for _, h := range homes {
		dst = binary.AppendUvarint(dst, uint64(h.partition.Table))
		dst = binary.AppendUvarint(dst, uint64(h.partition.ID))
		dst = binary.AppendUvarint(dst, uint64(h.next))
	}
	for i := 0; i < len(applied); {
		place, run := placeOf(homes, applied[i]), 1
		for i+run < len(applied) && placeOf(homes, applied[i+run]) == place {
			run++
		}
		dst = binary.AppendUvarint(dst, uint64(place))
		dst = binary.AppendUvarint(dst, uint64(run))
		i += run
	}
	return dst
}

// home is a partition that a batch has changed, and the next offset there.
type home struct {
	partition log.Partition
	next      log.Offset
}

// homesOf lists the partitions of applied, with the first offset in each.
func homesOf(applied []Applied) []home {
	var homes []home
	for _, a := range applied {
		if a.Done && placeOf(homes, a) == len(homes)+1 {
			homes = append(homes, home{a.Partition, a.Offset})
		}
	}
	return homes
}

// placeOf numbers where a mutation went: 0 for one that was skipped, i+1 for homes[i], len(homes)+1 for none of them.
func placeOf(homes []home, a Applied) int {
	if !a.Done {
		return 0
	}
	for i := range homes {
		if homes[i].partition == a.Partition {
			return i + 1
		}
	}
	return len(homes) + 1
}

// maxApplied bounds what a decoder allocates for runs: more mutations do not fit into a batch.
const maxApplied = 1 << 24

func (d *decoder) applied() []Applied {
	n := int(d.upTo(maxApplied))
	homes := make([]home, d.count(3))
	for i := range homes {
		homes[i].partition = log.Partition{Table: log.TableID(d.uint32()), ID: log.PartitionID(d.uint16())}
		homes[i].next = log.Offset(d.uvarint())
	}
	var out []Applied
	for len(out) < n && !d.bad {
		place := int(d.upTo(uint64(len(homes))))
		run := int(d.upTo(uint64(n - len(out))))
		if run == 0 {
			d.fail()
			break
		}
		for range run {
			out = append(out, takeOffset(homes, place))
		}
	}
	return out
}

func takeOffset(homes []home, place int) Applied {
	if place == 0 {
		return Applied{}
	}
	h := &homes[place-1]
	a := Applied{Done: true, Partition: h.partition, Offset: h.next}
	h.next++
	return a
}

// result is a decoded answer of apply.
type result struct {
	Outcome
	group log.GroupID // of Index
}

// decodeResult reads an answer of apply. A refusal is the *problem.Error it returns.
func decodeResult(raw []byte) (result, error) {
	d := decoder{src: raw}
	if d.byte() != resultFormat {
		d.fail()
	}
	var out result
	switch d.byte() {
	case resultReplayed:
		out.Replayed = true
		fallthrough
	case resultApplied:
		out.group = log.GroupID(d.uvarint())
		out.Index = log.Index(d.uvarint())
		out.Applied = d.applied()
	case resultRefused:
		p := &problem.Error{Code: problem.Code(d.bytes()), Message: string(d.bytes()), Hint: string(d.bytes())}
		r := &Refusal{Mutation: int(d.upTo(math.MaxInt32)), Key: string(d.bytes()), Version: d.varint()}
		if !d.bad {
			return result{}, refusedAs(p, r)
		}
	default:
		d.fail()
	}
	if d.bad || len(d.src) > 0 {
		return result{}, fmt.Errorf("result of apply: %w", ErrDamaged)
	}
	return out, nil
}
