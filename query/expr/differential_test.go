package expr

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"

	"kalamlog.dev/kalam/internal/problem"
)

// seedOf returns the seed of this run; KALAM_SEED repeats one.
func seedOf(t *testing.T) uint64 {
	seed := uint64(os.Getpid())*2654435761 + uint64(len(t.Name()))
	if s := os.Getenv("KALAM_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("KALAM_SEED=%d repeats this run", seed)
	return seed
}

// countOf returns how many expressions to try; KALAM_COUNT overrides it.
func countOf(t *testing.T, n int) int {
	if s := os.Getenv("KALAM_COUNT"); s != "" {
		m, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	return n
}

// oracle is a DuckDB that holds the generator's rows in table t.
type oracle struct {
	*sql.DB
	t *testing.T
}

func newOracle(t *testing.T, g *generator) *oracle {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	o := &oracle{DB: db, t: t}
	o.exec("SET TimeZone = 'UTC'")
	o.exec("SET threads = 1")
	var columns []string
	for _, f := range g.fields {
		columns = append(columns, fmt.Sprintf("%q %s", f.Name, f.Type))
	}
	o.exec("CREATE TABLE t (" + strings.Join(columns, ", ") + ")")
	for chunk := range slices.Chunk(g.rows, 50) {
		var tuples []string
		for _, row := range chunk {
			var cells []string
			for i, v := range row {
				cell := SQL(Literal{Value: v})
				if v.Kind() == Text || v.Kind() == List {
					cell = "CAST(" + cell + " AS " + g.fields[i].Type.String() + ")"
				}
				cells = append(cells, cell)
			}
			tuples = append(tuples, "("+strings.Join(cells, ", ")+")")
		}
		o.exec("INSERT INTO t VALUES " + strings.Join(tuples, ", "))
	}
	return o
}

func (o *oracle) exec(q string) {
	o.t.Helper()
	if _, err := o.ExecContext(context.Background(), q); err != nil {
		o.t.Fatalf("%s: %v", q, err)
	}
}

// column runs a query of one column and returns it as text, NULL as "∅".
func (o *oracle) column(q string) ([]string, error) {
	rows, err := o.QueryContext(context.Background(), q)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s sql.NullString
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		if !s.Valid {
			s.String = "∅"
		}
		out = append(out, s.String)
	}
	return out, rows.Err()
}

func (o *oracle) filter(where string) ([]string, error) {
	return o.column("SELECT id FROM t WHERE " + where + " ORDER BY id")
}

// tally counts the outcomes of a differential run.
type tally struct{ same, bothFail, refused, fault, differ int }

func (s tally) report(t *testing.T, what string) {
	t.Logf("%s: same %d, both fail %d, refused %d, DuckDB at fault %d", what, s.same, s.bothFail, s.refused, s.fault)
	if s.refused*20 > s.same {
		t.Errorf("%d %s are refused, %d the same", s.refused, what, s.same)
	}
}

// refusal reports whether err, of Compile, is a refusal that it may give where DuckDB answers: what is not supported; a
// literal that is no value of the type it is used as, or a cast that does not exist, which DuckDB finds out only when
// it comes to evaluate them.
func refusal(err error) bool {
	p := problem.As(err)
	if p == nil {
		return false
	}
	switch p.Code {
	case problem.Unsupported, problem.UnknownFunction, problem.InvalidValue, problem.OutOfRange:
		return true
	default:
		return strings.HasPrefix(p.Message, "cannot cast")
	}
}

// faulty reports whether n, on a row, computes what DuckDB gets wrong: a NaN that is in no column has the sign that the
// processor gives it and shows it in text, and a float just beyond an integer type wraps around.
func faulty(n Node, fields []Field, row Values) bool {
	found := false
	rewrite(n, func(n Node) Node {
		if _, ok := n.(Column); ok || found {
			return n
		}
		if c, ok := n.(Cast); ok && isInteger(c.Type.Kind) && wraps(c, fields, row) {
			found = true
		}
		if p, err := Compile(n, fields); err == nil {
			v, _ := p.Eval(row)
			found = found || isFloat(v.kind) && v.float() != v.float() || v.kind == Text && v.str == "nan"
		}
		return n
	})
	return found
}

func wraps(c Cast, fields []Field, row Values) bool {
	p, err := Compile(c.X, fields)
	if err != nil {
		return false
	}
	v, err := p.Eval(row)
	_, high := intRange(c.Type.Kind)
	return err == nil && isFloat(v.kind) && v.float() > float64(high) && v.float() < float64(high)+1
}

func matching(p *Program, rows []Values) ([]string, error) {
	var ids []string
	for _, row := range rows {
		ok, err := p.Match(row)
		if err != nil {
			return nil, err
		}
		if ok {
			ids = append(ids, row[0].String())
		}
	}
	return ids, nil
}

// failsSomewhere reports whether a part of n, evaluated by itself, is refused or fails on a row: DuckDB evaluates
// parts that short-circuiting skips.
func failsSomewhere(n Node, fields []Field, rows []Values) bool {
	failed := false
	rewrite(n, func(n Node) Node {
		if failed {
			return n
		}
		p, err := Compile(n, fields)
		if err != nil {
			failed = true
			return n
		}
		for _, row := range rows {
			if _, err := p.Eval(row); err != nil {
				failed = true
				break
			}
		}
		return n
	})
	return failed
}

func TestDifferentialFilters(t *testing.T) {
	seed := seedOf(t)
	for _, mild := range []bool{false, true} {
		g := generate(seed, 300, mild)
		o := newOracle(t, g)
		var sum tally
		for range countOf(t, 2000) {
			compareFilter(t, o, g, g.boolean(1+g.IntN(4)), &sum)
			if sum.differ > 20 {
				t.Fatal("too many differences")
			}
		}
		sum.report(t, "filters")
	}
}

func compareFilter(t *testing.T, o *oracle, g *generator, n Node, sum *tally) {
	t.Helper()
	where := SQL(n)
	want, wantErr := o.filter(where)
	p, err := CompileFilter(n, g.fields)
	if wantErr != nil {
		if err == nil {
			_, err = matching(p, g.rows)
		}
		if err != nil || failsSomewhere(n, g.fields, g.rows) {
			sum.bothFail++
			return
		}
		if knownFault(wantErr) {
			sum.fault++
			return
		}
		sum.differ++
		t.Errorf("WHERE %s\nDuckDB fails: %v", where, wantErr)
		return
	}
	if err != nil && refusal(err) {
		sum.refused++
		return
	}
	if err != nil {
		sum.differ++
		t.Errorf("WHERE %s\nCompile fails: %v", where, err)
		return
	}
	var got []string
	if err == nil {
		got, err = matching(p, g.rows)
	}
	if err != nil {
		if o.failsUnoptimized("SELECT id FROM t WHERE " + where) {
			sum.bothFail++
			return
		}
		if knownFault(err) {
			sum.fault++
			return
		}
		sum.differ++
		t.Errorf("WHERE %s\nours fails: %v", where, err)
		return
	}
	if !slices.Equal(got, want) && g.faultyDifference(got, want, n) {
		sum.fault++
		return
	}
	if !slices.Equal(got, want) && o.agreesUnoptimized(got, "SELECT id FROM t WHERE "+where+" ORDER BY id") {
		sum.fault++
		return
	}
	if !slices.Equal(got, want) {
		sum.differ++
		t.Errorf("WHERE %s\ngot  %s\nwant %s%s", where, clip(got), clip(want), g.firstDifference(got, want, n))
		return
	}
	sum.same++
}

// failsUnoptimized reports whether DuckDB fails once its optimizer may not remove the failing part.
func (o *oracle) failsUnoptimized(q string) bool {
	o.exec("PRAGMA disable_optimizer")
	defer o.exec("PRAGMA enable_optimizer")
	_, err := o.column(q)
	return err != nil
}

// agreesUnoptimized reports whether DuckDB gives got once its optimizer is off.
func (o *oracle) agreesUnoptimized(got []string, q string) bool {
	o.exec("PRAGMA disable_optimizer")
	defer o.exec("PRAGMA enable_optimizer")
	want, err := o.column(q)
	return err == nil && slices.Equal(got, want)
}

// knownFault reports whether err, DuckDB's or ours, is of a case in which DuckDB contradicts itself or overflows; each
// is described in DESIGN.md.
func knownFault(err error) bool {
	for _, part := range []string{
		"can't be cast to the destination type", // TRY_CAST of an infinite TIMESTAMP to TIME fails
		"Can't get TIME of infinite TIMESTAMP",  // of statistics, not of a row
		"rounded is out of the range",           // round(32767::SMALLINT, -1) wraps around
		"5877642-06-25 (BC)",                    // DATE arithmetic goes before the first day
		"JSON has no number",
	} {
		if strings.Contains(err.Error(), part) {
			return true
		}
	}
	// DuckDB's JSON has numbers that RFC 8259 has not.
	return strings.HasSuffix(err.Error(), "is not valid JSON") && (strings.Contains(err.Error(), "nan") || strings.Contains(err.Error(), "inf"))
}

func clip(ids []string) string {
	s := strings.Join(ids, " ")
	if len(s) > 150 {
		s = s[:150] + "…"
	}
	return fmt.Sprintf("%d: %s", len(ids), s)
}

// faultyDifference reports whether DuckDB is at fault on all rows on which two results differ.
func (g *generator) faultyDifference(got, want []string, n Node) bool {
	for i, row := range g.rows {
		id := strconv.Itoa(i)
		if slices.Contains(got, id) != slices.Contains(want, id) && !faulty(n, g.fields, row) {
			return false
		}
	}
	return true
}

// firstDifference shows the row on which two results differ, and the columns of it that n reads.
func (g *generator) firstDifference(got, want []string, n Node) string {
	for i, row := range g.rows {
		id := strconv.Itoa(i)
		if slices.Contains(got, id) == slices.Contains(want, id) {
			continue
		}
		var out strings.Builder
		out.WriteString("\nrow " + id)
		p, err := Compile(n, g.fields)
		if err != nil {
			return out.String()
		}
		for _, c := range p.Columns() {
			fmt.Fprintf(&out, " %s=%q", g.fields[c].Name, row[c])
		}
		return out.String()
	}
	return ""
}

func TestDifferentialProjections(t *testing.T) {
	seed := seedOf(t)
	for _, mild := range []bool{false, true} {
		g := generate(seed, 120, mild)
		o := newOracle(t, g)
		var sum tally
		for range countOf(t, 2000) {
			compareProjection(t, o, g, g.any(1+g.IntN(3)), &sum)
			if sum.differ > 20 {
				t.Fatal("too many differences")
			}
		}
		sum.report(t, "expressions")
	}
}

func compareProjection(t *testing.T, o *oracle, g *generator, n Node, sum *tally) {
	t.Helper()
	text := SQL(n)
	query := "SELECT typeof(" + text + ") || ':' || coalesce(CAST(" + text + " AS TEXT), '∅') FROM t ORDER BY id"
	want, wantErr := o.column(query)
	got, err, compiled := project(n, g)
	switch {
	case wantErr != nil && (err != nil || failsSomewhere(n, g.fields, g.rows)):
		sum.bothFail++
	case wantErr != nil && knownFault(wantErr), err != nil && knownFault(err):
		sum.fault++
	case wantErr != nil:
		sum.differ++
		t.Errorf("SELECT %s\nDuckDB fails: %v", text, wantErr)
	case err != nil && !compiled && refusal(err):
		sum.refused++
	case err != nil && compiled && o.failsUnoptimized(query):
		sum.bothFail++
	case err != nil:
		sum.differ++
		t.Errorf("SELECT %s\nours fails: %v", text, err)
	default:
		for i := range want {
			if got[i] != want[i] && faulty(n, g.fields, g.rows[i]) {
				sum.fault++
				return
			}
			if got[i] != want[i] && o.agreesUnoptimized(got, query) {
				sum.fault++
				return
			}
			if got[i] != want[i] {
				sum.differ++
				t.Errorf("SELECT %s\nrow %d\ngot  %s\nwant %s%s", text, i, got[i], want[i], g.firstDifference([]string{strconv.Itoa(i)}, nil, n))
				return
			}
		}
		sum.same++
	}
}

// project evaluates n on all rows and returns DuckDB's name of the type and the text.
func project(n Node, g *generator) (out []string, err error, compiled bool) {
	c := compiler{fields: g.fields}
	x, err := c.bind(n)
	if err != nil {
		return nil, err, false
	}
	run := x.run()
	out = make([]string, len(g.rows))
	for i, row := range g.rows {
		v, err := run(row)
		if err != nil {
			return nil, err, true
		}
		if v.kind != Null && v.kind != x.typ.Kind {
			return nil, errors.New("a " + v.kind.String() + " in place of a " + x.typ.String()), true
		}
		text := "∅"
		if v.kind != Null {
			text = string(appendTextAs(nil, v, x.typ))
		}
		out[i] = duckName(x.typ) + ":" + text
	}
	return out, nil, true
}

func duckName(t Type) string {
	switch t.Kind {
	case Null:
		return `"NULL"`
	case Real:
		return "FLOAT"
	case Text:
		return "VARCHAR"
	case TimestampTZ:
		return "TIMESTAMP WITH TIME ZONE"
	case List:
		return duckName(*t.Elem) + "[]"
	}
	return t.String()
}
