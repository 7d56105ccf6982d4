package query

import (
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

// fix binds the parameters of an expression and replaces what differs from call to call or from node to node (now(),
// generated ids, the caller) by values: what is proposed must mean the same wherever and whenever it is applied.
func (s *session) fix(n expr.Node) (expr.Node, error) {
	if n == nil {
		return nil, nil
	}
	bound, err := expr.Bind(n, s.Params)
	if err != nil {
		return nil, err
	}
	return s.fixCalls(bound)
}

func (s *session) fixCalls(n expr.Node) (expr.Node, error) {
	var failed error
	out := mapNode(n, func(n expr.Node) expr.Node {
		call, ok := n.(expr.Call)
		if !ok || len(call.Args) > 0 {
			return n
		}
		v, ok, err := s.call(call.Name)
		if err != nil {
			failed = err
		}
		if !ok {
			return n
		}
		return expr.Literal{Value: v}
	})
	return out, failed
}

// call evaluates a function without arguments whose value is the session's to choose.
func (s *session) call(name string) (expr.Value, bool, error) {
	const day = 24 * 3600 * 1_000_000
	switch name {
	case "now", "current_timestamp", "get_current_timestamp", "transaction_timestamp":
		return expr.IntOf(expr.TimestampTZ, s.now), true, nil
	case "localtimestamp", "current_localtimestamp":
		return expr.IntOf(expr.Timestamp, s.now), true, nil
	case "current_date", "today":
		return expr.IntOf(expr.Date, s.now/day), true, nil
	case "current_user_id", "current_user":
		return expr.TextOf(s.caller.Name), true, nil
	case "uuid_v7", "uuidv7", "gen_random_uuid", "uuid":
		v, err := s.IDs.UUIDv7()
		return v, true, err
	case "ulid":
		return s.IDs.ULID(), true, nil
	case "snowflake_id":
		return expr.IntOf(expr.BigInt, s.IDs.Snowflake(s.now)), true, nil
	}
	return expr.Value{}, false, nil
}

// constant evaluates an expression that reads no column.
func (s *session) constant(n expr.Node) (expr.Value, error) {
	fixed, err := s.fix(n)
	if err != nil {
		return expr.Value{}, err
	}
	return evaluate(fixed)
}

func evaluate(n expr.Node) (expr.Value, error) {
	if l, ok := n.(expr.Literal); ok {
		return l.Value, nil
	}
	p, err := expr.Compile(n, nil)
	if err != nil {
		return expr.Value{}, err
	}
	return p.Eval(expr.Values(nil))
}

// mapNode returns a copy of a tree with f applied to every node, operands first.
func mapNode(n expr.Node, f func(expr.Node) expr.Node) expr.Node {
	switch x := n.(type) {
	case nil:
		return nil
	case expr.Unary:
		x.X = mapNode(x.X, f)
		return f(x)
	case expr.Binary:
		x.L, x.R = mapNode(x.L, f), mapNode(x.R, f)
		return f(x)
	case expr.In:
		x.X, x.List = mapNode(x.X, f), mapNodes(x.List, f)
		return f(x)
	case expr.Between:
		x.X, x.Low, x.High = mapNode(x.X, f), mapNode(x.Low, f), mapNode(x.High, f)
		return f(x)
	case expr.Case:
		return f(mapCase(x, f))
	case expr.Cast:
		x.X = mapNode(x.X, f)
		return f(x)
	case expr.Call:
		x.Args = mapNodes(x.Args, f)
		return f(x)
	case expr.Array:
		x.Elems = mapNodes(x.Elems, f)
		return f(x)
	}
	return f(n)
}

func mapCase(c expr.Case, f func(expr.Node) expr.Node) expr.Node {
	whens := make([]expr.When, len(c.Whens))
	for i, w := range c.Whens {
		whens[i] = expr.When{Cond: mapNode(w.Cond, f), Then: mapNode(w.Then, f)}
	}
	c.Operand, c.Whens, c.Else = mapNode(c.Operand, f), whens, mapNode(c.Else, f)
	return c
}

func mapNodes(ns []expr.Node, f func(expr.Node) expr.Node) []expr.Node {
	out := make([]expr.Node, len(ns))
	for i, n := range ns {
		out[i] = mapNode(n, f)
	}
	return out
}

// unknownColumn is the error of a name that a table does not have, with a hint.
func unknownColumn(fields []expr.Field, name string, position int) error {
	if _, err := expr.Compile(expr.Column{Name: name}, fields); err != nil {
		return placed(err, position)
	}
	return problem.New(problem.UnknownColumn, "column %q does not exist", name).At(position)
}
