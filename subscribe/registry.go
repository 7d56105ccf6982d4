package subscribe

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// Options configures a Registry. Log and Materializer are required; zero otherwise means default.
type Options struct {
	Log          *log.Log
	Materializer *materializer.Materializer
	Clock        clock.Clock           // default the machine's
	Logger       *slog.Logger          // default none
	Registerer   prometheus.Registerer // metrics kalam_subscribe_*; nil: none
	BufferBytes  int                   // memory of one subscription between two calls of Next, about; default 1 MiB. A single Raft entry may exceed it
	Progress     time.Duration         // how often a quiet subscription is told how far the log is, default 5 s
	Node         uint64                // whose subscriptions these are, default 1

	Writer        *materializer.Writer // keeps system.live_queries in step; nil: live queries are not stored
	StoreInterval time.Duration        // how far the stored rows may be behind, default 500 ms
	StoreTimeout  time.Duration        // how long Close may take to write the last ones, default 2 s
	ResumeWithin  time.Duration        // how long the rows that an earlier server has left stay, default 10 min
}

// The most that a request may ask for.
const (
	maxLastRows = 100_000
	maxSQLBytes = 1 << 20
)

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.BufferBytes = cmp.Or(o.BufferBytes, 1<<20)
	o.Progress = cmp.Or(o.Progress, 5*time.Second)
	o.Node = cmp.Or(o.Node, 1)
	o.StoreTimeout = cmp.Or(o.StoreTimeout, 2*time.Second)
	o.StoreInterval = cmp.Or(o.StoreInterval, 500*time.Millisecond)
	o.ResumeWithin = cmp.Or(o.ResumeWithin, 10*time.Minute)
	return o
}

// Registry starts and ends subscriptions. Safe for concurrent use.
type Registry struct {
	options Options
	metrics *metrics
	store   *store         // nil: live queries are not stored
	batches sync.Pool      // of *batch
	open    sync.WaitGroup // one for each subscription that holds resources

	mu struct {
		sync.Mutex
		closed        bool
		subscriptions map[string]*Subscription
	}
}

// New returns a Registry without subscriptions. The log must be open.
func New(o Options) *Registry {
	o = o.withDefaults()
	r := &Registry{options: o, metrics: newMetrics(o.Registerer)}
	r.mu.subscriptions = make(map[string]*Subscription)
	if o.Writer != nil {
		r.store = newStore(r)
	}
	o.Materializer.OnCatalogChange(r.endDropped)
	return r
}

// Request is what a subscriber asks for.
type Request struct {
	ID        string // resumes a stored live query, in place of SQL, Params, Namespace, Snapshot and LastRows; who has it open loses it
	SQL       string // SELECT ..., or SUBSCRIBE TO SELECT ...
	Params    []expr.Value
	Namespace string        // of unqualified names, default "default"
	From      *log.Position // resume after it, without initial rows; nil: start at the current position
	Snapshot  bool          // begin with the matching rows, if From is nil
	LastRows  int           // only the newest n of them; 0: all
	AtLeast   log.Position  // start no earlier than here
}

// Subscribe compiles the query and starts it: writes acknowledged from now on are told. The caller is in ctx (identity), whose end ends the
// subscription. What cannot be evaluated live is refused here with a *problem.Error. The subscription holds resources until it is closed or ctx is done.
func (r *Registry) Subscribe(ctx context.Context, q Request) (*Subscription, error) {
	s, err := r.subscribe(ctx, q)
	if err != nil && r.options.Materializer.CatchUp(ctx, r.options.Log, err) {
		s, err = r.subscribe(ctx, q)
	}
	if err != nil {
		r.metrics.errors.Inc()
	}
	return s, err
}

func (r *Registry) subscribe(ctx context.Context, q Request) (*Subscription, error) {
	caller, ok := identity.FromContext(ctx)
	if !ok {
		return nil, problem.New(problem.Forbidden, "the request has no caller")
	}
	if err := q.check(); err != nil {
		return nil, err
	}
	id := q.ID
	if id == "" {
		id = rand.Text()
	} else if err := r.store.recall(&q, caller); err != nil {
		return nil, err
	}
	statement, err := parseQuery(q.SQL, q.Params)
	if err != nil {
		return nil, err
	}
	if err := r.reach(ctx, q); err != nil {
		return nil, err
	}
	s := &Subscription{id: id, registry: r, request: q, owner: caller.Name}
	s.stored.Store(q.ID != "")
	compile := func(c *materializer.Catalog) (*liveQuery, error) {
		namespace := cmp.Or(statement.Table.Namespace, q.Namespace, "default")
		table, err := c.Table(namespace, statement.Table.Name)
		if err != nil {
			return nil, err
		}
		return newLiveQuery(q.SQL, statement, table, caller)
	}
	if err := s.start(ctx, q, compile); err != nil {
		s.free()
		return nil, err
	}
	if err := r.admit(ctx, s); err != nil {
		return nil, err
	}
	if r.options.Materializer.Catalog().TableByID(s.table) == nil {
		s.endDropped() // before the registry knew of it
	}
	return s, nil
}

func (q *Request) check() error {
	switch {
	case q.ID != "" && q.SQL != "":
		return problem.New(problem.BadRequest, "a subscription has sql or the id of a stored query, not both")
	case len(q.SQL) > maxSQLBytes:
		return problem.New(problem.BodyTooLarge, "the query has %d bytes, at most %d are allowed", len(q.SQL), maxSQLBytes)
	case q.LastRows < 0 || q.LastRows > maxLastRows:
		return problem.New(problem.OutOfRange, "last_rows is %d, it must be between 0 and %d", q.LastRows, maxLastRows)
	}
	return nil
}

// reach waits until the log has come to every position that the request names. One to resume from that is lost makes the subscription start over.
func (r *Registry) reach(ctx context.Context, q Request) error {
	wanted := q.AtLeast
	if q.From != nil && r.options.Log.Lost(*q.From) == nil {
		wanted = wanted.Max(*q.From)
	}
	return r.options.Log.Reach(ctx, wanted)
}

// admit makes s one of the open subscriptions, in place of one with the same id, or frees it if the registry is closed.
func (r *Registry) admit(ctx context.Context, s *Subscription) error {
	before, err := r.enlist(ctx, s)
	if err != nil {
		s.free()
		return err
	}
	if before != nil {
		before.endBy(problem.New(problem.Cancelled, "live query %s was resumed elsewhere", s.id))
	}
	return nil
}

func (r *Registry) enlist(ctx context.Context, s *Subscription) (before *Subscription, err error) {
	s.mu.Lock() // until forget is set: ctx may be done already
	defer s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.closed {
		return nil, shuttingDown()
	}
	before = r.mu.subscriptions[s.id]
	r.mu.subscriptions[s.id] = s
	r.open.Add(1)
	r.metrics.active.Inc()
	r.store.mark(s.id)
	s.forget = context.AfterFunc(ctx, func() { s.end(context.Cause(ctx), nil) })
	return before, nil
}

// find returns the open subscription with the id, nil if there is none.
func (r *Registry) find(id string) *Subscription {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.subscriptions[id]
}

func shuttingDown() *problem.Error {
	return problem.New(problem.ShuttingDown, "the server is shutting down").WithHint("reconnect with the last id")
}

// remove forgets s, which has freed what it held.
func (r *Registry) remove(s *Subscription) {
	r.mu.Lock()
	if r.mu.subscriptions[s.id] == s {
		delete(r.mu.subscriptions, s.id)
	}
	r.mu.Unlock()
	r.store.mark(s.id)
	r.metrics.active.Dec()
	r.open.Done()
}

// all returns the open subscriptions that keep wants.
func (r *Registry) all(keep func(*Subscription) bool) []*Subscription {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*Subscription
	for _, s := range r.mu.subscriptions {
		if keep(s) {
			out = append(out, s)
		}
	}
	return out
}

// endDropped ends the subscriptions of tables that c no longer has.
func (r *Registry) endDropped(c *materializer.Catalog) {
	for _, s := range r.all(func(s *Subscription) bool { return c.TableByID(s.table) == nil }) {
		s.endDropped()
	}
}

// Kill ends the subscription with the id; its subscriber is told. *problem.Error UnknownLiveQuery.
func (r *Registry) Kill(id string) error {
	if !r.kill(id) {
		return problem.New(problem.UnknownLiveQuery, "no live query %q is open", id)
	}
	return nil
}

func (r *Registry) kill(id string) bool {
	s := r.find(id)
	if s == nil {
		return false
	}
	s.endBy(problem.New(problem.Cancelled, "live query %s was killed", id))
	return true
}

// Close ends every subscription and returns when they have freed what they held. It is idempotent.
func (r *Registry) Close() error {
	r.mu.Lock()
	r.mu.closed = true
	r.mu.Unlock()
	r.store.close()
	for _, s := range r.all(func(*Subscription) bool { return true }) {
		s.end(shuttingDown(), nil)
	}
	r.open.Wait()
	return nil
}

// borrow returns an empty batch; giveBack takes it again, unless it has grown large.
func (r *Registry) borrow() *batch {
	if b, ok := r.batches.Get().(*batch); ok {
		return b
	}
	return new(batch)
}

func (r *Registry) giveBack(b *batch) {
	if b == nil || b.memory() > r.options.BufferBytes {
		return
	}
	b.reset()
	r.batches.Put(b)
}

// asProblem returns what a subscriber is told of err. Faults of the server are logged, not told.
func (r *Registry) asProblem(s *Subscription, err error) *problem.Error {
	if p := problem.As(err); p != nil {
		return p
	}
	r.options.Logger.Error("live query failed", "id", s.id, "table", s.name, "err", err)
	return problem.New(problem.Internal, "the live query failed").Because(err)
}

var errClosed = errors.New("subscribe: subscription is closed")
