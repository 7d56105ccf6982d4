package materializer

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

func TestRowRoundTrip(t *testing.T) {
	table := everyType(t)
	rapid.Check(t, func(t *rapid.T) {
		values := drawRow(t, table.Schema())
		raw, err := EncodeRow([]byte("before"), table.Schema(), values)
		if err != nil {
			t.Fatal(err)
		}
		if string(raw[:6]) != "before" {
			t.Fatal("EncodeRow does not append")
		}
		row, err := table.DecodeRow(raw[6:])
		if err != nil {
			t.Fatal(err)
		}
		for i := range values {
			if got := row.Column(i); !sameValue(got, values[i]) {
				t.Fatalf("column %d is %v, want %v", i, got, values[i])
			}
		}
		got := row.Values()
		clear(raw)
		wantValues(t, got, values)
	})
}

// TestRowDamage changes and cuts rows: decoding fails, or gives values of the columns' types.
func TestRowDamage(t *testing.T) {
	table := everyType(t)
	rapid.Check(t, func(t *rapid.T) {
		raw, err := EncodeRow(nil, table.Schema(), drawRow(t, table.Schema()))
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "cut") {
			raw = raw[:rapid.IntRange(0, len(raw)-1).Draw(t, "length")]
		} else {
			raw[rapid.IntRange(0, len(raw)-1).Draw(t, "place")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		readRow(t, table, raw)
	})
}

func readRow(t interface{ Fatalf(string, ...any) }, table *Table, raw []byte) {
	row, err := table.DecodeRow(raw)
	if err != nil {
		if !errors.Is(err, ErrDamaged) {
			t.Fatalf("DecodeRow: %v", err)
		}
		return
	}
	for i, c := range table.Schema().Columns {
		if v := row.Column(i); !v.IsNull() && v.Kind() != c.Type.Kind {
			t.Fatalf("column %s is a %v", c.Name, v.Kind())
		}
	}
}

func FuzzDecodeRow(f *testing.F) {
	table := everyType(f)
	rows := rapid.Custom(func(t *rapid.T) []expr.Value { return drawRow(t, table.Schema()) })
	for i := range 20 {
		raw, err := EncodeRow(nil, table.Schema(), rows.Example(i))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) { readRow(t, table, raw) })
}

func TestRowRefusals(t *testing.T) {
	s := &Schema{Version: 1, Columns: []Column{
		{ID: 1, Name: "id", Type: bigint, NotNull: true}, {ID: 2, Name: "d", Type: expr.Type{Kind: expr.Decimal, Precision: 10, Scale: 2}},
	}}
	for _, tt := range []struct {
		name   string
		values []expr.Value
		code   problem.Code
	}{
		{"NULL", []expr.Value{{}, {}}, problem.NotNull},
		{"other type", []expr.Value{str("1"), {}}, problem.TypeMismatch},
		{"too few", []expr.Value{big(1)}, problem.TypeMismatch},
		{"other scale", []expr.Value{big(1), expr.DecimalOf(0, 1, 3)}, problem.TypeMismatch},
		{"too wide", []expr.Value{big(1), expr.DecimalOf(1, 1, 2)}, problem.OutOfRange},
	} {
		if _, err := EncodeRow(nil, s, tt.values); !problem.Is(err, tt.code) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.code)
		}
	}
}

// TestRowEvolution reads rows of the first version through the third.
func TestRowEvolution(t *testing.T) {
	integer, double := expr.Type{Kind: expr.Integer}, expr.Type{Kind: expr.Double}
	literal := func(v expr.Value) *Default { return &Default{Literal: expr.AppendValue(nil, v)} }
	table := &Table{ID: 1000, Namespace: "app", Name: "t", Kind: Shared, Partitions: 1, Versions: []*Schema{
		{Version: 1, Key: []int{0}, Columns: []Column{
			{ID: 1, Name: "id", Type: integer}, {ID: 2, Name: "dropped", Type: text}, {ID: 3, Name: "widened", Type: integer}, {ID: 4, Name: "named", Type: text},
		}},
		{Version: 2, Key: []int{0}, Columns: []Column{
			{ID: 1, Name: "id", Type: bigint},
			{ID: 3, Name: "widened", Type: bigint},
			{ID: 4, Name: "renamed", Type: text},
			{ID: 5, Name: "added", Type: integer, NotNull: true, Default: literal(expr.IntOf(expr.Integer, 7))},
		}},
		{Version: 3, Key: []int{1}, Columns: []Column{
			{ID: 4, Name: "renamed", Type: text},
			{ID: 1, Name: "id", Type: bigint},
			{ID: 3, Name: "widened", Type: bigint},
			{ID: 5, Name: "added", Type: double, NotNull: true, Default: literal(expr.FloatOf(expr.Double, 8))},
			{ID: 6, Name: "later", Type: text},
			{ID: 7, Name: "generated", Type: text, Default: &Default{Func: "ulid"}},
		}},
	}}
	if err := table.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, prepared := range []bool{false, true} {
		if prepared {
			table.prepare()
		}
		raw, err := EncodeRow(nil, table.SchemaAt(1), []expr.Value{
			expr.IntOf(expr.Integer, 1), str("x"), expr.IntOf(expr.Integer, -2), str("n"),
		})
		if err != nil {
			t.Fatal(err)
		}
		row, err := table.DecodeRow(raw)
		if err != nil {
			t.Fatal(err)
		}
		wantValues(t, row.Values(), []expr.Value{str("n"), big(1), big(-2), expr.FloatOf(expr.Double, 7), {}, {}})
	}
	unknown, err := EncodeRow(nil, &Schema{Version: 4, Columns: table.Schema().Columns}, []expr.Value{{}, big(1), {}, expr.FloatOf(expr.Double, 7), {}, {}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.DecodeRow(unknown); !errors.Is(err, ErrDamaged) {
		t.Errorf("a row of an unknown version: %v", err)
	}
}

func TestColumnDoesNotAllocate(t *testing.T) {
	table := everyType(t)
	values := rapid.Custom(func(t *rapid.T) []expr.Value {
		var values []expr.Value
		for _, c := range table.Schema().Columns {
			values = append(values, drawValue(t, c.Type))
		}
		return values
	}).Example(1)
	raw, err := EncodeRow(nil, table.Schema(), values)
	if err != nil {
		t.Fatal(err)
	}
	row, err := table.DecodeRow(raw)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range table.Schema().Columns {
		if c.Type.Kind == expr.Blob || c.Type.Kind == expr.List {
			continue
		}
		if n := testing.AllocsPerRun(100, func() { row.Column(i) }); n > 0 {
			t.Errorf("column of type %s: %v allocations", c.Type, n)
		}
	}
}
