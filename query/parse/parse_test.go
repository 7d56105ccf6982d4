package parse

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

// TestStatements prints what statements parse to.
func TestStatements(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "batch":
				return printBatch(d.Input)
			case "expr":
				n, err := Expr(d.Input)
				if err != nil {
					return printProblem(err)
				}
				return expr.SQL(n) + "\n"
			}
			d.Fatalf(t, "unknown command %s", d.Cmd)
			return ""
		})
	})
}

func printBatch(sql string) string {
	batch, err := Batch(sql)
	if err != nil {
		return printProblem(err)
	}
	var b strings.Builder
	for _, p := range batch {
		fmt.Fprintf(&b, "%d $%d %T %s\n", p.Offset, p.Params, p.Statement, printStatement(p.Statement))
	}
	return b.String()
}

func printStatement(s Statement) string {
	switch s := s.(type) {
	case Select:
		if s.Simple == nil {
			return "not simple: " + s.WhyNot
		}
		return fmt.Sprintf("%s from %s where %s limit %d order %v", printItems(s.Simple.Items), s.Simple.Table, expr.SQL(s.Simple.Where), s.Simple.Limit, s.Simple.OrderBy)
	case Subscribe:
		return printStatement(s.Select)
	case Explain:
		return fmt.Sprintf("analyze %v: %s", s.Analyze, printStatement(s.Of))
	case Insert:
		return printInsert(s)
	case Update:
		return fmt.Sprintf("%s set %s where %s returning %s", s.Table, printSets(s.Set), expr.SQL(s.Where), printItems(s.Returning))
	case Delete:
		return fmt.Sprintf("%s where %s returning %s", s.Table, expr.SQL(s.Where), printItems(s.Returning))
	case CreateTable:
		return printTable(s)
	}
	return fmt.Sprintf("%+v", s)
}

func printInsert(s Insert) string {
	var rows []string
	for _, r := range s.Rows {
		var values []string
		for _, v := range r {
			if v == nil {
				values = append(values, "DEFAULT")
				continue
			}
			values = append(values, expr.SQL(v))
		}
		rows = append(rows, "("+strings.Join(values, ", ")+")")
	}
	return fmt.Sprintf("%s %v %s %q conflict %d %v set %s where %s returning %s", s.Table, s.Columns, strings.Join(rows, " "), s.Select,
		s.OnConflict, s.ConflictKey, printSets(s.Update), expr.SQL(s.UpdateWhere), printItems(s.Returning))
}

func printSets(sets []Set) string {
	var out []string
	for _, s := range sets {
		value := "DEFAULT"
		if s.Value != nil {
			value = expr.SQL(s.Value)
		}
		out = append(out, s.Column+" = "+value)
	}
	return strings.Join(out, ", ")
}

func printItems(items []SelectItem) string {
	var out []string
	for _, i := range items {
		switch {
		case i.Star:
			out = append(out, "*")
		case i.Alias != "":
			out = append(out, expr.SQL(i.Expr)+" AS "+i.Alias)
		default:
			out = append(out, expr.SQL(i.Expr))
		}
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func printTable(s CreateTable) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v key %v", s.Table, s.IfNotExists, s.Key)
	for _, c := range s.Columns {
		fmt.Fprintf(&b, "\n  %s %s %v %s", c.Name, c.Type, c.NotNull, expr.SQL(c.Default))
	}
	for _, o := range s.Options {
		fmt.Fprintf(&b, "\n  %s = %q", o.Name, o.Value)
	}
	return b.String()
}

func printProblem(err error) string {
	p := problem.As(err)
	if p == nil {
		return "not a problem: " + err.Error() + "\n"
	}
	return fmt.Sprintf("%s: %s [statement %d, at %d] %s\n", p.Code, p.Message, p.Statement, p.Position, p.Hint)
}

// TestHostileText makes sure that no text, however deep or long, takes the process down.
func TestHostileText(t *testing.T) {
	const n = 200_000
	for name, sql := range map[string]string{
		"parentheses": "SELECT " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n),
		"brackets":    "SELECT " + strings.Repeat("[", n),
		"sum":         "SELECT 1" + strings.Repeat("+1", n) + " FROM t",
		"update":      "UPDATE t SET n = 1" + strings.Repeat("+1", n),
		"not":         "DELETE FROM t WHERE " + strings.Repeat("NOT ", n) + "true",
		"minus":       "UPDATE t SET n = " + strings.Repeat("- ", n) + "a",
		"and":         "DELETE FROM t WHERE a" + strings.Repeat(" AND a", n),
		"in":          "DELETE FROM t WHERE a IN (1" + strings.Repeat(",1", n) + ")",
		"casts":       "UPDATE t SET n = a" + strings.Repeat("::INT", n),
		"case":        "UPDATE t SET n = " + strings.Repeat("CASE WHEN a THEN ", 10_000) + "1" + strings.Repeat(" END", 10_000),
		"unions":      "SELECT 1" + strings.Repeat(" UNION SELECT 1", 20_000),
		"comments":    strings.Repeat("/*", n),
		"statements":  strings.Repeat("SELECT 1;", 20_000),
		"default":     strings.Repeat("default.", 20_000),
		"quotes":      strings.Repeat("'", n+1),
		"nul":         "SELECT '\x00'",
		"not utf-8":   "SELECT '\xff'",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Batch(sql)
			if err != nil && problem.As(err) == nil {
				t.Errorf("%v", err)
			}
		})
	}
}

func FuzzBatch(f *testing.F) {
	for _, s := range []string{
		"SELECT a FROM t WHERE b = $1 LIMIT 3", "INSERT INTO default.t VALUES (1, 'x''y', E'\\n', $$z$$) ON CONFLICT DO NOTHING RETURNING *",
		"UPDATE t SET a = b // 2 WHERE c[1] = 2", "FLUSH TABLE \"a b\".c; -- x", "CREATE TABLE t (a DECIMAL(3,1)[] DEFAULT ARRAY[1])",
		"EXPLAIN ANALYZE SELECT /* /* */ */ 1", "KILL LIVE QUERY 'x'", "SUBSCRIBE TO FROM t",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		batch, err := Batch(sql)
		if err != nil {
			if problem.As(err) == nil {
				t.Errorf("not a problem: %v", err)
			}
			return
		}
		for _, p := range batch {
			if p.Offset < 0 || p.Offset > len(sql) {
				t.Errorf("offset %d", p.Offset)
			}
		}
	})
}
