package materializer

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
)

func drawBytes(t *rapid.T, label string) []byte {
	return rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, label)
}

// drawAnyMutation draws a mutation as codecs see it: it need not make sense.
func drawAnyMutation(t *rapid.T) Mutation {
	m := Mutation{
		Op:        rapid.SampledFrom([]MutationOp{Insert, Upsert, Patch, Remove}).Draw(t, "op"),
		Partition: log.Partition{Table: log.TableID(rapid.Uint32Range(1, 3).Draw(t, "table")), ID: log.PartitionID(rapid.Uint16().Draw(t, "partition"))},
		Schema:    rapid.Uint32Range(1, 3).Draw(t, "schema"),
		Key:       drawBytes(t, "key"),
		Version:   rapid.SampledFrom([]int64{AnyVersion, 0, 1, math.MaxInt64}).Draw(t, "version"),
		Miss:      rapid.SampledFrom([]OnMiss{Refuse, Skip}).Draw(t, "miss"),
	}
	switch m.Op {
	case Insert, Upsert:
		m.Row = drawBytes(t, "row")
	case Patch:
		for range rapid.IntRange(1, 3).Draw(t, "assignments") {
			m.Set = append(m.Set, Assignment{Column: rapid.IntRange(0, 1000).Draw(t, "column"), Expr: op("+", column("n"), lit(big(1)))})
		}
	case Remove:
	}
	if rapid.Bool().Draw(t, "where") {
		m.Where = op("=", column("n"), lit(str(drawText(t, "text"))))
	}
	return m
}

func drawBatch(t *rapid.T) *Batch {
	b := &Batch{IdempotencyKey: drawText(t, "key"), Fingerprint: rapid.Uint64().Draw(t, "fingerprint"), Caller: drawText(t, "caller"), Mutations: []Mutation{}}
	if b.IdempotencyKey != "" {
		b.Memory = Memory{Keys: rapid.IntRange(1, 1<<30).Draw(t, "keys"), Age: time.Duration(rapid.Int64Range(1, 1<<50).Draw(t, "age")) * time.Microsecond}
	}
	for range rapid.IntRange(0, 5).Draw(t, "mutations") {
		b.Mutations = append(b.Mutations, drawAnyMutation(t))
	}
	return b
}

func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBatch(t)
		got, err := DecodeBatch(EncodeBatch(b))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, b) {
			t.Fatalf("got %+v, want %+v", got, b)
		}
	})
}

func FuzzDecodeBatch(f *testing.F) {
	batches := rapid.Custom(drawBatch)
	for i := range 20 {
		f.Add(EncodeBatch(batches.Example(i)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := DecodeBatch(raw)
		if err != nil {
			return
		}
		again, err := DecodeBatch(EncodeBatch(b))
		if err != nil || len(again.Mutations) != len(b.Mutations) {
			t.Fatalf("a decoded batch does not encode: %v", err)
		}
	})
}

func drawChange(t *rapid.T) Change {
	row := func(label string, version uint32) []byte {
		return append([]byte{rowFormat, byte(version)}, drawBytes(t, label)...)
	}
	c := Change{
		Op:        rapid.SampledFrom([]ChangeOp{RowInserted, RowUpdated, RowDeleted}).Draw(t, "op"),
		Partition: log.Partition{Table: 1000, ID: 3}, Offset: log.Offset(rapid.Uint64().Draw(t, "offset")), Index: 5, Timestamp: 7,
		Batch: rapid.Uint32().Draw(t, "batch"), Key: drawBytes(t, "key"),
	}
	if rapid.Bool().Draw(t, "previous") {
		c.HasPrevious = true
		c.Previous = log.Offset(rapid.Uint64Max(uint64(c.Offset)).Draw(t, "previous"))
	}
	if c.Op != RowInserted {
		c.Old, c.OldSchema, c.Schema = row("old", 2), 2, 2
	}
	if c.Op != RowDeleted {
		c.New, c.Schema = row("new", 3), 3
	}
	return c
}

func recordOf(c *Change) log.Record {
	return log.Record{Partition: c.Partition, Offset: c.Offset, Index: c.Index, Timestamp: c.Timestamp, Data: appendChange(nil, c)}
}

func TestChangeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawChange(t)
		got, err := DecodeChange(recordOf(&c))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, c) {
			t.Fatalf("got %+v, want %+v", got, c)
		}
	})
}

func FuzzDecodeChange(f *testing.F) {
	changes := rapid.Custom(drawChange)
	for i := range 20 {
		c := changes.Example(i)
		f.Add(uint64(c.Offset), recordOf(&c).Data)
	}
	f.Fuzz(func(t *testing.T, offset uint64, raw []byte) {
		c, err := DecodeChange(log.Record{Offset: log.Offset(offset), Data: raw})
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		again, err := DecodeChange(recordOf(&c))
		if err != nil || !bytes.Equal(again.Key, c.Key) || !bytes.Equal(again.New, c.New) || !bytes.Equal(again.Old, c.Old) {
			t.Fatalf("a decoded change does not encode: %v", err)
		}
	})
}

func TestResultRoundTrip(t *testing.T) {
	p := problem.New(problem.DuplicateKey, "message").WithHint("hint")
	_, err := decodeResult(appendRefused(nil, p, &Refusal{Mutation: 3, Key: "(1)", Version: AnyVersion}))
	var r *Refusal
	if got := problem.As(err); got == nil || got.Code != p.Code || got.Message != p.Message || got.Hint != p.Hint ||
		!errors.As(err, &r) || *r != (Refusal{3, "(1)", AnyVersion}) {
		t.Errorf("got %v %+v", err, r)
	}
	for _, raw := range [][]byte{nil, {resultFormat}, {resultFormat, 9}, {2, resultApplied}, {resultFormat, resultApplied, 1, 1, 0, 0, 0}} {
		if _, err := decodeResult(raw); !errors.Is(err, ErrDamaged) {
			t.Errorf("%x: %v", raw, err)
		}
	}
}

func FuzzDecodeResult(f *testing.F) {
	f.Add(appendRefused(nil, problem.New(problem.NotNull, "m"), &Refusal{}))
	f.Add(appendResult(nil, resultReplayed, 1, 2, appendApplied(nil, []Applied{{}, {Done: true, Offset: 5}})))
	f.Fuzz(func(_ *testing.T, raw []byte) { _, _ = decodeResult(raw) })
}

func FuzzDecodeState(f *testing.F) {
	f.Add(appendState(nil, 1, 2, []byte{1, 1}), appendCheckpoint(nil, checkpoint{group: 1}), appendReply(nil, reply{}))
	f.Fuzz(func(_ *testing.T, state, cp, r []byte) {
		_, _, _ = decodeState(state)
		_, _ = decodeCheckpoint(cp)
		_, _ = decodeReply(r)
	})
}
