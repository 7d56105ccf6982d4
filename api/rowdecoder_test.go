package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

// quakes is a table of the usual types.
func quakes(t testing.TB) *materializer.Table {
	t.Helper()
	columns := []materializer.Column{}
	for i, c := range []struct{ name, typ string }{
		{"id", "TEXT"},
		{"at", "TIMESTAMPTZ"},
		{"magnitude", "DOUBLE"},
		{"depth", "DECIMAL(10,3)"},
		{"place", "TEXT"},
		{"felt", "INTEGER"},
		{"reviewed", "BOOLEAN"},
		{"station", "BIGINT"},
		{"detail", "JSON"},
		{"tags", "TEXT[]"},
	} {
		typ, err := expr.ParseType(c.typ)
		if err != nil {
			t.Fatal(err)
		}
		columns = append(columns, materializer.Column{ID: uint32(i + 1), Name: c.name, Type: typ, NotNull: i == 0})
	}
	m, err := materializer.New(materializer.Options{Backend: func(func() error) (storage.Backend, error) { return nil, errors.ErrUnsupported }})
	if err != nil {
		t.Fatal(err)
	}
	table, _, err := m.Catalog().CreateTable(&materializer.Table{
		Namespace: "default", Name: "quakes", Versions: []*materializer.Schema{{Version: 1, Columns: columns, Key: []int{0}}},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func quakeRow(i int) string {
	return fmt.Sprintf(`{"id":"us%08d","at":"2026-01-02T03:04:05.678Z","magnitude":%d.25,"depth":"12.5","place":"10 km NNE of Somewhere, Chile",`+
		`"felt":%d,"reviewed":true,"station":9007199254740993,"detail":{"net":"us","n":[1,2]},"tags":["a","b"]}`, i, i%9, i%100)
}

func TestRowDecoderReadsValues(t *testing.T) {
	t.Parallel()
	d := newRowDecoder(quakes(t), false)
	if err := d.decode([]byte(quakeRow(3))); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"us00000003", "2026-01-02 03:04:05.678+00", "3.25", "12.500", "10 km NNE of Somewhere, Chile", "3", "true", "9007199254740993",
		`{"net":"us","n":[1,2]}`, "[a, b]",
	}
	for i, v := range d.values {
		if !d.set[i] || v.String() != want[i] {
			t.Errorf("column %d is %s, want %s", i, v, want[i])
		}
	}
	if err := d.decode([]byte(`{ "place" : null , "\u0069d" : "x" }`)); err != nil {
		t.Fatal(err)
	}
	for i := range d.values {
		if given := i == 0 || i == 4; d.set[i] != given {
			t.Errorf("column %d: set is %v", i, d.set[i])
		}
	}
	if d.values[0].Str() != "x" || !d.values[4].IsNull() || !d.values[1].IsNull() {
		t.Errorf("values %v", d.values)
	}
}

func TestRowDecoderRefuses(t *testing.T) {
	t.Parallel()
	for row, want := range map[string]struct {
		code problem.Code
		text string
	}{
		`{"id":"a","magnitud":1}`:       {problem.UnknownColumn, `did you mean "magnitude"?`},
		`{"id":"a","zzzzzz":1}`:         {problem.UnknownColumn, `DESCRIBE default.quakes`},
		`{"id":"a","id":"b"}`:           {problem.DuplicateColumn, `"id" is given twice`},
		`{"id":"a","felt":1.5}`:         {problem.InvalidValue, `column "felt"`},
		`{"id":"a","felt":"many"}`:      {problem.InvalidValue, `column "felt"`},
		`{"id":"a","felt":3000000000}`:  {problem.OutOfRange, `column "felt"`},
		`{"id":"a","felt":true}`:        {problem.TypeMismatch, `column "felt"`},
		`{"id":"a","felt":[1]}`:         {problem.TypeMismatch, `column "felt"`},
		`{"id":"a","at":"2026-13-01"}`:  {problem.InvalidValue, `column "at"`},
		`{"id":"a" "felt":1}`:           {problem.BadJSON, `a comma or } is due after the value of "id"`},
		`{"id":"a","felt"}`:             {problem.BadJSON, `a colon is due after "felt"`},
		`{"id":"a","felt":}`:            {problem.BadJSON, `a value is due`},
		`{"id":"a",}`:                   {problem.BadJSON, `name in double quotes`},
		`{id:"a"}`:                      {problem.BadJSON, `name in double quotes`},
		`{"id":"a","felt":01}`:          {problem.BadJSON, `01`},
		`{"id":"a","felt":nul}`:         {problem.BadJSON, `nul`},
		`{"id":"a","detail":{"a":tru}}`: {problem.BadJSON, `column "detail"`},
		`{"id":"\x"}`:                   {problem.BadJSON, `column "id"`},
		"{\"id\":\"\xff\"}":             {problem.BadJSON, `column "id"`},
		`{"\x":"a"}`:                    {problem.BadJSON, `is not a JSON string`},
	} {
		err := newRowDecoder(quakes(t), false).decode([]byte(row))
		p := problem.As(err)
		if p == nil || p.Code != want.code || !strings.Contains(p.Message+p.Hint, want.text) {
			t.Errorf("%s: %v (%+v), want %s", row, err, p, want.code)
		}
	}
}

func TestHiddenColumnsAreForAdmins(t *testing.T) {
	t.Parallel()
	table := quakes(t)
	table.Versions[0].Columns[9].Hidden = true
	if err := newRowDecoder(table, false).decode([]byte(`{"tags":[]}`)); !problem.Is(err, problem.UnknownColumn) {
		t.Error(err)
	}
	if err := newRowDecoder(table, true).decode([]byte(`{"tags":[]}`)); err != nil {
		t.Error(err)
	}
}

// FuzzRowBody feeds any body to the way of rows. Nothing may panic; what is refused is a problem; and what is taken
// means what encoding/json says it means.
func FuzzRowBody(f *testing.F) {
	for _, body := range []string{
		quakeRow(1), "[" + quakeRow(1) + "," + quakeRow(2) + "]", quakeRow(1) + "\n" + quakeRow(2), `[{"id":"a"},{"id":]`, `{"id":"\ud800"}`,
		`[]`, `{`, `{"id":"a","detail":{"x":"}"}}`, "\xEF\xBB\xBF{}", `{"tags":["a",null,"\""]}`, `{"felt":1e2,"depth":1.50}`,
	} {
		f.Add([]byte(body), false)
	}
	table := quakes(f)
	f.Fuzz(func(t *testing.T, body []byte, sequence bool) {
		s := newRowScanner(bytes.NewReader(body), nil, 4<<10, sequence)
		d := newRowDrafter(table, identity.Root, 0, materializer.NewIDs(1), modeUpsert, precondition{version: materializer.AnyVersion})
		for {
			row, err := s.next()
			if err == nil {
				_, _, err = d.draft(row)
				if err == nil {
					checkMembers(t, row, d.decoder)
				}
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				if problem.As(err) == nil {
					t.Fatalf("%q: %v is no problem", body, err)
				}
				return
			}
		}
	})
}

// checkMembers compares what was set with what encoding/json finds in the row.
func checkMembers(t *testing.T, row []byte, d *rowDecoder) {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(row, &members); err != nil {
		t.Fatalf("%q was taken, encoding/json says %v", row, err)
	}
	for i, c := range d.columns {
		if _, given := members[c.Name]; given != d.set[i] {
			t.Fatalf("%q: %s given is %v, set is %v", row, c.Name, given, d.set[i])
		}
	}
}

// BenchmarkDraftRows measures what a core does of a bulk load before the log: splitting, decoding, drafting.
func BenchmarkDraftRows(b *testing.B) {
	var body strings.Builder
	const rows = 1000
	for i := range rows {
		body.WriteString(quakeRow(i))
		body.WriteByte('\n')
	}
	table := quakes(b)
	b.SetBytes(int64(body.Len()))
	b.ReportAllocs()
	for b.Loop() {
		s := newRowScanner(strings.NewReader(body.String()), make([]byte, 0, bufferBytes), 1<<20, false)
		d := newRowDrafter(table, identity.Root, 0, materializer.NewIDs(1), modeUpsert, precondition{version: materializer.AnyVersion})
		for range rows {
			row, err := s.next()
			if err != nil {
				b.Fatal(err)
			}
			if _, _, err := d.draft(row); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N)*rows/b.Elapsed().Seconds(), "rows/s")
}
