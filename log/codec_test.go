package log

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"kalamlog.dev/kalam/internal/problem"
)

func part(group GroupID, index Index, seen uint32) Part { return Part{group, index, seen} }

func TestPositionTextForm(t *testing.T) {
	for text, parts := range map[string][]Part{
		"0":                        nil,
		"1:4711":                   {part(1, 4711, 0)},
		"1:4711.3":                 {part(1, 4711, 3)},
		"1:2,3:4.5":                {part(1, 2, 0), part(3, 4, 5)},
		"7:18446744073709551615.1": {part(7, math.MaxUint64, 1)},
	} {
		p, err := ParsePosition(text)
		if err != nil || !slices.Equal(p.Parts(), parts) || p.String() != text || PositionOf(parts...).String() != text {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
	for _, text := range []string{
		"", "1", "1:", ":1", "1:0", "0:1", "1:1.0", "1:1.", "01:1", "1:01", "1:+1", "1:-1", " 1:1", "1:1 ", "1:1,", ",1:1", "1:1,1:2", "2:1,1:1",
		"1:18446744073709551616", "1:1.4294967296", "1:1.1.1", "a:b", "1:1;2:2", "00",
	} {
		if p, err := ParsePosition(text); !problem.Is(err, problem.PositionInvalid) {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
}

func TestPositionOrder(t *testing.T) {
	ascending := []Position{
		{},
		PositionOf(part(1, 4, 1)), PositionOf(part(1, 4, 2)), PositionOf(part(1, 4, 0)), PositionOf(part(1, 5, 3)),
		PositionOf(part(1, 5, 3), part(2, 1, 0)), PositionOf(part(1, 6, 0), part(2, 1, 0)),
	}
	for i, p := range ascending {
		for j, q := range ascending {
			if p.Covers(q) != (i >= j) {
				t.Errorf("%s covers %s: %v", p, q, p.Covers(q))
			}
			if m := p.Max(q); m.String() != ascending[max(i, j)].String() {
				t.Errorf("max of %s and %s: %s", p, q, m)
			}
		}
	}
	a, b := PositionOf(part(1, 9, 0), part(2, 1, 0)), PositionOf(part(2, 2, 0))
	if a.Covers(b) || b.Covers(a) || a.Max(b).String() != "1:9,2:2" {
		t.Errorf("positions beside each other: %s", a.Max(b))
	}
	if !PositionOf(part(1, 0, 0)).IsZero() || PositionOf(part(2, 3, 1), part(1, 1, 0), part(2, 2, 0)).String() != "1:1,2:3.1" {
		t.Error("PositionOf does not normalize")
	}
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"0", "1:4711", "1:4711.3,2:1", "1:1,1:1", "", "9:9.9.9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePosition(s)
		if err != nil {
			if !problem.Is(err, problem.PositionInvalid) {
				t.Fatal(err)
			}
			return
		}
		if p.String() != s || !p.Covers(p) || p.Max(p).String() != s || PositionOf(p.Parts()...).String() != s {
			t.Fatalf("%q became %q", s, p)
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(appendEntry(nil, 5, [][]byte{[]byte("a"), nil, []byte("batch")}))
	f.Add(appendEntry(nil, -1, nil))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, data []byte) {
		var e entry
		if err := decodeEntry(data, &e); err != nil {
			return
		}
		var again entry
		if err := decodeEntry(appendEntry(nil, e.timestamp, e.batches), &again); err != nil {
			t.Fatal(err)
		}
		if again.timestamp != e.timestamp || !slices.EqualFunc(again.batches, e.batches, bytes.Equal) {
			t.Fatalf("%v became %v", e, again)
		}
	})
}

// frameOf returns the frame of records.
func frameOf(t testing.TB, p Partition, base Offset, records ...string) []byte {
	t.Helper()
	b := make([]byte, frameHeaderSize)
	for _, r := range records {
		b = appendBytes(b, []byte(r))
	}
	if err := sealFrame(b, partitionSeed(p), frame{base: base, count: uint32(len(records)), index: 9, timestamp: -4}); err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzDecodeFrame(f *testing.F) {
	p := Partition{3, 4}
	f.Add(frameOf(f, p, 7, "a", "", "record"), false)
	f.Add(frameOf(f, p, math.MaxUint64, "a"), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, data []byte, reseal bool) {
		if reseal && len(data) >= frameHeaderSize { // get past the checksum
			fr := frame{base: 1, count: uint32(len(data)) % 9, index: 1}
			if err := sealFrame(data, partitionSeed(p), fr); err != nil {
				t.Fatal(err)
			}
		}
		fr, err := decodeFrame(data, partitionSeed(p))
		if err != nil {
			return
		}
		if fr.size > int64(len(data)) || fr.count == 0 {
			t.Fatalf("frame %+v of %d bytes", fr, len(data))
		}
		records, err := fr.appendRecords(nil, p, fr.base)
		if err == nil && len(records) != int(fr.count) {
			t.Fatalf("%d records, want %d", len(records), fr.count)
		}
	})
}

func TestFramesOfOtherPartitionsDoNotPass(t *testing.T) {
	b := frameOf(t, Partition{3, 4}, 7, "a", "bc")
	if fr, err := decodeFrame(b, partitionSeed(Partition{3, 4})); err != nil || fr.base != 7 || fr.count != 2 || fr.index != 9 || fr.timestamp != -4 {
		t.Errorf("%+v, %v", fr, err)
	}
	if _, err := decodeFrame(b, partitionSeed(Partition{3, 5})); err == nil {
		t.Error("a frame of another partition passed")
	}
}

func FuzzDecodeIndex(f *testing.F) {
	seed := indexSeed(Partition{1, 2}, 30)
	two := appendIndexChunk(nil, seed, []indexEntry{{offset: 30, position: 0}, {offset: 40, index: 1, timestamp: 2, position: 5000}})
	f.Add(appendIndexChunk(two, seed, []indexEntry{{offset: 50, position: 9999}}))
	f.Add([]byte{1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, whole := decodeIndex(data, seed)
		if whole && len(data) > 0 && len(entries) == 0 {
			t.Fatal("a whole index without entries")
		}
		for i := 1; i < len(entries); i++ {
			if entries[i].offset <= entries[i-1].offset || entries[i].position <= entries[i-1].position {
				t.Fatalf("entries out of order: %v", entries)
			}
		}
	})
}

func TestTailPlan(t *testing.T) {
	for _, c := range []struct {
		bases        []Offset
		start, end   Offset
		keep, remove []Offset
		fails        bool
	}{
		{nil, 0, 0, nil, nil, false},
		{[]Offset{0}, 0, 0, nil, []Offset{0}, false},
		{[]Offset{0}, 0, 5, []Offset{0}, nil, false},
		{[]Offset{10, 0, 5}, 0, 7, []Offset{0, 5}, []Offset{10}, false},
		{[]Offset{0, 5, 10}, 0, 5, []Offset{0}, []Offset{10, 5}, false},
		{nil, 0, 5, nil, nil, true},
		{[]Offset{5}, 0, 5, nil, nil, true},
		{[]Offset{3}, 0, 5, nil, nil, true},
		{[]Offset{3}, 3, 5, []Offset{3}, nil, false},
		{[]Offset{3}, 4, 5, []Offset{3}, nil, false},
		{[]Offset{0, 3}, 4, 5, []Offset{0, 3}, nil, false},
		{[]Offset{4, 7}, 3, 9, nil, nil, true}, // one more than the start allows is missing
		{[]Offset{7}, 3, 5, nil, nil, true},
		{nil, 5, 5, nil, nil, false},
		{[]Offset{5}, 5, 5, nil, []Offset{5}, false},
		{[]Offset{0}, 6, 5, nil, nil, true},
	} {
		plan, err := planTail(c.bases, c.start, c.end)
		if (err != nil) != c.fails || !slices.Equal(plan.keep, c.keep) || !slices.Equal(plan.remove, c.remove) {
			t.Errorf("%v from %d until %d: %+v, %v", c.bases, c.start, c.end, plan, err)
		}
	}
}
