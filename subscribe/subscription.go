package subscribe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// Subscription is one running live query. It has no goroutine of its own: Next does the work, so that a subscriber who does not
// ask costs nothing but what it holds open.
type Subscription struct {
	id       string
	registry *Registry
	request  Request // without From
	owner    string
	table    log.TableID
	name     string      // of the table
	forget   func() bool // stops watching the context of Subscribe
	stored   atomic.Bool // has a row in system.live_queries
	marked   atomic.Bool // the row is due

	// Owned by whoever runs Next, else guarded by mu.
	query   *liveQuery
	opening bool               // Subscribed is still to be told
	reset   string             // why to start over; empty: no need
	ready   bool               // Ready is still to be told, once rows is nil
	view    *materializer.View // of rows
	rows    initialRows        // still to be told; nil: none
	from    log.Position       // where changes start
	changes *changeReader      // nil until from is known
	out     *batch             // being collected, or told last; nil: none

	mu struct {
		sync.Mutex
		ended  error                   // why; nil while it runs
		notice *problem.Error          // to be told to the subscriber as the last event
		cancel context.CancelCauseFunc // of the Next that runs; nil if none does

		cursor    log.Position // the last one told
		delivered int64        // rows told
	}
}

// ID returns the name that the subscription has in the registry.
func (s *Subscription) ID() string { return s.id }

// start opens what the first Next needs, so that its errors are refusals. On an error the caller frees s.
func (s *Subscription) start(ctx context.Context, q Request, compile func(*materializer.Catalog) (*liveQuery, error)) error {
	m, l := s.registry.options.Materializer, s.registry.options.Log
	s.opening, s.ready = true, true
	if q.From == nil && q.Snapshot {
		view, err := m.View()
		if err != nil {
			return fmt.Errorf("open view: %w", err)
		}
		s.view = view
		query, err := compile(view.Catalog())
		if err != nil {
			return err
		}
		s.use(query)
		return s.beginRows(ctx)
	}
	if q.From == nil {
		s.from = l.Position()
	} else {
		s.from = *q.From
	}
	query, err := compile(m.Catalog())
	if err != nil {
		return err
	}
	s.use(query)
	return s.openChanges()
}

// setReset makes the subscription start over: the changes behind s.from are gone.
func (s *Subscription) setReset() {
	s.reset = fmt.Sprintf("the changes after %s are no longer kept", s.from)
}

func (s *Subscription) use(q *liveQuery) {
	s.query, s.table, s.name = q, q.table.ID, q.table.QualifiedName()
}

// beginRows prepares the initial rows at s.view. A view may be ahead of what the log shows to readers, for a moment.
func (s *Subscription) beginRows(ctx context.Context) error {
	l := s.registry.options.Log
	s.from = s.view.Position()
	if err := l.Wait(ctx, s.from); err != nil {
		return fmt.Errorf("wait for the view's position: %w", err)
	}
	rows, err := newInitialRows(l, s.view, s.query, s.request.LastRows)
	s.rows = rows
	return err
}

// openChanges starts to read the log after s.from. If that is no longer there the subscription is to start over.
func (s *Subscription) openChanges() error {
	t, err := s.registry.options.Log.Tail(s.table, s.query.table.Partitions, s.from)
	switch {
	case problem.Is(err, problem.Trimmed):
		s.setReset()
		return nil
	case err != nil:
		return fmt.Errorf("tail %s after %s: %w", s.name, s.from, err)
	}
	s.changes = newChangeReader(t, s.from)
	return nil
}

// Next waits for the next events and returns them in order, at least one. They are valid until the next call. If ctx ends first the error is
// its cause and the subscription goes on. Any other error means that it has ended, and so does a Failed event. Used by one goroutine.
func (s *Subscription) Next(ctx context.Context) ([]Event, error) {
	s.giveBack()
	work, cancel, err := s.enter(ctx)
	if err != nil {
		return s.farewell(err)
	}
	err = s.advance(work)
	cancel(nil)
	if ended := s.leave(); ended != nil {
		return s.farewell(ended)
	}
	switch {
	case err != nil && !stoppedBy(ctx, err):
		s.batch().addFailed(s.registry.asProblem(s, err))
		s.registry.metrics.errors.Inc()
		s.end(err, nil)
	case err != nil && !s.any():
		s.giveBack()
		return nil, context.Cause(ctx)
	}
	return s.deliver(), nil
}

// stoppedBy reports whether err says no more than that ctx is done.
func stoppedBy(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Cause(ctx)) || errors.Is(err, ctx.Err()))
}

// batch returns the events being collected.
func (s *Subscription) batch() *batch {
	if s.out == nil {
		s.out = s.registry.borrow()
	}
	return s.out
}

// any reports whether there are events to deliver.
func (s *Subscription) any() bool { return s.out != nil && len(s.out.events) > 0 }

// giveBack frees the events told last, so that a subscription that waits holds no buffer.
func (s *Subscription) giveBack() {
	s.registry.giveBack(s.out)
	s.out = nil
}

func (s *Subscription) deliver() []Event {
	events := s.out.done()
	rows := s.registry.metrics.count(events)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(events) - 1; i >= 0; i-- {
		if events[i].MovesCursor() {
			s.mu.cursor = events[i].Cursor
			break
		}
	}
	s.mu.delivered += int64(rows)
	// Only rows are worth a write: stored progress would itself move the log. Nor does one who follows the stored rows cause more of them.
	if rows > 0 && s.table != materializer.SystemLiveQueries && !s.marked.Swap(true) {
		s.registry.store.mark(s.id)
	}
	return events
}

// progress returns the cursor told last and how many rows were told.
func (s *Subscription) progress() (cursor log.Position, delivered int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.cursor, s.mu.delivered
}

// farewell tells the subscriber why the subscription ended, if there is a notice, behind what it has not been told yet. Otherwise it
// returns why.
func (s *Subscription) farewell(why error) ([]Event, error) {
	s.mu.Lock()
	notice := s.mu.notice
	s.mu.notice = nil
	s.mu.Unlock()
	if notice == nil {
		s.giveBack()
		return nil, why
	}
	s.registry.metrics.errors.Inc()
	s.batch().addFailed(notice)
	return s.deliver(), nil
}

// enter marks Next as running. The context it returns is done when ctx is, or when the subscription is ended.
func (s *Subscription) enter(ctx context.Context) (context.Context, context.CancelCauseFunc, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.ended != nil {
		return nil, nil, s.mu.ended
	}
	work, cancel := context.WithCancelCause(ctx)
	s.mu.cancel = cancel
	return work, cancel, nil
}

// leave marks Next as done. If the subscription was ended meanwhile it frees what it holds and returns why.
func (s *Subscription) leave() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.cancel = nil
	if s.mu.ended != nil {
		s.release()
	}
	return s.mu.ended
}

// end ends the subscription because of why. A notice is still told by the next Next. The first end counts.
func (s *Subscription) end(why error, notice *problem.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.ended != nil {
		return
	}
	s.mu.ended, s.mu.notice = why, notice
	if s.mu.cancel != nil {
		s.mu.cancel(why) // Next releases on its way out
		return
	}
	s.release()
}

func (s *Subscription) endDropped() {
	s.endBy(problem.New(problem.UnknownTable, "table %s was dropped", s.name))
}

// endBy ends the subscription with a notice to its subscriber.
func (s *Subscription) endBy(notice *problem.Error) { s.end(notice, notice) }

// Close ends the subscription and frees what it holds; a Next that runs does so when it returns, which is at once. It is idempotent.
func (s *Subscription) Close() { s.end(errClosed, nil) }

// release gives everything back, once.
func (s *Subscription) release() {
	s.free()
	s.forget()
	s.registry.remove(s)
}

// free closes what s holds open.
func (s *Subscription) free() {
	s.closeView()
	if s.changes != nil {
		s.changes.close()
		s.changes = nil
	}
}

func (s *Subscription) closeView() {
	if s.view == nil {
		return
	}
	if err := s.view.Close(); err != nil {
		s.registry.options.Logger.Error("close view of live query", "id", s.id, "err", err)
	}
	s.view, s.rows = nil, nil
}
