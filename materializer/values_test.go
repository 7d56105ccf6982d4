package materializer

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"kalamlog.dev/kalam/query/expr"
)

// scalarTypes are those that may stand in a key.
func scalarTypes() []expr.Type {
	return []expr.Type{
		{Kind: expr.Bool},
		{Kind: expr.SmallInt},
		{Kind: expr.Integer},
		{Kind: expr.BigInt},
		{Kind: expr.Real},
		{Kind: expr.Double},
		{Kind: expr.Decimal, Precision: 10, Scale: 2},
		{Kind: expr.Decimal, Precision: 38, Scale: 5},
		{Kind: expr.Text},
		{Kind: expr.Blob},
		{Kind: expr.Date},
		{Kind: expr.Time},
		{Kind: expr.Timestamp},
		{Kind: expr.TimestampTZ},
		{Kind: expr.UUID},
	}
}

func allTypes() []expr.Type {
	integers := expr.Type{Kind: expr.Integer}
	return append(scalarTypes(), expr.Type{Kind: expr.JSON}, expr.Type{Kind: expr.List, Elem: &integers}, expr.Type{Kind: expr.List, Elem: &text})
}

func drawText(t *rapid.T, label string) string {
	return rapid.OneOf(rapid.StringOfN(rapid.RuneFrom([]rune{0, 1, 'a', 'b', 0x7f, 'ä', '世'}), 0, 6, -1), rapid.StringN(0, 40, -1)).Draw(t, label)
}

func drawFloat(t *rapid.T) float64 {
	return rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.NaN(), 1, -1})).Draw(t, "float")
}

// drawValue draws a value of a type, not NULL.
func drawValue(t *rapid.T, typ expr.Type) expr.Value {
	switch typ.Kind {
	case expr.Bool:
		return expr.BoolOf(rapid.Bool().Draw(t, "bool"))
	case expr.SmallInt:
		return expr.IntOf(typ.Kind, int64(rapid.Int16().Draw(t, "smallint")))
	case expr.Integer, expr.Date:
		return expr.IntOf(typ.Kind, int64(rapid.Int32().Draw(t, "integer")))
	case expr.BigInt, expr.Time, expr.Timestamp, expr.TimestampTZ:
		return expr.IntOf(typ.Kind, rapid.Int64().Draw(t, "bigint"))
	case expr.Real, expr.Double:
		return expr.FloatOf(typ.Kind, drawFloat(t))
	case expr.Decimal:
		lo := rapid.Int64Range(-9_999_999_999, 9_999_999_999).Draw(t, "decimal")
		hi := uint64(lo >> 63)
		if typ.Precision > 18 {
			hi = uint64(rapid.Int64Range(-1000, 1000).Draw(t, "decimal high"))
		}
		return expr.DecimalOf(hi, uint64(lo), typ.Scale)
	case expr.Text:
		return expr.TextOf(drawText(t, "text"))
	case expr.Blob:
		return expr.BlobOf(rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "blob"))
	case expr.UUID:
		return expr.UUIDOf([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid")))
	case expr.JSON:
		return expr.JSONOf(rapid.SampledFrom([]string{"null", `{"a": [1, 2]}`, "17", `"x"`}).Draw(t, "json"))
	case expr.List:
		var vs []expr.Value
		for range rapid.IntRange(0, 3).Draw(t, "elements") {
			vs = append(vs, drawNullable(t, *typ.Elem))
		}
		return expr.ListOf(vs)
	default:
		panic("no such type")
	}
}

func drawNullable(t *rapid.T, typ expr.Type) expr.Value {
	if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
		return expr.Value{}
	}
	return drawValue(t, typ)
}

// sameValue compares values of one type; equal lists and NaNs are the same, NULL is only NULL.
func sameValue(a, b expr.Value) bool {
	return string(expr.AppendValue(nil, a)) == string(expr.AppendValue(nil, b))
}

func wantValues(t interface{ Fatalf(string, ...any) }, got, want []expr.Value) {
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	for i := range got {
		if !sameValue(got[i], want[i]) {
			t.Fatalf("value %d is %v, want %v", i, got[i], want[i])
		}
	}
}

// everyType is a table with a column of each type; the first is the key.
func everyType(t testing.TB) *Table {
	t.Helper()
	s := &Schema{Version: 1, Key: []int{0}, Columns: []Column{{ID: 1, Name: "id", Type: bigint, NotNull: true}}}
	for i, typ := range allTypes() {
		s.Columns = append(s.Columns, Column{ID: uint32(i + 2), Name: "c" + string(rune('a'+i)), Type: typ})
	}
	table := &Table{ID: 1000, Namespace: "app", Name: "every", Kind: Shared, Partitions: 4, Versions: []*Schema{s}}
	if err := table.Validate(); err != nil {
		t.Fatal(err)
	}
	table.prepare()
	return table
}

func drawRow(t *rapid.T, s *Schema) []expr.Value {
	values := make([]expr.Value, len(s.Columns))
	for i, c := range s.Columns {
		if c.NotNull {
			values[i] = drawValue(t, c.Type)
		} else {
			values[i] = drawNullable(t, c.Type)
		}
	}
	return values
}
