package query

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"kalamlog.dev/kalam/query/expr"
)

// TestTranscripts runs testdata/*.txt: commands sql and error differ only in what they expect; user=, namespace= and
// params=(a, b) set the request.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			t.Parallel()
			s := openStack(t)
			datadriven.RunTest(t, f, s.transcript)
		})
	}
}

func (s *stack) transcript(t *testing.T, d *datadriven.TestData) string {
	if d.Cmd != "sql" {
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	var user string
	r := Request{SQL: d.Input}
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "user":
			user = a.Vals[0]
		case "namespace":
			r.Namespace = a.Vals[0]
		case "key":
			r.IdempotencyKey = a.Vals[0]
		case "params":
			for _, v := range a.Vals {
				r.Params = append(r.Params, param(v))
			}
		}
	}
	var c collect
	err := s.Run(as(user), r, &c)
	var out strings.Builder
	for _, res := range c.results {
		out.WriteString(res.print())
	}
	if err != nil {
		out.WriteString(printError(err))
	}
	return out.String()
}

// param reads a parameter of a transcript as JSON would be read.
func param(s string) expr.Value {
	for _, k := range []expr.Kind{expr.Integer, expr.BigInt, expr.Double, expr.Bool} {
		if v, err := expr.CastValue(expr.TextOf(s), expr.Type{Kind: k}); err == nil && v.String() == s {
			return v
		}
	}
	if s == "null" {
		return expr.Value{}
	}
	return expr.TextOf(s)
}
