package query

import (
	"fmt"
	"strconv"
	"testing"

	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
	"kalamlog.dev/kalam/query/parse"
)

// both runs a query the usual way and with DuckDB alone, and reports whether the first took the key path.
func (s *stack) both(sql string, params ...expr.Value) (usual, duckdb string, byKey bool) {
	s.Helper()
	show := func(c collect, err error) string {
		if err != nil {
			return string(problem.As(err).Code)
		}
		return fmt.Sprint(c.results[0].columns, c.results[0].rows, c.results[0].summary.RowCount)
	}
	pieces, err := parse.Split(sql)
	s.must(err)
	run := func(keyed bool) (string, bool) {
		var c collect
		ses := &session{
			Engine: s.Engine, Request: Request{SQL: sql, Params: params, Namespace: "default"}, caller: identity.Root, sink: &c,
			now: fixedClock{}.Now().UnixMicro(),
		}
		p, err := ses.plan(as("root"), pieces[0])
		if err != nil {
			return show(c, err), false
		}
		if !keyed {
			err = ses.readDuck(as("root"), p.read, p.read.sql)
			return show(c, err), false
		}
		done := false
		if p.read.key != nil {
			done, err = ses.readKey(p.read)
		}
		if !done && err == nil {
			err = ses.readDuck(as("root"), p.read, p.read.sql)
		}
		return show(c, err), done
	}
	usual, byKey = run(true)
	duckdb, _ = run(false)
	return usual, duckdb, byKey
}

// TestKeyReadsEqualDuckDB compares the two ways over keys of every type and conditions of many forms.
func TestKeyReadsEqualDuckDB(t *testing.T) {
	s := openStack(t)
	keyed := 0
	for typ, literals := range map[string][]string{
		"SMALLINT":      {"1", "-32768", "'1'", "1.0", "1.5", "40000", "1e0", "NULL", "1::BIGINT", "'x'", "true"},
		"INTEGER":       {"1", "'1'", "1.0", "1.5", "3000000000", "1e0", "1 + 0", "'1 '", "-1"},
		"BIGINT":        {"1", "9007199254740993", "9007199254740992.0", "9007199254740993e0", "9223372036854775807", "9223372036854775808"},
		"DECIMAL(10,2)": {"1", "1.00", "1.005", "'1.5'", "1.5", "1.5e0", "99999999999"},
		"TEXT":          {"'a'", "'A'", "''", "1", "'a '", "'ü'"},
		"BOOLEAN":       {"true", "false", "'true'", "1", "'t'"},
		"DATE":          {"'2024-02-29'", "DATE '2024-02-29'", "TIMESTAMP '2024-02-29 00:00:00'", "TIMESTAMP '2024-02-29 00:00:01'", "'2024-2-29'", "'x'"},
		"TIME":          {"'12:00:00'", "'12:00'", "TIME '12:00:00.000001'"},
		"TIMESTAMP":     {"'2024-02-29'", "DATE '2024-02-29'", "'2024-02-29 00:00:00.000001'", "'2024-02-29 12:00:00+02'"},
		"TIMESTAMPTZ":   {"'2024-02-29'", "DATE '2024-02-29'", "TIMESTAMP '2024-02-29 00:00:00'", "'2024-02-29 02:00:00+02'"},
		"UUID":          {"'8b1ab7d1-0000-4000-8000-0123456789ab'", "'8B1AB7D1-0000-4000-8000-0123456789AB'", "'x'"},
		"BLOB":          {"X'61'", "'a'", "'\\x61'"},
		"DOUBLE":        {"1", "0", "-0.0", "0.1", "'nan'"},
		"REAL":          {"1", "0.1", "0.1::REAL"},
	} {
		table := "k_" + strconv.Itoa(len(typ)) + typ[:2]
		s.exec(fmt.Sprintf("CREATE TABLE %s (k %s PRIMARY KEY, v TEXT, n INTEGER)", table, typ))
		for i, l := range literals {
			// What does not fit the column's type is not stored.
			_, _ = s.run(fmt.Sprintf("INSERT INTO %s VALUES (%s, 'v%d', %d) ON CONFLICT DO NOTHING", table, l, i, i))
		}
		for _, l := range literals {
			for _, form := range []string{
				"SELECT * FROM %s WHERE k = %s", "SELECT v, n, k AS key FROM %s AS x WHERE %s = x.k AND n >= 0", "SELECT n + 1 AS m, upper(v) AS u FROM %s WHERE k = %s AND v <> 'v0'",
				"SELECT k FROM %s WHERE k = %s AND n / 0 > 1", "SELECT 1 AS one FROM %s WHERE k = %s LIMIT 1", "SELECT n // (n - 1) AS q FROM %s WHERE k = %s",
			} {
				sql := fmt.Sprintf(form, table, l)
				usual, duckdb, byKey := s.both(sql)
				if usual != duckdb {
					t.Errorf("%s\n  key:    %s\n  duckdb: %s", sql, usual, duckdb)
				}
				if byKey {
					keyed++
				}
			}
		}
	}
	t.Logf("%d key reads", keyed)
	if keyed < 100 {
		t.Errorf("only %d key reads", keyed)
	}
}

// TestKeyReadsWithParameters does the same with parameters.
func TestKeyReadsWithParameters(t *testing.T) {
	s := openStack(t)
	s.exec("CREATE TABLE p (a INTEGER, b TEXT, c TIMESTAMPTZ, PRIMARY KEY (b, a)); INSERT INTO p VALUES (1, 'x', '2024-01-01 00:00:00+00'), (2, 'y', NULL)")
	for _, params := range [][]expr.Value{
		{integerParam(1), expr.TextOf("x")},
		{expr.TextOf("1"), expr.TextOf("x")},
		{expr.TextOf("z"), expr.TextOf("x")},
		{{}, expr.TextOf("x")},
		{expr.FloatOf(expr.Double, 1), expr.TextOf("x")},
		{expr.IntOf(expr.BigInt, 1<<40), expr.TextOf("x")},
		{expr.DecimalOf(0, 10, 1), expr.TextOf("x")},
		{integerParam(2), integerParam(2)},
		{expr.BoolOf(true), expr.TextOf("x")},
	} {
		for _, sql := range []string{
			"SELECT * FROM p WHERE a = $1 AND b = $2", "SELECT c IS NULL AS n, $1 AS p FROM p WHERE b = $2 AND a = $1 AND (c IS NULL OR c < '2025-01-01')",
		} {
			usual, duckdb, _ := s.both(sql, params...)
			if usual != duckdb {
				t.Errorf("%s %v\n  key:    %s\n  duckdb: %s", sql, params, usual, duckdb)
			}
		}
	}
}
