package parse

import (
	"encoding/hex"
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

// node translates one expression.
func (t *translator) node(n *pg.Node) (expr.Node, error) {
	switch e := n.GetNode().(type) {
	case *pg.Node_AConst:
		return t.constant(e.AConst)
	case *pg.Node_ColumnRef:
		return t.columnRef(e.ColumnRef)
	case *pg.Node_ParamRef:
		return t.param(e.ParamRef)
	case *pg.Node_AExpr:
		return t.operator(e.AExpr)
	case *pg.Node_BoolExpr:
		return t.boolean(e.BoolExpr)
	case *pg.Node_NullTest:
		return t.nullTest(e.NullTest)
	case *pg.Node_BooleanTest:
		return t.booleanTest(e.BooleanTest)
	case *pg.Node_CaseExpr:
		return t.caseExpr(e.CaseExpr)
	case *pg.Node_TypeCast:
		return t.cast(e.TypeCast)
	case *pg.Node_AArrayExpr:
		elems, err := t.nodes(e.AArrayExpr.Elements)
		return expr.Array{Elems: elems}, err
	}
	return t.callLike(n)
}

// callLike translates what expr sees as function calls.
func (t *translator) callLike(n *pg.Node) (expr.Node, error) {
	switch e := n.GetNode().(type) {
	case *pg.Node_FuncCall:
		return t.call(e.FuncCall)
	case *pg.Node_CoalesceExpr:
		args, err := t.nodes(e.CoalesceExpr.Args)
		return expr.Call{Name: "coalesce", Args: args}, err
	case *pg.Node_MinMaxExpr:
		name := "greatest"
		if e.MinMaxExpr.Op == pg.MinMaxOp_IS_LEAST {
			name = "least"
		}
		args, err := t.nodes(e.MinMaxExpr.Args)
		return expr.Call{Name: name, Args: args}, err
	case *pg.Node_SqlvalueFunction:
		return t.valueFunction(e.SqlvalueFunction)
	case *pg.Node_SubLink:
		return nil, t.unsupported(e.SubLink.Location, "subqueries are not supported here")
	case *pg.Node_SetToDefault:
		return nil, t.unsupported(e.SetToDefault.Location, "DEFAULT is not allowed here")
	case *pg.Node_CollateClause:
		return nil, t.unsupported(e.CollateClause.Location, "COLLATE is not supported: text is compared by its bytes")
	}
	return nil, problem.New(problem.Unsupported, "an expression of this kind is not supported here")
}

func (t *translator) constant(c *pg.A_Const) (expr.Node, error) {
	if c.Isnull {
		return expr.Literal{}, nil
	}
	switch v := c.Val.(type) {
	case *pg.A_Const_Ival:
		return expr.Literal{Value: expr.IntOf(expr.Integer, int64(v.Ival.GetIval()))}, nil
	case *pg.A_Const_Fval:
		return t.number(v.Fval.GetFval(), c.Location)
	case *pg.A_Const_Boolval:
		return expr.Literal{Value: expr.BoolOf(v.Boolval.GetBoolval())}, nil
	case *pg.A_Const_Sval:
		return expr.Literal{Value: expr.TextOf(v.Sval.GetSval())}, nil
	case *pg.A_Const_Bsval:
		return t.bits(v.Bsval.GetBsval(), c.Location)
	}
	return nil, t.unsupported(c.Location, "this literal is not supported")
}

// bits translates X'6869', a blob. Bit strings B'01' have no type here.
func (t *translator) bits(s string, location int32) (expr.Node, error) {
	if digits, ok := strings.CutPrefix(s, "x"); ok {
		if b, err := hex.DecodeString(digits); err == nil {
			return expr.Literal{Value: expr.BlobOf(b)}, nil
		}
	}
	return nil, t.unsupported(location, "bit strings are not supported").WithHint("write a blob as X'6869'")
}

// number translates a numeric literal that is not a 32-bit integer. The grammar folds a sign into it.
func (t *translator) number(s string, location int32) (expr.Node, error) {
	if digits, ok := strings.CutPrefix(s, "-"); ok {
		n, err := t.number(digits, location)
		if err != nil {
			return nil, err
		}
		v, _ := negate(n.(expr.Literal).Value)
		return expr.Literal{Value: v}, nil
	}
	if i, err := strconv.ParseInt(s, 0, 64); err == nil && strings.ContainsAny(s, "xXoObB") {
		return expr.Literal{Value: bigLiteral(i)}, nil
	}
	v, err := expr.NumberOf(s)
	if p := problem.As(err); p != nil {
		return nil, p.At(t.at(location))
	}
	return expr.Literal{Value: v}, err
}

func bigLiteral(i int64) expr.Value {
	if int64(int32(i)) == i {
		return expr.IntOf(expr.Integer, i)
	}
	return expr.IntOf(expr.BigInt, i)
}

func (t *translator) param(p *pg.ParamRef) (expr.Node, error) {
	if p.Number < 1 {
		return nil, problem.New(problem.SyntaxError, "parameters are numbered from $1").At(t.at(p.Location))
	}
	return expr.Param{Number: int(p.Number)}, nil
}

func (t *translator) boolean(b *pg.BoolExpr) (expr.Node, error) {
	args, err := t.nodes(b.Args)
	if err != nil {
		return nil, err
	}
	switch b.Boolop {
	case pg.BoolExprType_NOT_EXPR:
		return expr.Unary{Op: "NOT", X: args[0]}, nil
	case pg.BoolExprType_OR_EXPR:
		return fold("OR", args), nil
	default:
		return fold("AND", args), nil
	}
}

// fold joins args as a balanced tree: long AND and OR lists must not become deep ones.
func fold(op string, args []expr.Node) expr.Node {
	if len(args) == 1 {
		return args[0]
	}
	half := len(args) / 2
	return expr.Binary{Op: op, L: fold(op, args[:half]), R: fold(op, args[half:])}
}

func (t *translator) nullTest(n *pg.NullTest) (expr.Node, error) {
	x, err := t.node(n.Arg)
	if n.Nulltesttype == pg.NullTestType_IS_NULL {
		return expr.Unary{Op: "IS NULL", X: x}, err
	}
	return expr.Unary{Op: "IS NOT NULL", X: x}, err
}

func (t *translator) booleanTest(b *pg.BooleanTest) (expr.Node, error) {
	x, err := t.node(b.Arg)
	if err != nil {
		return nil, err
	}
	switch b.Booltesttype {
	case pg.BoolTestType_IS_TRUE:
		return expr.Unary{Op: "IS TRUE", X: x}, nil
	case pg.BoolTestType_IS_NOT_TRUE:
		return expr.Unary{Op: "IS NOT TRUE", X: x}, nil
	case pg.BoolTestType_IS_FALSE:
		return expr.Unary{Op: "IS FALSE", X: x}, nil
	case pg.BoolTestType_IS_NOT_FALSE:
		return expr.Unary{Op: "IS NOT FALSE", X: x}, nil
	default:
		return nil, t.unsupported(b.Location, "IS UNKNOWN is not supported").WithHint("use IS NULL")
	}
}

func (t *translator) caseExpr(c *pg.CaseExpr) (expr.Node, error) {
	operand, err := t.optional(c.Arg)
	if err != nil {
		return nil, err
	}
	otherwise, err := t.optional(c.Defresult)
	if err != nil {
		return nil, err
	}
	out := expr.Case{Operand: operand, Else: otherwise}
	for _, w := range c.Args {
		when := w.GetCaseWhen()
		arm, err := t.nodes([]*pg.Node{when.GetExpr(), when.GetResult()})
		if err != nil {
			return nil, err
		}
		out.Whens = append(out.Whens, expr.When{Cond: arm[0], Then: arm[1]})
	}
	return out, nil
}

func (t *translator) cast(c *pg.TypeCast) (expr.Node, error) {
	x, err := t.node(c.Arg)
	if err != nil {
		return nil, err
	}
	if _, constant := x.(expr.Literal); constant && isInterval(c.TypeName) {
		return expr.Call{Name: "interval", Args: []expr.Node{x}}, nil
	}
	typ, err := t.typeName(c.TypeName)
	return expr.Cast{X: x, Type: typ}, err
}

// isInterval reports whether t is INTERVAL without fields: no column can have it, but a constant of it may be added to a time.
func isInterval(t *pg.TypeName) bool {
	path := names(t.Names)
	return path[len(path)-1] == "interval" && len(t.Typmods) == 0 && len(t.ArrayBounds) == 0
}

func (t *translator) call(f *pg.FuncCall) (expr.Node, error) {
	path := names(f.Funcname)
	name := path[len(path)-1]
	if len(path) > 1 && path[0] != "pg_catalog" {
		return nil, problem.New(problem.UnknownFunction, "function %q does not exist", strings.Join(path, ".")).
			At(t.at(f.Location))
	}
	if f.AggStar || f.AggDistinct || f.AggFilter != nil || f.AggOrder != nil || f.Over != nil || f.AggWithinGroup || f.FuncVariadic {
		return nil, t.unsupported(f.Location, "aggregate and window functions are not supported here")
	}
	args, err := t.nodes(f.Args)
	return expr.Call{Name: strings.ToLower(name), Args: args}, err
}

func (t *translator) valueFunction(f *pg.SQLValueFunction) (expr.Node, error) {
	switch f.Op {
	case pg.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP:
		return expr.Call{Name: "now"}, nil
	case pg.SQLValueFunctionOp_SVFOP_CURRENT_DATE:
		return expr.Call{Name: "current_date"}, nil
	case pg.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP:
		return expr.Call{Name: "localtimestamp"}, nil
	case pg.SQLValueFunctionOp_SVFOP_CURRENT_USER, pg.SQLValueFunctionOp_SVFOP_USER, pg.SQLValueFunctionOp_SVFOP_SESSION_USER:
		return expr.Call{Name: "current_user_id"}, nil
	default:
		return nil, t.unsupported(f.Location, "this function is not supported").WithHint("use now() or current_date")
	}
}
