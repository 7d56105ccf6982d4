package parse

import (
	pg "github.com/pganalyze/pg_query_go/v6"

	"kalamlog.dev/kalam/internal/problem"
)

// parseSelect keeps a query's text and, as far as PostgreSQL's grammar understands it, its shape. It refuses nothing:
// DuckDB's parser has the last word on queries.
func parseSelect(p Piece) Select {
	out := Select{Text: p.text}
	stmt, err := parsePG(p)
	if err != nil {
		out.WhyNot = "it uses syntax beyond PostgreSQL's"
		return out
	}
	s := stmt.GetSelectStmt()
	if s == nil || !plainSelect(s) || len(s.TargetList) == 0 {
		out.WhyNot = "it is more than SELECT ... FROM one table WHERE ..."
		return out
	}
	t := translator{Piece: p}
	if out.Simple, err = t.simple(s); err != nil {
		out.Simple = nil
		out.WhyNot = err.Error()
		if p := problem.As(err); p != nil {
			out.WhyNot = p.Message
		}
	}
	return out
}

// plainSelect reports whether s has no clause but the select list, FROM, WHERE, ORDER BY and LIMIT.
func plainSelect(s *pg.SelectStmt) bool {
	return len(s.DistinctClause) == 0 && s.IntoClause == nil && len(s.GroupClause) == 0 && s.HavingClause == nil &&
		len(s.WindowClause) == 0 && len(s.ValuesLists) == 0 && s.LimitOffset == nil && len(s.LockingClause) == 0 &&
		s.WithClause == nil && s.Op == pg.SetOperation_SETOP_NONE && s.LimitOption != pg.LimitOption_LIMIT_OPTION_WITH_TIES
}

func (t *translator) simple(s *pg.SelectStmt) (*SimpleSelect, error) {
	if len(s.FromClause) != 1 || s.FromClause[0].GetRangeVar() == nil {
		return nil, problem.New(problem.Unsupported, "it does not read from exactly one table")
	}
	out := &SimpleSelect{Limit: -1, OrderBy: len(s.SortClause) > 0}
	var err error
	if out.Table, err = t.tableName(s.FromClause[0].GetRangeVar()); err != nil {
		return nil, err
	}
	if out.Items, err = t.selectItems(s.TargetList); err != nil {
		return nil, err
	}
	if out.Where, err = t.optional(s.WhereClause); err != nil {
		return nil, err
	}
	if s.LimitCount != nil {
		limit := s.LimitCount.GetAConst()
		if limit == nil || limit.GetIval() == nil {
			return nil, problem.New(problem.Unsupported, "its LIMIT is not a number")
		}
		out.Limit = int64(limit.GetIval().GetIval())
	}
	return out, nil
}
