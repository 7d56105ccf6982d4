package parse

import (
	"math/big"
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

// operator translates A_Expr: operators, IN, LIKE, BETWEEN, IS DISTINCT FROM, NULLIF.
func (t *translator) operator(e *pg.A_Expr) (expr.Node, error) {
	switch e.Kind {
	case pg.A_Expr_Kind_AEXPR_IN:
		return t.in(e)
	case pg.A_Expr_Kind_AEXPR_BETWEEN, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN:
		return t.between(e)
	case pg.A_Expr_Kind_AEXPR_OP:
		if e.Lexpr == nil {
			return t.prefix(e)
		}
	default:
	}
	op, err := t.operatorName(e)
	if err != nil {
		return nil, err
	}
	sides, err := t.nodes([]*pg.Node{e.Lexpr, e.Rexpr})
	if err != nil {
		return nil, err
	}
	if e.Kind == pg.A_Expr_Kind_AEXPR_NULLIF {
		return expr.Call{Name: "nullif", Args: sides}, nil
	}
	return expr.Binary{Op: op, L: sides[0], R: sides[1]}, nil
}

// operatorName returns expr's name of a binary operator.
func (t *translator) operatorName(e *pg.A_Expr) (string, error) {
	path := names(e.Name)
	symbol := path[len(path)-1]
	switch e.Kind {
	case pg.A_Expr_Kind_AEXPR_DISTINCT:
		return "IS DISTINCT FROM", nil
	case pg.A_Expr_Kind_AEXPR_NOT_DISTINCT:
		return "IS NOT DISTINCT FROM", nil
	case pg.A_Expr_Kind_AEXPR_NULLIF:
		return symbol, nil
	case pg.A_Expr_Kind_AEXPR_LIKE:
		return pattern("LIKE", symbol), nil
	case pg.A_Expr_Kind_AEXPR_ILIKE:
		return pattern("ILIKE", symbol), nil
	case pg.A_Expr_Kind_AEXPR_OP:
		return t.symbol(e, symbol)
	default:
		return "", t.unsupported(e.Location, "operator %s of this kind is not supported here", symbol)
	}
}

// pattern tells LIKE (operator ~~) from NOT LIKE (!~~).
func pattern(word, symbol string) string {
	if strings.HasPrefix(symbol, "!") {
		return "NOT " + word
	}
	return word
}

func (t *translator) symbol(e *pg.A_Expr, symbol string) (string, error) {
	switch symbol {
	case "%":
		if slices.Contains(t.floors, int(e.Location)) {
			return "//", nil
		}
		return symbol, nil
	case "!=":
		return "<>", nil
	case "==":
		return "=", nil
	case "~~", "!~~":
		return pattern("LIKE", symbol), nil
	case "~~*", "!~~*":
		return pattern("ILIKE", symbol), nil
	case "+", "-", "*", "/", "||", "=", "<>", "<", "<=", ">", ">=", "->", "->>":
		return symbol, nil
	}
	return "", problem.New(problem.UnknownFunction, "operator %s does not exist", near(symbol)).At(t.at(e.Location))
}

func (t *translator) prefix(e *pg.A_Expr) (expr.Node, error) {
	path := names(e.Name)
	symbol := path[len(path)-1]
	x, err := t.node(e.Rexpr)
	if err != nil {
		return nil, err
	}
	switch symbol {
	case "+":
		return expr.Unary{Op: "+", X: x}, nil
	case "-":
		if l, ok := x.(expr.Literal); ok {
			if v, ok := negate(l.Value); ok {
				return expr.Literal{Value: v}, nil
			}
		}
		return expr.Unary{Op: "-", X: x}, nil
	}
	return nil, problem.New(problem.UnknownFunction, "operator %s does not exist", near(symbol)).At(t.at(e.Location))
}

// negate folds the sign into a numeric literal.
func negate(v expr.Value) (expr.Value, bool) {
	switch v.Kind() {
	case expr.Integer, expr.BigInt:
		return bigLiteral(-v.Int()), true
	case expr.Double:
		return expr.FloatOf(expr.Double, -v.Float()), true
	case expr.Decimal:
		hi, lo, scale := v.DecimalParts()
		u := new(big.Int).Add(new(big.Int).Lsh(new(big.Int).SetUint64(hi), 64), new(big.Int).SetUint64(lo))
		if scale == 0 && u.Cmp(new(big.Int).Lsh(big.NewInt(1), 63)) == 0 {
			return expr.IntOf(expr.BigInt, -1<<63), true
		}
		lo, borrow := -lo, uint64(0)
		if lo != 0 {
			borrow = 1
		}
		return expr.DecimalOf(-hi-borrow, lo, scale), true
	}
	return v, false
}

func (t *translator) in(e *pg.A_Expr) (expr.Node, error) {
	x, err := t.node(e.Lexpr)
	if err != nil {
		return nil, err
	}
	list, err := t.nodes(e.Rexpr.GetList().GetItems())
	if err != nil {
		return nil, err
	}
	return expr.In{X: x, List: list, Not: names(e.Name)[0] == "<>"}, nil
}

func (t *translator) between(e *pg.A_Expr) (expr.Node, error) {
	x, err := t.node(e.Lexpr)
	if err != nil {
		return nil, err
	}
	bounds, err := t.nodes(e.Rexpr.GetList().GetItems())
	if err != nil {
		return nil, err
	}
	not := e.Kind == pg.A_Expr_Kind_AEXPR_NOT_BETWEEN
	return expr.Between{X: x, Low: bounds[0], High: bounds[1], Not: not}, nil
}
