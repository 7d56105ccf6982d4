package query

import (
	"context"
	"errors"
	"strings"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/duck"
	"kalamlog.dev/kalam/query/expr"
)

// asProblem makes a *problem.Error of what a statement failed with, unless it is the sink's.
func (s *session) asProblem(ctx context.Context, err error) error {
	switch {
	case problem.As(err) != nil:
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return problem.New(problem.Timeout, "the statement took longer than allowed").Because(err)
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return problem.New(problem.Cancelled, "the statement was cancelled").Because(err)
	case errors.Is(err, duck.ErrClosed):
		return problem.New(problem.ShuttingDown, "the server is shutting down").Because(err)
	}
	return err
}

// readProblem explains what DuckDB said of a plan's query.
func (r *readPlan) readProblem(err error) error {
	var e *duck.Error
	if !errors.As(err, &e) {
		return err
	}
	message, hint := cleanMessage(e.Message)
	if e.Type == "INTERNAL" || e.Type == "FATAL" {
		message, hint = "DuckDB failed on this query", "please report the query"
	}
	p := problem.New(codeOf(e), "%s", message).Because(err)
	if at := r.position(e.Position); at > 0 {
		p = p.At(at)
	}
	switch {
	case e.Subtype == "COLUMN_NOT_FOUND":
		p.Message = "column \"" + e.Name + "\" does not exist"
		if near := r.nearest(e.Name, e.Candidates); near != "" {
			hint = "did you mean \"" + near + "\"?"
		}
	case strings.Contains(e.Message, "does not have a column named"):
		if near := r.nearest(nameIn(e.Message, 2), ""); near != "" {
			hint = "did you mean \"" + near + "\"?"
		}
	case strings.HasPrefix(e.Message, "Referenced table"):
		p.Message = "table \"" + nameIn(e.Message, 1) + "\" is not part of this query"
	case e.Subtype == "MISSING_ENTRY" && strings.Contains(e.Entry, "Function"):
		p.Message = "function \"" + e.Name + "\" does not exist"
		if e.Candidates != "" {
			hint = "did you mean \"" + strings.Split(e.Candidates, ",")[0] + "\"?"
		}
	}
	if hint != "" {
		p = p.WithHint("%s", hint)
	}
	return p
}

// codeOf maps DuckDB's kinds of errors to ours.
func codeOf(e *duck.Error) problem.Code {
	switch e.Subtype {
	case "COLUMN_NOT_FOUND":
		return problem.UnknownColumn
	case "NO_MATCHING_FUNCTION":
		return problem.TypeMismatch
	case "SYNTAX_ERROR":
		return problem.SyntaxError
	}
	switch e.Type {
	case "Parser", "Syntax":
		return problem.SyntaxError
	case "Catalog":
		if strings.Contains(e.Entry, "Function") {
			return problem.UnknownFunction
		}
		if strings.Contains(e.Entry, "Type") || strings.HasPrefix(e.Message, "Type with name") {
			return problem.Unsupported
		}
		return problem.UnknownTable
	case "Binder":
		return binderCode(e.Message)
	case "Conversion":
		if strings.Contains(e.Message, "out of range") {
			return problem.OutOfRange
		}
		return problem.InvalidValue
	case "Out of Range":
		return problem.OutOfRange
	case "Divide by Zero":
		return problem.DivisionByZero
	case "Mismatch Type", "Invalid type":
		return problem.TypeMismatch
	case "Not implemented":
		return problem.Unsupported
	case "Out of Memory":
		return problem.Overloaded
	case "Permission":
		return problem.Forbidden
	case "Interrupt":
		return problem.Cancelled
	case "Invalid Input", "Parameter Not Resolved", "Parameter Not Allowed", "Expression", "Decimal", "Sequence":
		return problem.InvalidValue
	}
	return problem.Internal
}

func binderCode(message string) problem.Code {
	switch {
	case strings.HasPrefix(message, "Max expression depth"):
		return problem.Unsupported
	case strings.Contains(message, "does not have a column named"), strings.Contains(message, "Ambiguous reference to column"):
		return problem.UnknownColumn
	case strings.HasPrefix(message, "Referenced table"):
		return problem.UnknownTable
	case strings.Contains(message, "Cannot compare values"), strings.Contains(message, "No function matches"),
		strings.Contains(message, "Could not choose a best candidate"), strings.Contains(message, "explicit type cast"),
		strings.Contains(message, "Cannot mix values"), strings.Contains(message, "Cannot combine types"):
		return problem.TypeMismatch
	case strings.Contains(message, "not supported"), strings.Contains(message, "Unsupported"):
		return problem.Unsupported
	}
	return problem.SyntaxError
}

// cleanMessage splits DuckDB's text into one sentence and the advice that follows it, in Kalam's words.
func cleanMessage(m string) (message, hint string) {
	m, rest, _ := strings.Cut(m, "\n")
	words := strings.NewReplacer(
		duck.Catalog+"."+duck.Internal+".", "", "STRING_LITERAL", "TEXT", "INTEGER_LITERAL", "INTEGER", "VARCHAR", "TEXT",
		"INT128", "HUGEINT", "INT16", "SMALLINT", "INT32", "INTEGER", "INT64", "BIGINT", "INT8", "TINYINT",
		"TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ", "Values list \"", "table \"",
	)
	m, more, _ := strings.Cut(words.Replace(m), "'. You might")
	if more != "" {
		m += "'"
	}
	return strings.TrimRight(strings.TrimSpace(m), ".!"), advice(words.Replace(rest))
}

// advice joins lines into one, and cuts long lists of candidates.
func advice(text string) string {
	const most = 4
	var lines []string
	for l := range strings.SplitSeq(text, "\n") {
		if l = strings.TrimSpace(l); l != "" {
			lines = append(lines, l)
		}
	}
	if len(lines) > most {
		lines = append(lines[:most], "...")
	}
	return strings.Join(lines, " ")
}

// nameIn returns the n-th quoted name of a message.
func nameIn(message string, n int) string {
	parts := strings.Split(message, `"`)
	if len(parts) < 2*n {
		return ""
	}
	return parts[2*n-1]
}

// nearest finds the column that the user may have meant: among DuckDB's candidates and the tables' columns.
func (r *readPlan) nearest(name, candidates string) string {
	var names []string
	for c := range strings.SplitSeq(candidates, ",") {
		c = strings.Trim(strings.TrimSpace(c), `"`)
		names = append(names, c[strings.LastIndexByte(c, '.')+1:])
	}
	for _, t := range r.tables {
		for _, c := range t.Schema().Columns {
			if !c.Hidden {
				names = append(names, c.Name)
			}
		}
	}
	_, err := expr.Compile(expr.Column{Name: strings.ToLower(name)}, fieldsNamed(names))
	if p := problem.As(err); p != nil {
		if _, quoted, ok := strings.Cut(p.Hint, `"`); ok {
			near, _, _ := strings.Cut(quoted, `"`)
			return near
		}
	}
	return ""
}

// fieldsNamed returns fields for the names, for what only looks at names.
func fieldsNamed(names []string) []expr.Field {
	fields := make([]expr.Field, 0, len(names))
	for _, n := range names {
		if n != "" {
			fields = append(fields, expr.Field{Name: n, Type: expr.Type{Kind: expr.Text}})
		}
	}
	return fields
}
