package expr

import (
	"math"
	"strconv"
	"strings"
)

// SQL prints n as SQL text that both DuckDB and PostgreSQL's grammar parse, and that parses back to an expression of
// the same meaning. Every operator is in parentheses and every column is quoted.
func SQL(n Node) string { return string(appendSQL(nil, n)) }

func appendSQL(dst []byte, n Node) []byte {
	switch n := n.(type) {
	case nil:
		return append(dst, "NULL"...)
	case Literal:
		return appendLiteral(dst, n.Value)
	case Column:
		return appendIdentifier(dst, n.Name)
	case Param:
		return strconv.AppendInt(append(dst, '$'), int64(n.Number), 10)
	case Unary:
		return appendUnary(dst, n)
	case Binary:
		dst = appendSQL(append(dst, '('), n.L)
		dst = append(append(append(dst, ' '), n.Op...), ' ')
		if pattern, escape, ok := escapedPattern(n); ok {
			dst = append(appendSQL(dst, pattern), " ESCAPE "...)
			return append(appendSQL(dst, escape), ')')
		}
		return append(appendSQL(dst, n.R), ')')
	case In:
		dst = appendSQL(append(dst, '('), n.X)
		dst = append(append(dst, notWord(n.Not)...), " IN ("...)
		return append(appendSQLs(dst, n.List), "))"...)
	case Between:
		dst = appendSQL(append(dst, '('), n.X)
		dst = append(append(dst, notWord(n.Not)...), " BETWEEN "...)
		dst = append(appendSQL(dst, n.Low), " AND "...)
		return append(appendSQL(dst, n.High), ')')
	case Case:
		return appendCaseSQL(dst, n)
	case Cast:
		word := "CAST("
		if n.Try {
			word = "TRY_CAST("
		}
		dst = append(appendSQL(append(dst, word...), n.X), " AS "...)
		return append(append(dst, n.Type.String()...), ')')
	case Call:
		if n.Name == "interval" && len(n.Args) == 1 {
			return append(appendSQL(append(dst, "CAST("...), n.Args[0]), " AS INTERVAL)"...)
		}
		dst = append(append(dst, callName(n.Name)...), '(')
		return append(appendSQLs(dst, n.Args), ')')
	case Array:
		return append(appendSQLs(append(dst, "ARRAY["...), n.Elems), ']')
	}
	panic("expr: SQL of a foreign node")
}

func notWord(not bool) string {
	if not {
		return " NOT"
	}
	return ""
}

func appendSQLs(dst []byte, ns []Node) []byte {
	for i, n := range ns {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendSQL(dst, n)
	}
	return dst
}

func appendUnary(dst []byte, n Unary) []byte {
	dst = append(dst, '(')
	switch n.Op {
	case "-", "+", "NOT":
		dst = append(append(dst, n.Op...), ' ')
		dst = appendSQL(dst, n.X)
	default:
		dst = append(appendSQL(dst, n.X), ' ')
		dst = append(dst, n.Op...)
	}
	return append(dst, ')')
}

func appendCaseSQL(dst []byte, n Case) []byte {
	dst = append(dst, "CASE"...)
	if n.Operand != nil {
		dst = appendSQL(append(dst, ' '), n.Operand)
	}
	for _, w := range n.Whens {
		dst = appendSQL(append(dst, " WHEN "...), w.Cond)
		dst = appendSQL(append(dst, " THEN "...), w.Then)
	}
	if n.Else != nil {
		dst = appendSQL(append(dst, " ELSE "...), n.Else)
	}
	return append(dst, " END"...)
}

func appendIdentifier(dst []byte, name string) []byte {
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(name, `"`, `""`)...)
	return append(dst, '"')
}

func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '\'')
	dst = append(dst, strings.ReplaceAll(s, "'", "''")...)
	return append(dst, '\'')
}

func appendLiteral(dst []byte, v Value) []byte {
	switch v.kind {
	case Null, Bool, SmallInt, Integer, BigInt, tinyInt, hugeInt:
		return appendSigned(dst, appendText(nil, v))
	case Decimal:
		return appendDecimalLiteral(dst, v)
	case Text:
		return appendQuoted(dst, v.str)
	case Double:
		if f := v.float(); f == f && !math.IsInf(f, 0) {
			return appendSigned(dst, strconv.AppendFloat(nil, f, 'e', -1, 64))
		}
	case List:
		dst = append(dst, "ARRAY["...)
		for i, e := range *v.list {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendLiteral(dst, e)
		}
		return append(dst, ']')
	}
	dst = append(dst, "CAST("...)
	dst = appendQuoted(dst, v.String())
	dst = append(append(dst, " AS "...), v.kind.String()...)
	return append(dst, ')')
}

// appendDecimalLiteral writes digits that DuckDB gives the type that Compile gives the literal: 5. is DECIMAL(1,0).
func appendDecimalLiteral(dst []byte, v Value) []byte {
	text := appendText(nil, v)
	t := TypeOf(v)
	switch {
	case t.Scale == 0 && !wholeLiteral(v):
		text = append(text, '.')
	case t.Precision == maxPrecision && t.Scale == maxPrecision:
		text = appendTextAs(nil, v, t)
	}
	return appendSigned(dst, text)
}

// wholeLiteral reports whether a decimal literal is an integer beyond BIGINT.
func wholeLiteral(v Value) bool {
	_, small := v.int128().int64()
	return v.scale == 0 && !small
}

func appendSigned(dst, text []byte) []byte {
	if len(text) > 0 && text[0] == '-' {
		return append(append(append(dst, '('), text...), ')')
	}
	return append(dst, text...)
}
