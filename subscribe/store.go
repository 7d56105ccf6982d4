package subscribe

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

// store keeps system.live_queries in step with the open subscriptions: as text, never compiled. It writes behind, in batches, so that neither
// Subscribe nor Next waits for it; and it ends a subscription whose row somebody has deleted. Rows that a server left behind, by
// shutdown or crash, wait for their subscribers to resume them, then go.
type store struct {
	registry *Registry
	table    *materializer.Table
	wake     chan struct{} // something is due; capacity 1
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu struct {
		sync.Mutex
		due    map[string]bool  // ids whose row may differ from their subscription
		rows   map[string]int64 // versions of the rows that this node has written or found, by id
		closed bool
	}
}

// storeBatch is how many rows are written at once.
const storeBatch = 500

func newStore(r *Registry) *store {
	s := &store{registry: r, wake: make(chan struct{}, 1)}
	s.table = r.options.Materializer.Catalog().TableByID(materializer.SystemLiveQueries)
	s.mu.due, s.mu.rows = map[string]bool{}, map[string]int64{}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	from := r.options.Log.Position()
	s.running.Go(func() { s.write(ctx) })
	s.running.Go(func() { s.watch(ctx, from) })
	return s
}

// mark says that the row of id may have to be written. A nil store takes no notice.
func (s *store) mark(id string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return
	}
	s.mu.due[id] = true
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take returns the ids that are due, in order, and forgets them.
func (s *store) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := slices.Sorted(maps.Keys(s.mu.due))
	clear(s.mu.due)
	return ids
}

// close writes the last positions and stops. The rows of subscriptions that are open then stay, to be resumed.
func (s *store) close() {
	if s == nil {
		return
	}
	s.cancel()
	s.running.Wait()
	s.mu.Lock()
	closed := s.mu.closed
	s.mu.closed = true
	s.mu.Unlock()
	if closed {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.registry.options.StoreTimeout)
	defer cancel()
	s.flush(ctx)
}

// write flushes what is due, a while after it became so, and clears away what nobody has resumed.
func (s *store) write(ctx context.Context) {
	orphans := s.stored()
	expiry := time.NewTimer(s.registry.options.ResumeWithin)
	defer expiry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-expiry.C:
			for _, id := range orphans {
				s.mark(id)
			}
			orphans = nil
			continue
		case <-s.wake:
		}
		pause, cancel := context.WithTimeout(ctx, s.registry.options.StoreInterval)
		<-pause.Done()
		cancel()
		if ctx.Err() == nil {
			s.flush(ctx)
		}
	}
}

// stored returns the ids of the rows that an earlier run of this node has left.
func (s *store) stored() []string {
	view, err := s.registry.options.Materializer.View()
	if err != nil {
		s.registry.options.Logger.Error("read stored live queries", "error", err)
		return nil
	}
	defer view.Close()
	var ids []string
	for row, err := range view.Scan(s.table, 0, storage.Range{}) {
		if err != nil {
			s.registry.options.Logger.Error("read stored live queries", "error", err)
			return nil
		}
		var o storedOptions
		if err := json.Unmarshal([]byte(row.Row.Column(columnOptions).Str()), &o); err != nil {
			s.registry.options.Logger.Error("read options of a stored live query", "error", err)
			continue
		}
		if o.Node == 0 || o.Node == s.registry.options.Node {
			id := row.Row.Column(columnID).Str()
			ids = append(ids, id)
			s.note(id, int64(row.Version))
		}
	}
	return ids
}

// flush makes the rows that are due what they should be. What fails is due again.
func (s *store) flush(ctx context.Context) {
	for ids := range slices.Chunk(s.take(), storeBatch) {
		if err := s.flushBatch(ctx, ids); err != nil {
			s.registry.options.Logger.Warn("store live queries", "error", err)
			for _, id := range ids {
				s.mark(id)
			}
		}
	}
}

func (s *store) flushBatch(ctx context.Context, ids []string) error {
	b := &materializer.Batch{Mutations: make([]materializer.Mutation, 0, len(ids))}
	var fresh []*Subscription
	for _, id := range ids {
		sub := s.registry.find(id)
		m, err := s.mutation(id, sub)
		if err != nil {
			return err
		}
		if sub != nil && !sub.stored.Load() {
			fresh = append(fresh, sub)
		}
		m.Miss = materializer.Skip
		b.Mutations = append(b.Mutations, m)
	}
	r, err := s.registry.options.Writer.Write(ctx, b)
	if err != nil {
		return fmt.Errorf("write rows of live queries: %w", err)
	}
	for i, a := range r.Applied {
		switch {
		case b.Mutations[i].Op == materializer.Remove:
			s.forget(ids[i])
		case a.Done:
			s.note(ids[i], int64(a.Offset))
		}
	}
	for _, sub := range fresh {
		sub.stored.Store(true)
	}
	return nil
}

// mutation makes the row of id what sub is; nil: gone. A row that somebody has deleted is not made again.
func (s *store) mutation(id string, sub *Subscription) (materializer.Mutation, error) {
	key := []expr.Value{expr.TextOf(id)}
	if sub == nil {
		m, err := s.table.OfKey(materializer.Remove, key)
		if version, ok := s.version(id); ok {
			m.Version = version // another node may have taken the live query over
		}
		return m, err
	}
	sub.marked.Store(false)
	cursor, delivered := sub.progress()
	position := expr.Value{}
	if !cursor.IsZero() {
		position = expr.TextOf(cursor.String())
	}
	if !sub.stored.Load() {
		return s.table.NewRow(materializer.Upsert, []expr.Value{
			key[0], expr.TextOf(sub.request.SQL), expr.JSONOf(string(encodeOptions(sub.request, s.registry.options.Node))), expr.TextOf(sub.owner), position,
			expr.IntOf(expr.TimestampTZ, clock.Micros(s.registry.options.Clock)), expr.IntOf(expr.BigInt, delivered),
		})
	}
	m, err := s.table.OfKey(materializer.Patch, key)
	m.Set = []materializer.Assignment{
		{Column: columnPosition, Expr: expr.Literal{Value: position}},
		{Column: columnDelivered, Expr: expr.Literal{Value: expr.IntOf(expr.BigInt, delivered)}},
	}
	return m, err
}

// Columns of system.live_queries.
const (
	columnID = iota
	columnSQL
	columnOptions
	columnOwner
	columnPosition
	_ // created
	columnDelivered
)

// watch ends the subscriptions whose rows are deleted: by KILL LIVE QUERY, on whatever node.
func (s *store) watch(ctx context.Context, from log.Position) {
	err := s.follow(ctx, from)
	if err != nil && ctx.Err() == nil && !problem.Is(err, problem.ShuttingDown) {
		s.registry.options.Logger.Error("watch stored live queries", "error", err)
	}
}

func (s *store) follow(ctx context.Context, from log.Position) error {
	t, err := s.registry.options.Log.Tail(s.table.ID, s.table.Partitions, from)
	if err != nil {
		return err
	}
	defer t.Close()
	for {
		records, err := t.Next(ctx, s.registry.options.BufferBytes)
		if err != nil {
			return err
		}
		for _, r := range records {
			if err := s.heed(r); err != nil {
				return err
			}
		}
	}
}

// heed ends the subscription whose row the change deletes, or says that another node serves it.
func (s *store) heed(r log.Record) error {
	c, err := materializer.DecodeChange(r)
	if err != nil {
		return err
	}
	if c.Op != materializer.RowDeleted {
		return s.yield(c)
	}
	old, err := s.table.DecodeRow(c.Old)
	if err != nil {
		return err
	}
	s.registry.kill(old.Column(columnID).Str())
	return nil
}

// yield ends the subscription that another node has taken over.
func (s *store) yield(c materializer.Change) error {
	row, err := s.table.DecodeRow(c.New)
	if err != nil {
		return err
	}
	var o storedOptions
	if err := json.Unmarshal([]byte(row.Column(columnOptions).Str()), &o); err != nil || o.Node == s.registry.options.Node || o.Node == 0 {
		return err
	}
	id := row.Column(columnID).Str()
	if sub := s.registry.find(id); sub != nil {
		sub.endBy(problem.New(problem.Cancelled, "live query %s was resumed at node %d", id, o.Node))
	}
	return nil
}

// note remembers the version of a row, forget that there is none, version tells it.
func (s *store) note(id string, version int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.rows[id] = version
}

func (s *store) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.rows, id)
}

func (s *store) version(id string) (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.mu.rows[id]
	return v, ok
}

// recall fills q with the stored query that q.ID names, for its owner or an administrator. Without a From it resumes where the row says, which
// may lie before what the subscriber was told last.
func (s *store) recall(q *Request, caller identity.Caller) error {
	unknown := problem.New(problem.UnknownLiveQuery, "live query %q is not stored", q.ID).WithHint("subscribe with sql and the last event's id")
	if s == nil {
		return unknown
	}
	view, err := s.registry.options.Materializer.View()
	if err != nil {
		return fmt.Errorf("open view: %w", err)
	}
	defer view.Close()
	key, err := materializer.EncodeKey(nil, []expr.Value{expr.TextOf(q.ID)})
	if err != nil {
		return err
	}
	r, err := view.Row(s.table, 0, key)
	switch {
	case problem.Is(err, problem.KeyNotFound):
		return unknown
	case err != nil:
		return fmt.Errorf("read live query %s: %w", q.ID, err)
	case !caller.Admin && r.Row.Column(columnOwner).Str() != caller.Name:
		return unknown
	}
	q.SQL = r.Row.Column(columnSQL).Str()
	if at := r.Row.Column(columnPosition); q.From == nil && !at.IsNull() {
		from, err := log.ParsePosition(at.Str())
		if err != nil {
			return err
		}
		q.From = &from
	}
	return decodeOptions(r.Row.Column(columnOptions).Str(), q)
}

// storedOptions is the JSON of the options column.
type storedOptions struct {
	Node      uint64   `json:"node,omitempty"` // that serves it
	Namespace string   `json:"namespace"`
	Params    [][]byte `json:"params,omitempty"` // expr.AppendValue, so that they stay exact
	Snapshot  bool     `json:"snapshot"`
	LastRows  int      `json:"last_rows,omitempty"`
}

func encodeOptions(q Request, node uint64) []byte {
	o := storedOptions{Node: node, Namespace: cmp.Or(q.Namespace, materializer.DefaultNamespace), Snapshot: q.Snapshot, LastRows: q.LastRows}
	for _, v := range q.Params {
		o.Params = append(o.Params, expr.AppendValue(nil, v))
	}
	raw, err := json.Marshal(o)
	if err != nil {
		panic("subscribe: options did not encode: " + err.Error())
	}
	return raw
}

// decodeOptions is the inverse of encodeOptions.
func decodeOptions(raw string, q *Request) error {
	var o storedOptions
	if err := json.Unmarshal([]byte(raw), &o); err != nil {
		return fmt.Errorf("decode options: %w", err)
	}
	q.Namespace, q.Snapshot, q.LastRows = o.Namespace, o.Snapshot, o.LastRows
	for _, p := range o.Params {
		v, _, err := expr.DecodeValue(p)
		if err != nil {
			return fmt.Errorf("decode parameter: %w", err)
		}
		q.Params = append(q.Params, v)
	}
	return nil
}
