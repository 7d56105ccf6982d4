package query

import (
	"slices"
	"strings"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
	"kalamlog.dev/kalam/query/parse"
)

// excludedPrefix begins the names of the columns of the row that could not be inserted.
const excludedPrefix = "excluded."

// patcher makes the Patch mutations of one SET clause.
type patcher struct {
	*session
	table  *materializer.Table
	places []int       // of the columns that are set
	values []expr.Node // parameters bound
	where  expr.Node   // evaluated again at apply; nil: always
}

// newPatcher checks a SET clause and a condition against a table. With excluded, expressions may name excluded.column.
func (s *session) newPatcher(t *materializer.Table, sets []parse.Set, where expr.Node, excluded bool) (*patcher, error) {
	p := &patcher{session: s, table: t}
	for _, set := range sets {
		if err := p.add(set, excluded); err != nil {
			return nil, err
		}
	}
	var err error
	if p.where, err = s.condition(t, where, excluded); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *patcher) add(set parse.Set, excluded bool) error {
	s := p.table.Schema()
	place, ok := s.Column(set.Column)
	switch {
	case !ok:
		return unknownColumn(s.Fields(), set.Column, set.Position)
	case slices.Contains(s.Key, place):
		return problem.New(problem.Unsupported, "column %q is part of the key and cannot be set", set.Column).At(set.Position).
			WithHint("delete the row and insert it under its new key")
	case slices.Contains(p.places, place):
		return problem.New(problem.DuplicateColumn, "column %q is set twice", set.Column).At(set.Position)
	}
	n := set.Value
	if n == nil {
		n = defaultNode(s.Columns[place])
	}
	bound, err := expr.Bind(n, p.Params)
	if err != nil {
		return err
	}
	if err := p.check(s, place, bound, excluded, set.Position); err != nil {
		return err
	}
	p.places, p.values = append(p.places, place), append(p.values, bound)
	return nil
}

// check compiles an assignment, and evaluates it if it is constant, so that mistakes show before anything is proposed.
func (p *patcher) check(s *materializer.Schema, place int, n expr.Node, excluded bool, position int) error {
	fixed, err := p.fixCalls(n)
	if err != nil {
		return err
	}
	program, err := expr.Compile(fixed, fieldsOf(s, excluded))
	if err != nil {
		return p.locate(err)
	}
	c := s.Columns[place]
	if len(program.Columns()) > 0 {
		return nil
	}
	v, err := program.Eval(expr.Values(nil))
	if err == nil {
		v, err = expr.CastValue(v, c.Type)
	}
	if err == nil && v.IsNull() && c.NotNull {
		err = problem.New(problem.NotNull, "column %q of %s must not be NULL", c.Name, p.table.QualifiedName())
	}
	return placed(err, position)
}

// fieldsOf returns what expressions over a table may name.
func fieldsOf(s *materializer.Schema, excluded bool) []expr.Field {
	fields := s.Fields()
	if excluded {
		for _, c := range s.Columns {
			fields = append(fields, expr.Field{Name: excludedPrefix + c.Name, Type: c.Type})
		}
	}
	return fields
}

// defaultNode is the expression that SET column = DEFAULT stands for.
func defaultNode(c materializer.Column) expr.Node {
	switch {
	case c.Default == nil:
		return expr.Literal{}
	case c.Default.Func != "":
		return expr.Call{Name: c.Default.Func}
	}
	v, _, err := expr.DecodeValue(c.Default.Literal)
	if err != nil {
		return expr.Literal{}
	}
	return expr.Literal{Value: v}
}

// condition binds and checks a WHERE clause.
func (s *session) condition(t *materializer.Table, where expr.Node, excluded bool) (expr.Node, error) {
	if where == nil {
		return nil, nil
	}
	fixed, err := s.fix(where)
	if err != nil {
		return nil, err
	}
	if _, err := expr.CompileFilter(fixed, fieldsOf(t.Schema(), excluded)); err != nil {
		return nil, s.locate(err)
	}
	return fixed, nil
}

// patch returns the mutation that applies the SET clause to the row that m addresses; row is the one not inserted.
func (p *patcher) patch(m materializer.Mutation, row []expr.Value) (materializer.Mutation, error) {
	out := materializer.Mutation{
		Op: materializer.Patch, Partition: m.Partition, Schema: m.Schema, Key: m.Key,
		Version: materializer.AnyVersion, Miss: materializer.Skip,
	}
	for i, place := range p.places {
		n, err := p.fixCalls(p.replaceExcluded(p.values[i], row))
		if err != nil {
			return out, err
		}
		out.Set = append(out.Set, materializer.Assignment{Column: place, Expr: n})
	}
	if p.where != nil {
		out.Where = p.replaceExcluded(p.where, row)
	}
	return out, nil
}

func (p *patcher) replaceExcluded(n expr.Node, row []expr.Value) expr.Node {
	if row == nil {
		return n
	}
	s := p.table.Schema()
	return mapNode(n, func(n expr.Node) expr.Node {
		c, ok := n.(expr.Column)
		if !ok {
			return n
		}
		name, ok := strings.CutPrefix(c.Name, excludedPrefix)
		if !ok {
			return n
		}
		place, ok := s.Column(name)
		if !ok {
			return n
		}
		return expr.Cast{X: expr.Literal{Value: row[place]}, Type: s.Columns[place].Type}
	})
}

// locate sets the position of an unknown column's name.
func (s *session) locate(err error) error {
	p := problem.As(err)
	if p == nil || p.Position != 0 || p.Code != problem.UnknownColumn && p.Code != problem.UnknownFunction {
		return err
	}
	_, rest, ok := strings.Cut(p.Message, `"`)
	if !ok {
		return err
	}
	name, _, _ := strings.Cut(rest, `"`)
	return placed(err, parse.Locate(s.parsed.Text, name))
}
