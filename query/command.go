package query

import (
	"context"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
	"kalamlog.dev/kalam/query/parse"
)

// flusher returns whom FLUSH TABLE and KILL JOB speak to.
func (s *session) flusher() (Jobs, error) {
	if !s.caller.Admin {
		return nil, problem.New(problem.Forbidden, "only administrators start and kill jobs")
	}
	jobs := s.jobs.Load()
	if jobs == nil {
		return nil, problem.New(problem.Unsupported, "this server runs no jobs")
	}
	return *jobs, nil
}

// flush starts a job and answers with its id.
func (s *session) flush(ctx context.Context, st parse.FlushTable) error {
	jobs, err := s.flusher()
	if err != nil {
		return err
	}
	t, err := s.writable(st.Table)
	if err != nil {
		return err
	}
	id, err := jobs.Flush(ctx, t)
	if err != nil {
		return err
	}
	return s.answer(textColumns("job_id"), [][]expr.Value{textsOf(id)})
}

func (s *session) killJob(ctx context.Context, st parse.KillJob) error {
	jobs, err := s.flusher()
	if err != nil {
		return err
	}
	if err := jobs.Kill(ctx, st.ID); err != nil {
		return err
	}
	return s.done(Summary{RowCount: 1, Position: s.Log.Position()})
}

// killLiveQuery forgets a stored live query; its owner or an administrator may.
func (s *session) killLiveQuery(ctx context.Context, st parse.KillLiveQuery) error {
	t := s.Materializer.Catalog().TableByID(materializer.SystemLiveQueries)
	m, err := t.OfKey(materializer.Remove, []expr.Value{expr.TextOf(st.ID)})
	if err != nil {
		return err
	}
	m.Miss = materializer.Skip
	if !s.caller.Admin {
		m.Where = expr.Binary{Op: "=", L: expr.Column{Name: "owner"}, R: expr.Literal{Value: expr.TextOf(s.caller.Name)}}
	}
	b := s.batch()
	b.Mutations = []materializer.Mutation{m}
	receipt, err := s.Writer.Write(ctx, b)
	if err != nil {
		return err
	}
	if !receipt.Applied[0].Done {
		return problem.New(problem.UnknownLiveQuery, "live query %q does not exist", st.ID)
	}
	return s.done(Summary{RowCount: 1, Position: receipt.Position})
}
