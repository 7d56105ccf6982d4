package datafile_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"

	"kalamlog.dev/kalam/flusher/datafile"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

func scalar(k expr.Kind) expr.Type { return expr.Type{Kind: k} }
func decimal(precision, scale uint8) expr.Type {
	return expr.Type{Kind: expr.Decimal, Precision: precision, Scale: scale}
}
func list(t expr.Type) expr.Type { return expr.Type{Kind: expr.List, Elem: &t} }

// dec gives a decimal of small unscaled value.
func dec(unscaled int64, scale uint8) expr.Value {
	return expr.DecimalOf(uint64(unscaled>>63), uint64(unscaled), scale)
}

// A typeCase names values of one type and the SQL literals that DuckDB must find equal to them.
type typeCase struct {
	typ    expr.Type
	duck   string // DuckDB's name of the type
	values []expr.Value
	sql    []string
}

func typeCases() []typeCase {
	null := expr.Value{}
	nines38 := expr.DecimalOf(0x4b3b4ca85a86c47a, 0x098a223fffffffff, 0)
	minus38 := expr.DecimalOf(^uint64(0x4b3b4ca85a86c47a), ^uint64(0x098a223fffffffff)+1, 0)
	ints := func(k expr.Kind, is ...int64) (vs []expr.Value) {
		for _, i := range is {
			vs = append(vs, expr.IntOf(k, i))
		}
		return vs
	}
	long := strings.Repeat("long ", 20_000)
	return []typeCase{
		{scalar(expr.Bool), "BOOLEAN", []expr.Value{expr.BoolOf(true), expr.BoolOf(false)}, []string{"true", "false"}},
		{scalar(expr.SmallInt), "SMALLINT", ints(expr.SmallInt, 0, -1, math.MinInt16, math.MaxInt16), []string{"0", "-1", "-32768", "32767"}},
		{scalar(expr.Integer), "INTEGER", ints(expr.Integer, 0, math.MinInt32, math.MaxInt32), []string{"0", "-2147483648", "2147483647"}},
		{scalar(expr.BigInt), "BIGINT", ints(expr.BigInt, 0, math.MinInt64, math.MaxInt64), []string{"0", "-9223372036854775808", "9223372036854775807"}},
		{
			scalar(expr.Real), "FLOAT",
			[]expr.Value{expr.FloatOf(expr.Real, 1.5), expr.FloatOf(expr.Real, math.MaxFloat32), expr.FloatOf(expr.Real, math.NaN()), expr.FloatOf(expr.Real, math.Inf(-1))},
			[]string{"1.5", "3.4028234663852886e38", "'NaN'", "'-Infinity'"},
		},
		{
			scalar(expr.Double), "DOUBLE",
			[]expr.Value{expr.FloatOf(expr.Double, 0.1), expr.FloatOf(expr.Double, math.SmallestNonzeroFloat64), expr.FloatOf(expr.Double, math.NaN()), expr.FloatOf(expr.Double, math.Inf(1))},
			[]string{"0.1::DOUBLE", "5e-324", "'NaN'", "'Infinity'"},
		},
		{decimal(4, 2), "DECIMAL(4,2)", []expr.Value{dec(0, 2), dec(-9999, 2), dec(1, 2)}, []string{"0", "-99.99", "0.01"}},
		{decimal(9, 0), "DECIMAL(9,0)", []expr.Value{dec(999_999_999, 0), dec(-999_999_999, 0)}, []string{"999999999", "-999999999"}},
		{decimal(18, 6), "DECIMAL(18,6)", []expr.Value{dec(999_999_999_999_999_999, 6), dec(-1, 6)}, []string{"999999999999.999999", "-0.000001"}},
		{
			decimal(19, 0), "DECIMAL(19,0)",
			[]expr.Value{dec(-1, 0), dec(math.MaxInt64, 0), expr.DecimalOf(0, 9_999_999_999_999_999_999, 0)},
			[]string{"-1", "9223372036854775807", "9999999999999999999"},
		},
		{
			decimal(38, 0), "DECIMAL(38,0)",
			[]expr.Value{dec(0, 0), nines38, minus38},
			[]string{"0", strings.Repeat("9", 38), "-" + strings.Repeat("9", 38)},
		},
		{decimal(38, 38), "DECIMAL(38,38)", []expr.Value{dec(1, 38), dec(-1, 38)}, []string{"0." + strings.Repeat("0", 37) + "1", "-0." + strings.Repeat("0", 37) + "1"}},
		{
			scalar(expr.Text), "VARCHAR",
			[]expr.Value{expr.TextOf(""), expr.TextOf("it's"), expr.TextOf("日本\U0001f600"), expr.TextOf(long), expr.TextOf("a\x00b")},
			[]string{"''", "'it''s'", "'日本\U0001f600'", "repeat('long ', 20000)", "'a' || chr(0) || 'b'"},
		},
		{scalar(expr.Blob), "BLOB", []expr.Value{expr.BlobOf(nil), expr.BlobOf([]byte{0, 0xff, 'x'})}, []string{"''::BLOB", `'\x00\xFFx'::BLOB`}},
		{
			scalar(expr.Date), "DATE", ints(expr.Date, 0, -719528, 20000, math.MaxInt32, -math.MaxInt32),
			[]string{"DATE '1970-01-01'", "DATE '0000-01-01'", "DATE '2024-10-04'", "'infinity'", "'-infinity'"},
		},
		{scalar(expr.Time), "TIME", ints(expr.Time, 0, 86_399_999_999, 86_400_000_000), []string{"TIME '00:00:00'", "TIME '23:59:59.999999'", "TIME '24:00:00'"}},
		{
			scalar(expr.Timestamp), "TIMESTAMP", ints(expr.Timestamp, 0, -1, 1_700_000_000_123_456, math.MaxInt64),
			[]string{"TIMESTAMP '1970-01-01 00:00:00'", "TIMESTAMP '1969-12-31 23:59:59.999999'", "TIMESTAMP '2023-11-14 22:13:20.123456'", "'infinity'"},
		},
		{
			scalar(expr.TimestampTZ), "TIMESTAMP WITH TIME ZONE", ints(expr.TimestampTZ, 0, 1_700_000_000_123_456, -math.MaxInt64),
			[]string{"TIMESTAMPTZ '1970-01-01 00:00:00Z'", "TIMESTAMPTZ '2023-11-14 22:13:20.123456Z'", "'-infinity'"},
		},
		{
			scalar(expr.UUID), "UUID",
			[]expr.Value{expr.UUIDOf([16]byte{}), expr.UUIDOf([16]byte{0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})},
			[]string{"'00000000-0000-0000-0000-000000000000'", "'ff010203-0405-0607-0809-0a0b0c0d0e0f'"},
		},
		{scalar(expr.JSON), "JSON", []expr.Value{expr.JSONOf(`{"a": [1, null]}`), expr.JSONOf("null")}, []string{`'{"a": [1, null]}'`, "'null'"}},
		{
			list(scalar(expr.Integer)), "INTEGER[]",
			[]expr.Value{expr.ListOf(nil), expr.ListOf([]expr.Value{null}), expr.ListOf([]expr.Value{expr.IntOf(expr.Integer, 7), null, expr.IntOf(expr.Integer, -7)})},
			[]string{"[]", "[NULL]", "[7, NULL, -7]"},
		},
		{list(list(scalar(expr.Text))), "VARCHAR[][]", []expr.Value{
			expr.ListOf([]expr.Value{}), expr.ListOf([]expr.Value{expr.ListOf(nil), null, expr.ListOf([]expr.Value{expr.TextOf("a"), null}), expr.ListOf([]expr.Value{expr.TextOf("b")})}),
		}, []string{"[]", "[[], NULL, ['a', NULL], ['b']]"}},
		{list(decimal(20, 2)), "DECIMAL(20,2)[]", []expr.Value{expr.ListOf([]expr.Value{dec(-150, 2), dec(25, 2)})}, []string{"[-1.5, 0.25]"}},
	}
}

// typesFile writes a file with a column of every type: row i has value i of each, and a last row of NULLs.
func typesFile(t *testing.T, cases []typeCase) (*datafile.Layout, []byte, [][]expr.Value) {
	t.Helper()
	s := &materializer.Schema{Version: 1, Columns: []materializer.Column{{ID: 1, Name: "Key of row", Type: scalar(expr.BigInt)}}, Key: []int{0}}
	most := 0
	for i, c := range cases {
		s.Columns = append(s.Columns, materializer.Column{ID: uint32(100 - i), Name: fmt.Sprint("c", i), Type: c.typ})
		most = max(most, len(c.values))
	}
	layout, err := datafile.NewLayout(s)
	if err != nil {
		t.Fatal(err)
	}
	b := layout.NewBatch()
	var rows [][]expr.Value
	for i := range most + 1 {
		row := []expr.Value{expr.IntOf(expr.BigInt, int64(i))}
		for _, c := range cases {
			if i < len(c.values) {
				row = append(row, c.values[i])
			} else {
				row = append(row, expr.Value{})
			}
		}
		rows = append(rows, row)
		m := datafile.Meta{Op: materializer.RowInserted, Partition: 3, Offset: log.Offset(i), Timestamp: int64(1000 + i)}
		if i > 0 {
			m.Op, m.Previous, m.HasPrevious = materializer.RowUpdated, log.Offset(i-1), true
		}
		b.Append([]datafile.Meta{m}, encoded(t, s, row))
	}
	deletion := datafile.Meta{Op: materializer.RowDeleted, Partition: 3, Offset: 1 << 40, Previous: 1, HasPrevious: true}
	b.Append([]datafile.Meta{deletion}, encoded(t, s, rows[1]))
	var out bytes.Buffer
	w := datafile.NewWriter(layout, &out, nil, datafile.WriterOptions{})
	if err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return layout, out.Bytes(), rows
}

// encoded gives a row of s as the log holds it.
func encoded(t testing.TB, s *materializer.Schema, values []expr.Value) []materializer.Row {
	t.Helper()
	raw, err := materializer.EncodeRow(nil, s, values)
	if err != nil {
		t.Fatal(err)
	}
	table := &materializer.Table{Name: "t", Versions: []*materializer.Schema{s}}
	row, err := table.DecodeRow(raw)
	if err != nil {
		t.Fatal(err)
	}
	return []materializer.Row{row}
}

func openDuckDB(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := db.Exec("SET TimeZone = 'UTC'"); err != nil {
		t.Fatal(err)
	}
	return db
}

func TestDuckDBReadsEveryTypeExactly(t *testing.T) {
	t.Parallel()
	cases := typeCases()
	_, file, rows := typesFile(t, cases)
	path := filepath.Join(t.TempDir(), "types.parquet")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	db := openDuckDB(t)
	if _, err := db.Exec("CREATE VIEW f AS SELECT * FROM read_parquet('" + path + "')"); err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		name := fmt.Sprint("c", i)
		var typ string
		if err := db.QueryRow("SELECT data_type FROM duckdb_columns() WHERE table_name = 'f' AND column_name = ?", name).Scan(&typ); err != nil {
			t.Fatal(err)
		}
		if typ != c.duck {
			t.Errorf("%s: DuckDB reads the type %s, want %s", c.typ, typ, c.duck)
		}
		for row := range rows {
			want := "NULL"
			if row < len(c.sql) {
				want = c.sql[row]
			}
			var same bool
			var text sql.NullString
			q := fmt.Sprintf(`SELECT %s IS NOT DISTINCT FROM (%s)::%s, left(%s::VARCHAR, 100) FROM f WHERE "Key of row" = %d AND _op <> 'delete'`, name, want, c.duck, name, row)
			if err := db.QueryRow(q).Scan(&same, &text); err != nil {
				t.Fatalf("%s: %v", q, err)
			}
			if !same {
				t.Errorf("%s: row %d reads as %s, want %s", c.typ, row, text.String, want)
			}
			// The same through the statistics that prune row groups.
			if want != "NULL" && c.typ.Kind != expr.List {
				var n int
				q := fmt.Sprintf(`SELECT count(*) FROM f WHERE %s = (%s)::%s AND "Key of row" = %d AND _op <> 'delete'`, name, want, c.duck, row)
				if err := db.QueryRow(q).Scan(&n); err != nil || n != 1 {
					t.Errorf("%s: %d rows, %v", q, n, err)
				}
			}
		}
	}
}

func TestDuckDBReadsTheSystemColumns(t *testing.T) {
	t.Parallel()
	cases := typeCases()[:2]
	_, file, _ := typesFile(t, cases)
	path := filepath.Join(t.TempDir(), "types.parquet")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	db := openDuckDB(t)
	rows, err := db.Query("SELECT column_name || ' ' || column_type FROM (DESCRIBE SELECT * FROM read_parquet('" + path + "'))")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		got = append(got, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	want := "Key of row BIGINT, c0 BOOLEAN, c1 SMALLINT, _partition INTEGER, _offset BIGINT, _timestamp TIMESTAMP WITH TIME ZONE, _op VARCHAR, _previous BIGINT"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("columns are\n%s, want\n%s", s, want)
	}
	var line string
	q := "SELECT string_agg(concat_ws(' ', _op, _partition, _offset, epoch_us(_timestamp), _previous, c0), ', ' ORDER BY _offset) FROM read_parquet('" + path + "')"
	if err := db.QueryRow(q).Scan(&line); err != nil {
		t.Fatal(err)
	}
	if want := "insert 3 0 1000 true, update 3 1 1001 0 false, update 3 2 1002 1, update 3 3 1003 2, update 3 4 1004 3, delete 3 1099511627776 0 1"; line != want {
		t.Errorf("rows are\n%s, want\n%s", line, want)
	}
	var ids string
	if err := db.QueryRow("SELECT string_agg(field_id, ' ') FROM parquet_schema('" + path + "')").Scan(&ids); err != nil {
		t.Fatal(err)
	}
	if want := "1 100 99 1000000001 1000000002 1000000003 1000000004 1000000005"; ids != want {
		t.Errorf("field ids are %s, want %s", ids, want)
	}
}

func TestReaderReadsEveryType(t *testing.T) {
	t.Parallel()
	layout, file, rows := typesFile(t, typeCases())
	r, err := datafile.NewReader(layout, bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for got, err := range r.Rows(3) {
		if err != nil {
			t.Fatal(err)
		}
		if got.Op == materializer.RowDeleted {
			for _, v := range got.Values[1:] {
				if !v.IsNull() {
					t.Errorf("a delete carries %s", v)
				}
			}
			continue
		}
		for i, v := range rows[n] {
			if expr.Compare(v, got.Values[i]) != 0 || v.String() != got.Values[i].String() {
				t.Errorf("row %d, column %d: read %s, want %s", n, i, got.Values[i], v)
			}
		}
		n++
	}
	if n != len(rows) {
		t.Errorf("read %d rows, want %d", n, len(rows))
	}
	for got, err := range r.Rows(2) {
		t.Errorf("a row of another partition: %v, %v", got, err)
	}
}
