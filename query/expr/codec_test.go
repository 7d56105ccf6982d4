package expr

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
)

func TestValueCodecRoundTrip(t *testing.T) {
	g := newGenerator(seedOf(t), 1000)
	for _, row := range g.rows {
		var buf []byte
		for _, v := range row {
			buf = AppendValue(buf, v)
		}
		rest := buf
		for i, v := range row {
			got, n, err := DecodeValue(rest)
			if err != nil || Compare(got, v) != 0 || got.kind != v.kind {
				t.Fatalf("%s %s reads back as %s, %v", g.fields[i].Type, v, got, err)
			}
			rest = rest[n:]
		}
		if len(rest) != 0 {
			t.Fatalf("%d bytes are left", len(rest))
		}
	}
}

func TestNodeCodecRoundTrip(t *testing.T) {
	g := newGenerator(seedOf(t), 0)
	for range 3000 {
		n := g.any(4)
		b := Encode(n)
		got, err := Decode(b)
		if err != nil || SQL(got) != SQL(n) || !bytes.Equal(Encode(got), b) {
			t.Fatalf("%s reads back as %v, %v", SQL(n), got, err)
		}
	}
	p := Case{Operand: nil, Whens: []When{{Param{Number: 3}, Literal{}}}, Else: nil}
	if got, err := Decode(Encode(p)); err != nil || !reflect.DeepEqual(got, Node(p)) {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestCodecIsStable pins the bytes: they are stored.
func TestCodecIsStable(t *testing.T) {
	n := Binary{
		Op: "AND", L: In{X: Column{Name: "a"}, List: []Node{Literal{Value: IntOf(BigInt, -2)}, Literal{Value: TextOf("x")}}, Not: true},
		R: Cast{X: Call{Name: "f", Args: []Node{Param{Number: 1}}}, Type: listType(decimalType(4, 2)), Try: true},
	}
	const want = "010503414e440601020161020104030108" + "0178" + "0901100704020a016601" + "0301"
	if got := hex.EncodeToString(Encode(n)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for want, v := range map[string]Value{
		"00": {}, "0101": BoolOf(true), "0404": IntOf(BigInt, 2), "050000803f": FloatOf(Real, 1), "06000000000000f03f": FloatOf(Double, 1),
		"0702" + "fb" + "ffffffffffffffffffffffffffffff": decimalOf(int128Of(-5), 2), "080161": TextOf("a"),
		"0e000102030405060708090a0b0c0d0e0f": UUIDOf([16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}),
		"1002030200":                         ListOf([]Value{IntOf(Integer, 1), {}}),
	} {
		if got := hex.EncodeToString(AppendValue(nil, v)); got != want {
			t.Errorf("%s: got %s, want %s", v, got, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing": {}, "an unknown kind": {99}, "a bool of 2": {byte(Bool), 2}, "a cut varint": {byte(BigInt), 0x80}, "an overlong varint": {byte(BigInt), 0x80, 0x00},
		"a SMALLINT out of range": AppendValue(nil, Value{kind: SmallInt, lo: 40000}), "a cut text": {byte(Text), 5, 'a'}, "a huge text": {byte(Text), 0xff, 0xff, 0xff, 0xff, 0x0f},
		"a huge list": {byte(List), 0xff, 0xff, 0xff, 0xff, 0x0f}, "a mixed list": {byte(List), 2, byte(Bool), 1, byte(Text), 0}, "bad JSON": {byte(JSON), 1, '{'},
		"bad UTF-8": {byte(Text), 1, 0xff}, "a deep list": bytes.Repeat([]byte{byte(List), 1}, 5000), "a decimal of 39 digits": AppendValue(nil, decimalOf(maxInt128(), 0)),
		"a decimal of scale 40": AppendValue(nil, decimalOf(int128{}, 40)), "an internal kind": {byte(hugeInt), 0}, "a time of day beyond": AppendValue(nil, Value{kind: Time, lo: microsPerDay + 1}),
	} {
		if v, _, err := DecodeValue(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, %v", name, v.kind, err)
		}
	}
	for name, b := range map[string][]byte{
		"nothing": {}, "a newer version": {2, tagLiteral, 0}, "nil": {1, tagNil}, "trailing bytes": {1, tagLiteral, 0, 0}, "an unknown tag": {1, 77},
		"a deep tree": append([]byte{1}, bytes.Repeat([]byte{tagUnary, 1, '-'}, 5000)...), "parameter 0": {1, tagParam, 0}, "an IN without X": {1, tagIn, 0, tagNil, 0},
		"a cast to nothing": {1, tagCast, 0, 0, tagLiteral, 0}, "a flag of 2": {1, tagIn, 2, tagLiteral, 0, 0},
	} {
		if n, err := Decode(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, %v", name, n, err)
		}
	}
}

func FuzzDecodeValue(f *testing.F) {
	g := newGenerator(1, 20)
	for _, row := range g.rows {
		for _, v := range row {
			f.Add(AppendValue(nil, v))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, n, err := DecodeValue(b)
		if err != nil {
			return
		}
		if again := AppendValue(nil, v); v.kind != Real && v.kind != Double && v.kind != List && !bytes.Equal(again, b[:n]) {
			t.Fatalf("%x decodes to %s, which is %x", b[:n], v, again)
		}
		_ = v.String()
		_ = AppendJSON(nil, v)
	})
}

func FuzzDecode(f *testing.F) {
	g := newGenerator(1, 0)
	for range 50 {
		f.Add(Encode(g.any(3)))
	}
	fields := testFields()
	row := newGenerator(2, 1).rows[0]
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := Decode(b)
		if err != nil {
			return
		}
		if again, err := Decode(Encode(n)); err != nil || !bytes.Equal(Encode(again), Encode(n)) {
			t.Fatalf("%x does not read back: %v", b, err)
		}
		_ = SQL(n)
		if p, err := Compile(n, fields); err == nil {
			_, _ = p.Eval(row)
		}
	})
}
