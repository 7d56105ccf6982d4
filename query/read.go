package query

import (
	"context"

	"kalamlog.dev/kalam/query/duck"
)

// read answers a query: from the state if it reads one key, else with DuckDB.
func (s *session) read(ctx context.Context, p *readPlan) error {
	if err := p.checkRights(s.caller); err != nil {
		return err
	}
	if p.key != nil {
		if done, err := s.readKey(p); done || err != nil {
			return err
		}
	}
	s.metrics.statements.WithLabelValues("duckdb").Inc()
	return s.readDuck(ctx, p, p.sql)
}

// readDuck runs sql, made from p, in DuckDB.
func (s *session) readDuck(ctx context.Context, p *readPlan, sql string) error {
	snap, err := p.reader.mirrors.Open(ctx, duck.Read{
		Tables: p.tables, Computed: p.computed, Catalog: p.catalog, User: s.caller.Name, AllUsers: s.caller.Admin,
	})
	if err != nil {
		return err
	}
	defer snap.Close()
	rows, err := snap.Query(ctx, sql, s.Params)
	if err != nil {
		return p.readProblem(err)
	}
	defer rows.Close()
	if err := s.sink.Begin(columnsOf(rows.Columns())); err != nil {
		return err
	}
	sum := Summary{Position: snap.Position, PlanCache: s.cached}
	for {
		ok, err := rows.Next()
		if err != nil {
			return p.readProblem(err)
		}
		if !ok {
			return s.sink.End(sum)
		}
		if err := s.sink.Row(rows.Values()); err != nil {
			return err
		}
		sum.RowCount++
	}
}

func columnsOf(in []duck.Column) []Column {
	out := make([]Column, len(in))
	for i, c := range in {
		out[i] = Column(c)
	}
	return out
}
