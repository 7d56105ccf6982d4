package subscribe

import (
	"slices"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
	"kalamlog.dev/kalam/query/parse"
)

// scope holds the names that a live query may use. Behind the table's columns stand the system columns, which are known only
// to be refused with a reason: a row before a change has no offset or timestamp in the log.
type scope struct {
	fields  []expr.Field
	columns int // how many of fields are the table's
}

func newScope(s *materializer.Schema) scope {
	own := s.Fields()
	fields := slices.Clip(own)
	for _, f := range systemFields() {
		if _, taken := s.Column(f.Name); !taken {
			fields = append(fields, f)
		}
	}
	return scope{fields: fields, columns: len(own)}
}

func systemFields() []expr.Field {
	return []expr.Field{
		{Name: "_partition", Type: expr.Type{Kind: expr.Integer}},
		{Name: "_offset", Type: expr.Type{Kind: expr.BigInt}},
		{Name: "_timestamp", Type: expr.Type{Kind: expr.TimestampTZ}},
		{Name: "_op", Type: expr.Type{Kind: expr.Text}},
	}
}

// output compiles one column of what a subscriber receives.
func (s scope) output(item parse.SelectItem, schema *materializer.Schema) (output, error) {
	o := output{name: item.Alias, member: append(appendString(nil, item.Alias), ':')}
	p, err := expr.Compile(item.Expr, s.fields)
	if err != nil {
		return output{}, err
	}
	if err := s.check(p); err != nil {
		return output{}, err
	}
	if _, ok := item.Expr.(expr.Column); ok {
		o.column = p.Columns()[0]
		o.typ = schema.Columns[o.column].Type
		return o, nil
	}
	o.program, o.typ = p, p.Type()
	return o, nil
}

// condition compiles a WHERE.
func (s scope) condition(n expr.Node) (*expr.Program, error) {
	p, err := expr.CompileFilter(n, s.fields)
	if err != nil {
		return nil, err
	}
	return p, s.check(p)
}

// check refuses a program that reads system columns.
func (s scope) check(p *expr.Program) error {
	used := p.Columns()
	if len(used) == 0 || used[len(used)-1] < s.columns {
		return nil
	}
	return problem.New(problem.Unsupported, "system column %s cannot be used in a live query", s.fields[used[len(used)-1]].Name).
		WithHint("every event carries partition, offset and timestamp beside its row")
}
