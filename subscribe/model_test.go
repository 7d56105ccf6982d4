package subscribe

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
	"kalamlog.dev/kalam/query/parse"
)

var seedFlag = flag.Uint64("seed", 0, "of random tests; 0: random")

// random returns a source whose seed is printed if the test fails.
func random(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("-seed=%d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 1))
}

// modelQuery is a query with a second, simple implementation of its projection.
type modelQuery struct {
	sql     string
	filter  *expr.Program
	project func(expr.Row) (id, row string)
}

// randomQuery makes a query over (id BIGINT, a BIGINT, b TEXT, c DOUBLE).
func randomQuery(t testing.TB, rnd *rand.Rand, table *materializer.Table) modelQuery {
	t.Helper()
	where := randomCondition(rnd, 2)
	node, err := parse.Expr(where)
	if err != nil {
		t.Fatal(err)
	}
	filter, err := expr.CompileFilter(node, table.Schema().Fields())
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	text := func(v expr.Value) string { return string(expr.AppendJSON(nil, v)) }
	q := modelQuery{filter: filter}
	if rnd.IntN(2) == 0 {
		q.sql = "SELECT * FROM t WHERE " + where
		q.project = func(r expr.Row) (string, string) {
			id := text(r.Column(0))
			return id, `{"id":` + id + `,"a":` + text(r.Column(1)) + `,"b":` + text(r.Column(2)) + `,"c":` + text(r.Column(3)) + `}`
		}
		return q
	}
	q.sql = "SELECT b, id FROM t WHERE " + where
	q.project = func(r expr.Row) (string, string) {
		id := text(r.Column(0))
		return id, `{"b":` + text(r.Column(2)) + `,"id":` + id + `}`
	}
	return q
}

func randomCondition(rnd *rand.Rand, depth int) string {
	if depth > 0 && rnd.IntN(2) == 0 {
		op := []string{" AND ", " OR "}[rnd.IntN(2)]
		not := []string{"", "NOT "}[rnd.IntN(2)]
		return not + "(" + randomCondition(rnd, depth-1) + op + randomCondition(rnd, depth-1) + ")"
	}
	n := strconv.Itoa(rnd.IntN(10))
	switch rnd.IntN(7) {
	case 0:
		return "a < " + n
	case 1:
		return "a % 3 = " + strconv.Itoa(rnd.IntN(3))
	case 2:
		return "b LIKE '" + n + "%'"
	case 3:
		return "c >= " + n + ".5"
	case 4:
		return "a IS NULL"
	case 5:
		return "id BETWEEN " + n + " AND 3" + n
	default:
		return "b > '5'"
	}
}

// load writes random batches from several goroutines until stop is closed.
type load struct {
	rig   *rig
	table *materializer.Table
	keys  int
	wg    sync.WaitGroup
	stop  chan struct{}
}

func startLoad(r *rig, table *materializer.Table, rnd *rand.Rand, writers, keys int) *load {
	l := &load{rig: r, table: table, keys: keys, stop: make(chan struct{})}
	for range writers {
		own := rand.New(rand.NewPCG(rnd.Uint64(), 2))
		l.wg.Go(func() { l.run(own) })
	}
	return l
}

func (l *load) run(rnd *rand.Rand) {
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		l.rig.write(l.batch(rnd)...)
	}
}

func (l *load) batch(rnd *rand.Rand) []materializer.Mutation {
	var batch []materializer.Mutation
	for range 1 + rnd.IntN(12) {
		id := rnd.IntN(l.keys)
		if rnd.IntN(4) == 0 {
			batch = append(batch, l.rig.remove(l.table, id))
			continue
		}
		batch = append(batch, l.rig.put(l.table, id, orNull(rnd, rnd.IntN(10)), orNull(rnd, strconv.Itoa(rnd.IntN(100))), orNull(rnd, float64(rnd.IntN(20))/2)))
	}
	return batch
}

func orNull(rnd *rand.Rand, v any) any {
	if rnd.IntN(8) == 0 {
		return nil
	}
	return v
}

func (l *load) end() {
	close(l.stop)
	l.wg.Wait()
}

// life is one subscriber over its connections: it is killed at random moments and comes back with its cursor.
type life struct {
	query   modelQuery
	fold    *fold
	started bool
	checked []checkpointOfFold
	err     error
	lag     bool // let the log run ahead now and then before ready
}

// checkpointOfFold is what was held at a cursor.
type checkpointOfFold struct {
	cursor log.Position
	rows   map[string]string
}

// connect runs one connection: it takes limit events from ready on, or until done, and drops what else the last batch holds.
func (l *life) connect(ctx context.Context, r *rig, rnd *rand.Rand, limit int, done func(log.Position) bool) error {
	q := Request{SQL: l.query.sql, Snapshot: true}
	if l.started {
		from := l.fold.cursor
		q.From = &from
	} else {
		l.fold = newFold()
	}
	s, err := r.registry.Subscribe(ctx, q)
	if err != nil {
		return err
	}
	defer s.Close()
	l.fold.ready = false
	for {
		if l.lag && !l.fold.ready && rnd.IntN(20) == 0 {
			if err := r.log.Wait(ctx, after(r.log.Position(), 2)); err != nil {
				return err
			}
		}
		events, err := s.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range keep(events) {
			if err := l.fold.apply(e); err != nil {
				return fmt.Errorf("%s (%s) at %s: %w", l.query.sql, e.Type, l.fold.cursor, err)
			}
			l.started = l.started || e.Type == Ready
			if l.fold.ready {
				limit--
			}
			if limit < 0 {
				return nil
			}
		}
		if rnd.IntN(10) == 0 && l.fold.ready {
			l.remember()
		}
		if done != nil && l.started && done(l.fold.cursor) {
			l.remember()
			return nil
		}
	}
}

// after is the position n entries behind p.
func after(p log.Position, n log.Index) log.Position {
	return log.PositionOf(log.Part{Group: 1, Index: p.Part(1).Index + n})
}

func (l *life) remember() {
	l.checked = append(l.checked, checkpointOfFold{cursor: l.fold.cursor, rows: maps.Clone(l.fold.rows)})
}

// live connects again and again until ctx is done or the server shuts down.
func (l *life) live(ctx context.Context, r *rig, rnd *rand.Rand) {
	for {
		err := l.connect(ctx, r, rnd, rnd.IntN(200), nil)
		switch {
		case err == nil:
		case ctx.Err() != nil, problem.Is(err, problem.ShuttingDown):
			return
		default:
			l.err = err
			return
		}
	}
}

// check compares what was held with the log's own story.
func (l *life) check(t testing.TB, c *changes) {
	t.Helper()
	if l.err != nil {
		t.Errorf("%s: %v", l.query.sql, l.err)
		return
	}
	for _, held := range l.checked {
		if want := c.at(t, l.query, held.cursor); !maps.Equal(held.rows, want) {
			t.Errorf("%s at %s: held\n%v\nwant\n%v", l.query.sql, held.cursor, lines(held.rows), lines(want))
			return
		}
	}
}

func lines(rows map[string]string) string {
	return strings.Join(slices.Sorted(maps.Values(rows)), "\n")
}

// TestModel runs subscribers with random filters against random writers. They are killed at random cursors and resume, the node restarts in between;
// what each one holds must at every moment be what the log says up to its cursor, and no change may be told twice or contradict what is held.
func TestModel(t *testing.T) {
	t.Parallel()
	rnd := random(t)
	r := newStoringRig(t, Options{Progress: 5 * time.Millisecond, BufferBytes: 2000, StoreInterval: 10 * time.Millisecond})
	table := r.create("t", materializer.Shared, 3, 1, "id BIGINT", "a BIGINT", "b TEXT", "c DOUBLE")
	ctx := testContext(t)
	var lives []*life
	for range 12 {
		lives = append(lives, &life{query: randomQuery(t, rnd, table)})
	}
	for round := range 4 {
		writers := startLoad(r, table, rnd, 3, 50)
		connected, cut := context.WithCancel(ctx)
		var subscribers sync.WaitGroup
		for _, l := range lives {
			own := rand.New(rand.NewPCG(rnd.Uint64(), 3))
			subscribers.Go(func() { l.live(connected, r, own) })
		}
		waitForChanges(t, r, table, (round+1)*1500)
		if round%2 == 0 { // the clients go, or the server
			cut()
		} else if err := r.registry.Close(); err != nil {
			t.Error(err)
		}
		subscribers.Wait()
		cut()
		writers.end()
		r.restart()
	}
	end := r.log.Position()
	for _, l := range lives {
		if l.err == nil {
			l.err = l.connect(ctx, r, rnd, 1<<30, func(p log.Position) bool { return p.Covers(end) })
		}
	}
	story := readChanges(t, r, table)
	total := 0
	for _, l := range lives {
		l.check(t, story)
		total += len(l.checked)
	}
	t.Logf("%d changes, %d comparisons", len(story.all), total)
}

func waitForChanges(t testing.TB, r *rig, table *materializer.Table, n int) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		total := 0
		for i := range table.Partitions {
			total += int(r.log.End(log.Partition{Table: table.ID, ID: log.PartitionID(i)}))
		}
		if total >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d changes after a minute", total)
		}
		ctx, cancel := context.WithTimeout(testContext(t), 5*time.Millisecond)
		<-ctx.Done()
		cancel()
	}
}
