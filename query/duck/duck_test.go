package duck

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kalamlog.dev/kalam/query/expr"
)

func openTest(t *testing.T) (*DB, *Conn) {
	t.Helper()
	db, err := Open(Options{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	c, err := db.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		db.Release(c)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db, c
}

// one returns the values of a query's first row and its column types.
func one(t *testing.T, c *Conn, sql string, params ...expr.Value) ([]expr.Value, []Column) {
	t.Helper()
	rows, err := c.Query(context.Background(), sql, params)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer rows.Close()
	ok, err := rows.Next()
	if !ok || err != nil {
		t.Fatalf("%s: no row: %v", sql, err)
	}
	return append([]expr.Value{}, rows.Values()...), rows.Columns()
}

func TestValuesOfEveryType(t *testing.T) {
	_, c := openTest(t)
	for _, tc := range []struct{ sql, typ, want string }{
		{"true", "BOOLEAN", "true"},
		{"(-5)::TINYINT", "TINYINT", "-5"},
		{"-300::SMALLINT", "SMALLINT", "-300"},
		{"70000", "INTEGER", "70000"},
		{"9223372036854775807", "BIGINT", "9223372036854775807"},
		{"18446744073709551615::UBIGINT", "UBIGINT", "18446744073709551615"},
		{"sum(9223372036854775807) FROM range(3)", "HUGEINT", "27670116110564327421"},
		{"170141183460469231731687303715884105727::HUGEINT", "HUGEINT", "170141183460469231731687303715884105727"},
		{"(-1)::HUGEINT", "HUGEINT", "-1"},
		{"340282366920938463463374607431768211455::UHUGEINT", "UHUGEINT", "340282366920938463463374607431768211455"},
		{"1.5::REAL", "REAL", "1.5"},
		{"'nan'::DOUBLE", "DOUBLE", "nan"},
		{"-1.25::DECIMAL(4,2)", "DECIMAL(4,2)", "-1.25"},
		{"-1.25::DECIMAL(9,2)", "DECIMAL(9,2)", "-1.25"},
		{"-1.25::DECIMAL(18,2)", "DECIMAL(18,2)", "-1.25"},
		{"-1.25::DECIMAL(38,2)", "DECIMAL(38,2)", "-1.25"},
		{"'a text longer than twelve bytes'", "TEXT", "a text longer than twelve bytes"},
		{`'{"a": 1}'::JSON`, "JSON", `{"a": 1}`},
		{"'2024-02-29'::DATE", "DATE", "2024-02-29"},
		{"'12:34:56.789'::TIME", "TIME", "12:34:56.789"},
		{"'2024-02-29 12:34:56.789'::TIMESTAMP", "TIMESTAMP", "2024-02-29 12:34:56.789"},
		{"'2024-02-29 12:34:56+00'::TIMESTAMPTZ", "TIMESTAMPTZ", "2024-02-29 12:34:56+00"},
		{"'2024-02-29 12:34:56'::TIMESTAMP_S", "TIMESTAMP_S", "2024-02-29 12:34:56"},
		{"'2024-02-29 12:34:56.123456789'::TIMESTAMP_NS", "TIMESTAMP_NS", "2024-02-29 12:34:56.123456"},
		{"'12:34:56+02'::TIMETZ", "TIMETZ", "12:34:56+02"},
		{"'8b1ab7d1-0000-4000-8000-0123456789ab'::UUID", "UUID", "8b1ab7d1-0000-4000-8000-0123456789ab"},
		{"INTERVAL '1 year 2 months 3 days 04:05:06.5'", "INTERVAL", "1 year 2 months 3 days 04:05:06.5"},
		{"INTERVAL '-1 day'", "INTERVAL", "-1 day"},
		{"'10101'::BIT", "BIT", "10101"},
		{"'12345678901234567890123456789012345678901234567890'::BIGNUM", "BIGNUM", "12345678901234567890123456789012345678901234567890"},
		{"'-7'::BIGNUM", "BIGNUM", "-7"},
		{"'b'::ENUM('a','b')", "TEXT", "b"},
		{"[1, NULL, 3]", "INTEGER[]", "[1, NULL, 3]"},
		{"[['a'], [], NULL]", "TEXT[][]", "[[a], [], NULL]"},
		{"array_value(1, 2)", "INTEGER[2]", "[1, 2]"},
		{"{'a': 1, 'b': ['x']}", `STRUCT("a" INTEGER, "b" TEXT[])`, `{"a":1,"b":["x"]}`},
		{"MAP {'k': 1.5}", "MAP(TEXT, DECIMAL(2,1))", `{"k":"1.5"}`},
		{"union_value(n := 5)", `UNION("n" INTEGER)`, "5"},
		{"NULL", "INTEGER", "NULL"},
	} {
		v, cols := one(t, c, "SELECT "+tc.sql)
		if got := v[0].String(); got != tc.want || cols[0].Type != tc.typ {
			t.Errorf("%s: got %s %s, want %s %s", tc.sql, cols[0].Type, got, tc.typ, tc.want)
		}
	}
}

func TestParametersKeepTheirValue(t *testing.T) {
	_, c := openTest(t)
	for _, v := range []expr.Value{
		{},
		expr.BoolOf(true), expr.IntOf(expr.SmallInt, -3), expr.IntOf(expr.Integer, 1<<30), expr.IntOf(expr.BigInt, -1<<63),
		expr.FloatOf(expr.Real, 1.5), expr.FloatOf(expr.Double, 0.1), expr.TextOf(""), expr.TextOf("ü\x01"), expr.BlobOf(nil),
		expr.BlobOf([]byte{0, 255}), expr.IntOf(expr.Date, -1), expr.IntOf(expr.Time, 1), expr.IntOf(expr.Timestamp, -1),
		expr.IntOf(expr.TimestampTZ, 1), expr.UUIDOf([16]byte{1, 15: 0xfe}), expr.DecimalOf(0, 5, 1),
		expr.ListOf([]expr.Value{expr.TextOf("a"), {}}), expr.ListOf(nil),
	} {
		got, _ := one(t, c, "SELECT $1", v)
		if got[0].String() != v.String() {
			t.Errorf("parameter %s came back as %s", v, got[0])
		}
	}
	got, _ := one(t, c, "SELECT DATE '2024-05-01' = $1 AND $2 + 1 = 3", expr.TextOf("2024-05-01"), expr.IntOf(expr.Integer, 2))
	if !got[0].Bool() {
		t.Error("a text parameter is not read as a date beside a date")
	}
}

func TestOnlyTheDataDirectoryIsReadable(t *testing.T) {
	db, c := openTest(t)
	ctx := context.Background()
	inside := filepath.Join(db.Dir(), "a.parquet")
	if err := c.Exec(ctx, "COPY (SELECT 7 AS x) TO "+quote(inside)+" (FORMAT parquet)"); err != nil {
		t.Fatal(err)
	}
	if v, _ := one(t, c, "SELECT x FROM read_parquet("+quote(inside)+")"); v[0].Int() != 7 {
		t.Errorf("read %s", v[0])
	}
	outside := filepath.Join(t.TempDir(), "b.parquet")
	data, err := os.ReadFile(inside)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(outside, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"SELECT * FROM read_parquet(" + quote(outside) + ")",
		"SELECT * FROM read_text('/etc/passwd')",
		"SELECT * FROM glob('/etc/*')",
		"SELECT * FROM read_parquet(" + quote(db.Dir()+"/../"+filepath.Base(filepath.Dir(outside))+"/b.parquet") + ")",
		"COPY (SELECT 1) TO " + quote(outside+".csv"),
		"INSTALL httpfs", "LOAD httpfs", "SET threads = 1", "SET enable_external_access = true",
		"ATTACH " + quote(outside+".db") + " AS x",
		"SELECT * FROM read_csv('https://example.com/x.csv')",
	} {
		if err := c.Exec(ctx, sql); err == nil {
			t.Errorf("%s was allowed", sql)
		}
	}
}

func TestContextInterrupts(t *testing.T) {
	_, c := openTest(t)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err := c.Exec(ctx, "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if v, _ := one(t, c, "SELECT 1"); v[0].Int() != 1 {
		t.Error("the connection is spoiled")
	}
}

func TestErrorsCarryTheirPlace(t *testing.T) {
	_, c := openTest(t)
	for _, tc := range []struct {
		sql, typ, subtype string
		position          int
	}{
		{"SELECT 'ö', nope FROM range(1)", "Binder", "COLUMN_NOT_FOUND", 13},
		{"SELEC 1", "Parser", "SYNTAX_ERROR", 0},
		{"SELECT nofunc(1)", "Catalog", "MISSING_ENTRY", 7},
		{"SELECT 'x'::INTEGER", "Conversion", "", 10},
	} {
		err := c.Exec(context.Background(), tc.sql)
		var e *Error
		if !errors.As(err, &e) || e.Type != tc.typ || e.Subtype != tc.subtype || e.Position != tc.position {
			t.Errorf("%s: %+v", tc.sql, err)
		}
	}
}

func TestAppendEveryType(t *testing.T) {
	_, c := openTest(t)
	ctx := context.Background()
	list := expr.Type{Kind: expr.List, Elem: &expr.Type{Kind: expr.Text}}
	nested := expr.Type{Kind: expr.List, Elem: &list}
	types := []expr.Type{
		{Kind: expr.Bool},
		{Kind: expr.SmallInt},
		{Kind: expr.Integer},
		{Kind: expr.BigInt},
		{Kind: expr.Real},
		{Kind: expr.Double},
		{Kind: expr.Decimal, Precision: 4, Scale: 2},
		{Kind: expr.Decimal, Precision: 9, Scale: 2},
		{Kind: expr.Decimal, Precision: 18, Scale: 2},
		{Kind: expr.Decimal, Precision: 38, Scale: 2},
		{Kind: expr.Text},
		{Kind: expr.Blob},
		{Kind: expr.Date},
		{Kind: expr.Time},
		{Kind: expr.Timestamp},
		{Kind: expr.TimestampTZ},
		{Kind: expr.UUID},
		{Kind: expr.JSON},
		list, nested,
	}
	long := expr.TextOf("more than twelve bytes of text")
	dec := expr.DecimalOf(^uint64(0), ^uint64(124), 2)
	row := []expr.Value{
		expr.BoolOf(true), expr.IntOf(expr.SmallInt, -2), expr.IntOf(expr.Integer, -3), expr.IntOf(expr.BigInt, -4), expr.FloatOf(expr.Real, 1.5),
		expr.FloatOf(expr.Double, 2.5), dec, dec, dec, dec, long, expr.BlobOf([]byte("\x00\x01")), expr.IntOf(expr.Date, 5),
		expr.IntOf(expr.Time, 6), expr.IntOf(expr.Timestamp, 7), expr.IntOf(expr.TimestampTZ, 8), expr.UUIDOf([16]byte{0xff, 1}),
		expr.JSONOf(`{"a":[1]}`), expr.ListOf([]expr.Value{long, {}}),
		expr.ListOf([]expr.Value{expr.ListOf([]expr.Value{long}), {}, expr.ListOf([]expr.Value{{}, expr.TextOf("z")})}),
	}
	columns := make([]string, len(types))
	for i, typ := range types {
		columns[i] = "c" + string(rune('a'+i)) + " " + typ.String()
	}
	if err := c.Exec(ctx, "CREATE TABLE kalam._kalam.everything ("+strings.Join(columns, ", ")+")"); err != nil {
		t.Fatal(err)
	}
	app, err := newAppender(c, "everything", types)
	if err != nil {
		t.Fatal(err)
	}
	nulls := make([]expr.Value, len(types))
	for i := range 5000 {
		r := row
		if i%3 == 1 {
			r = nulls
		}
		if err := app.append(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.close(); err != nil {
		t.Fatal(err)
	}
	rows, err := c.Query(ctx, "SELECT * FROM kalam._kalam.everything", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for ; ; n++ {
		ok, err := rows.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		for j, v := range rows.Values() {
			want := row[j]
			if n%3 == 1 {
				want = nulls[j]
			}
			if v.String() != want.String() || v.Kind() != want.Kind() {
				t.Fatalf("row %d, column %s: got %s, want %s", n, types[j], v, want)
			}
		}
	}
	if n != 5000 {
		t.Errorf("%d rows", n)
	}
}
