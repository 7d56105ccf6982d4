package query

import (
	"context"
	"errors"
	"hash/fnv"
	"strconv"
	"strings"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/duck"
	"kalamlog.dev/kalam/query/expr"
	"kalamlog.dev/kalam/query/parse"
)

// session is one request on its way through the engine. It is used by one goroutine.
type session struct {
	*Engine
	Request
	caller identity.Caller
	sink   Sink
	now    int64 // microseconds: what now() gives in all statements of the request

	parsed    parse.Parsed // the statement that runs
	statement int          // its number, from 1
	cached    string       // "hit" or "miss"
}

// Run executes the statements in order and stops at the first error, a *problem.Error that names the statement. A
// syntax error in any of them is found before the first one runs. The caller is in ctx (identity).
func (e *Engine) Run(ctx context.Context, r Request, sink Sink) error {
	caller, ok := identity.FromContext(ctx)
	if !ok || caller.Name == "" {
		return problem.New(problem.Forbidden, "the request has no user")
	}
	if r.Namespace == "" {
		r.Namespace = materializer.DefaultNamespace
	}
	s := &session{Engine: e, Request: r, caller: caller, sink: sink, now: clock.Micros(e.Clock)}
	pieces, err := parse.Split(r.SQL)
	if err != nil {
		return err
	}
	if err := s.parseAll(ctx, pieces); err != nil {
		return err
	}
	if err := e.Log.Reach(ctx, r.AtLeast); err != nil {
		return s.asProblem(ctx, err)
	}
	for i, p := range pieces {
		s.statement = i + 1
		if err := s.run(ctx, p); err != nil {
			return parse.InStatement(p.Place(s.asProblem(ctx, err)), i+1)
		}
	}
	return nil
}

// parseAll finds the syntax errors of a batch. A single statement's are found when it runs.
func (s *session) parseAll(ctx context.Context, pieces []parse.Piece) error {
	if len(pieces) == 1 {
		return nil
	}
	for i, p := range pieces {
		if s.plans.has(s.planKey(p)) {
			continue
		}
		parsed, err := parse.One(p)
		if err != nil {
			return parse.InStatement(p.Place(err), i+1)
		}
		if sel, ok := querySelect(parsed.Statement); ok {
			if _, err := s.reader.Load().shapeOf(ctx, sel.Text); problem.Is(err, problem.SyntaxError) {
				return parse.InStatement(p.Place(err), i+1)
			}
		}
	}
	return nil
}

func (s *session) planKey(p parse.Piece) planKey {
	return planKey{text: p.Text(), namespace: s.Namespace, catalog: s.Materializer.Catalog().Version(), reader: s.reader.Load()}
}

// run plans and executes one statement, again if the catalog changes under it.
func (s *session) run(ctx context.Context, p parse.Piece) error {
	const attempts = 20
	for range attempts {
		err := s.runOnce(ctx, p)
		if !errors.Is(err, duck.ErrCatalogChanged) && !s.Materializer.CatchUp(ctx, s.Log, err) {
			return err
		}
	}
	return problem.New(problem.Overloaded, "the catalog changes too fast").WithHint("try again")
}

func (s *session) runOnce(ctx context.Context, p parse.Piece) error {
	pl, err := s.plan(ctx, p)
	if err != nil {
		return err
	}
	s.parsed = pl.parsed
	return s.execute(ctx, pl)
}

// plan finds the statement's plan in the cache or makes it.
func (s *session) plan(ctx context.Context, p parse.Piece) (*plan, error) {
	if _, err := s.duckdb(); err != nil {
		return nil, err
	}
	catalog := s.Materializer.Catalog()
	key := s.planKey(p)
	key.catalog = catalog.Version()
	if pl, ok := s.plans.find(key); ok {
		s.cached = "hit"
		return pl, nil
	}
	s.cached = "miss"
	parsed, err := parse.One(p)
	if err != nil {
		return nil, err
	}
	pl := &plan{parsed: parsed}
	if sel, ok := querySelect(parsed.Statement); ok {
		if pl.read, err = s.planRead(ctx, catalog, sel); err != nil {
			return nil, inner(err, parsed.Text, sel.Text)
		}
	}
	s.plans.keep(key, pl)
	return pl, nil
}

// inner moves the position of a problem with a part of a statement to where it is in the whole.
func inner(err error, whole, part string) error {
	p := problem.As(err)
	at := strings.LastIndex(whole, part)
	if p == nil || p.Position == 0 || at <= 0 {
		return err
	}
	return p.At(p.Position + parse.CharPosition(whole, at) - 1)
}

// querySelect returns the query that a statement reads with.
func querySelect(st parse.Statement) (parse.Select, bool) {
	switch st := st.(type) {
	case parse.Select:
		return st, true
	case parse.Explain:
		sel, ok := st.Of.(parse.Select)
		return sel, ok
	}
	return parse.Select{}, false
}

// execute runs a planned statement.
func (s *session) execute(ctx context.Context, p *plan) error {
	if s.parsed.Params > len(s.Params) {
		return problem.New(problem.BadRequest, "the statement has %d parameters and %d values were given", s.parsed.Params, len(s.Params))
	}
	switch st := s.parsed.Statement.(type) {
	case parse.Select:
		return s.read(ctx, p.read)
	case parse.Insert:
		return s.insert(ctx, st)
	case parse.Update:
		return s.update(ctx, st)
	case parse.Delete:
		return s.delete(ctx, st)
	case parse.Explain:
		return s.explain(ctx, st, p.read)
	}
	s.metrics.statements.WithLabelValues("other").Inc()
	switch st := s.parsed.Statement.(type) {
	case parse.CreateSchema:
		return s.createSchema(ctx, st)
	case parse.DropSchema:
		return s.dropSchema(ctx, st)
	case parse.CreateTable:
		return s.createTable(ctx, st)
	case parse.DropTable:
		return s.dropTable(ctx, st)
	case parse.Show:
		return s.show(st)
	case parse.Describe:
		return s.describe(st)
	}
	return s.command(ctx)
}

// command runs the statements that speak to other parts of the server.
func (s *session) command(ctx context.Context) error {
	switch st := s.parsed.Statement.(type) {
	case parse.FlushTable:
		return s.flush(ctx, st)
	case parse.KillJob:
		return s.killJob(ctx, st)
	case parse.KillLiveQuery:
		return s.killLiveQuery(ctx, st)
	case parse.Subscribe:
		return problem.New(problem.Unsupported, "SUBSCRIBE TO gives a stream of events, not a result").
			WithHint("use GET /v1/subscribe?sql=SELECT... or `kalam subscribe`")
	}
	return problem.New(problem.Unsupported, "this statement is not supported")
}

// table resolves a name against the newest catalog.
func (s *session) table(name parse.TableName) (*materializer.Table, error) {
	ns := name.Namespace
	if ns == "" {
		ns = s.Namespace
	}
	t, err := s.Materializer.Catalog().Table(ns, name.Name)
	if p := problem.As(err); p != nil && name.Position > 0 {
		return nil, p.At(name.Position)
	}
	return t, err
}

// done answers a statement that returns no rows.
func (s *session) done(sum Summary) error {
	if err := s.sink.Begin(nil); err != nil {
		return err
	}
	sum.PlanCache = s.cached
	return s.sink.End(sum)
}

// answer returns rows that are at hand.
func (s *session) answer(columns []Column, rows [][]expr.Value) error {
	if err := s.sink.Begin(columns); err != nil {
		return err
	}
	for _, r := range rows {
		if err := s.sink.Row(r); err != nil {
			return err
		}
	}
	return s.sink.End(Summary{RowCount: int64(len(rows)), Position: s.Log.Position(), PlanCache: s.cached})
}

// batch starts the batch of the current statement.
func (s *session) batch() *materializer.Batch {
	b := &materializer.Batch{Caller: s.caller.Name}
	if s.IdempotencyKey != "" {
		b.IdempotencyKey = s.caller.Name + "/sql/" + strconv.Itoa(s.statement) + "/" + s.IdempotencyKey
		b.Fingerprint = s.fingerprint()
	}
	return b
}

// fingerprint hashes what the client sent.
func (s *session) fingerprint() uint64 {
	h := fnv.New64a()
	h.Write([]byte(s.Namespace + "\x00" + s.SQL + "\x00"))
	var buf []byte
	for _, p := range s.Params {
		buf = expr.AppendValue(buf[:0], p)
		h.Write(buf)
	}
	return h.Sum64()
}
