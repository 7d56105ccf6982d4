package materializer

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

func keySchema(types ...expr.Type) *Schema {
	s := &Schema{Version: 1}
	for i, typ := range types {
		s.Columns = append(s.Columns, Column{ID: uint32(i + 1), Name: string(rune('a' + i)), Type: typ, NotNull: true})
		s.Key = append(s.Key, i)
	}
	return s
}

func drawKeyOf(t *rapid.T, s *Schema) []expr.Value {
	var key []expr.Value
	for _, c := range s.Key {
		key = append(key, drawValue(t, s.Columns[c].Type))
	}
	return key
}

// compareKeys orders keys column by column.
func compareKeys(a, b []expr.Value) int {
	for i := range a {
		if c := expr.Compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return 0
}

func mustKey(t interface{ Fatalf(string, ...any) }, key []expr.Value) []byte {
	raw, err := EncodeKey(nil, key)
	if err != nil {
		t.Fatalf("encode key: %v", err)
	}
	return raw
}

func TestKeyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		types := rapid.SliceOfN(rapid.SampledFrom(scalarTypes()), 1, 3).Draw(t, "types")
		s := keySchema(types...)
		a, b := drawKeyOf(t, s), drawKeyOf(t, s)
		if rapid.Bool().Draw(t, "same first") {
			b[0] = a[0]
		}
		rawA, rawB := mustKey(t, a), mustKey(t, b)
		if got, want := bytes.Compare(rawA, rawB), compareKeys(a, b); got != want {
			t.Fatalf("%v and %v compare as %d, their encodings as %d", a, b, want, got)
		}
		if !bytes.Equal(rawA, rawB) && (bytes.HasPrefix(rawA, rawB) || bytes.HasPrefix(rawB, rawA)) {
			t.Fatalf("one of %x and %x is a prefix of the other", rawA, rawB)
		}
		back, err := DecodeKey(s, rawA)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(mustKey(t, back), rawA) || compareKeys(a, back) != 0 {
			t.Fatalf("%v came back as %v", a, back)
		}
	})
}

func TestKeyEdges(t *testing.T) {
	ordered := [][]expr.Value{
		{
			expr.FloatOf(expr.Double, math.Inf(-1)), expr.FloatOf(expr.Double, -1), expr.FloatOf(expr.Double, 0), expr.FloatOf(expr.Double, math.SmallestNonzeroFloat64),
			expr.FloatOf(expr.Double, math.MaxFloat64), expr.FloatOf(expr.Double, math.Inf(1)), expr.FloatOf(expr.Double, math.NaN()),
		},
		{big(math.MinInt64), big(-1), big(0), big(1), big(math.MaxInt64)},
		{str(""), str("\x00"), str("\x00\x00"), str("\x00\x01"), str("\x00\xff"), str("\x01"), str("a"), str("a\x00"), str("aa"), str("b")},
	}
	for _, values := range ordered {
		if !slices.IsSortedFunc(values, func(a, b expr.Value) int {
			return bytes.Compare(mustKey(t, []expr.Value{a}), mustKey(t, []expr.Value{b}))
		}) {
			t.Errorf("%v are not in order", values)
		}
	}
	zero, negative := expr.FloatOf(expr.Double, 0), expr.FloatOf(expr.Double, math.Copysign(0, -1))
	if !bytes.Equal(mustKey(t, []expr.Value{zero}), mustKey(t, []expr.Value{negative})) {
		t.Error("0 and -0 are two keys")
	}
	if !bytes.Equal(mustKey(t, []expr.Value{expr.IntOf(expr.SmallInt, -5)}), mustKey(t, []expr.Value{big(-5)})) {
		t.Error("a widened integer is another key")
	}
	for code, bad := range map[problem.Code]expr.Value{problem.NotNull: {}, problem.InvalidDefinition: expr.JSONOf("1")} {
		if _, err := EncodeKey(nil, []expr.Value{bad}); !problem.Is(err, code) {
			t.Errorf("key of %v: %v, want %s", bad.Kind(), err, code)
		}
	}
}

func TestKeyText(t *testing.T) {
	s := keySchema(bigint, text)
	for want, key := range map[string][]expr.Value{"(5, a)": {big(5), str("a")}, "(-1, )": {big(-1), str("")}} {
		if got := keyText(s, mustKey(t, key)); got != want {
			t.Errorf("key reads %s, want %s", got, want)
		}
	}
	long := keyText(s, mustKey(t, []expr.Value{big(1), str(string(bytes.Repeat([]byte("é"), 500)))}))
	if len(long) > 220 {
		t.Errorf("a long key takes %d bytes in a message", len(long))
	}
	if got := keyText(s, []byte{1, 2}); got != "(0102)" {
		t.Errorf("a damaged key reads %s", got)
	}
}

func FuzzDecodeKey(f *testing.F) {
	types := scalarTypes()
	for i, typ := range types {
		rapidValue := rapid.Custom(func(t *rapid.T) expr.Value { return drawValue(t, typ) })
		raw, err := EncodeKey(nil, []expr.Value{rapidValue.Example(i)})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(i), byte(i+1), raw)
	}
	f.Fuzz(func(t *testing.T, a, b byte, raw []byte) {
		s := keySchema(types[int(a)%len(types)], types[int(b)%len(types)])
		if b%2 == 0 {
			s = keySchema(types[int(a)%len(types)])
		}
		key, err := DecodeKey(s, raw)
		if err != nil {
			return
		}
		if _, err := EncodeKey(nil, key); err != nil {
			t.Fatalf("a decoded key does not encode: %v", err)
		}
	})
}
