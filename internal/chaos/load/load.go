package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"kalamlog.dev/kalam/internal/chaos/history"
	"kalamlog.dev/kalam/internal/process"
	"kalamlog.dev/kalam/log"
)

// Target is a node as clients reach it.
type Target struct {
	ID    int
	URL   string
	Kafka string
}

// Options say how much to do.
type Options struct {
	Namespace string // its tables are made anew
	Targets   []Target
	Recorder  *history.Recorder
	Seed      uint64
	Writers   int
	Rate      int // operations a second, of all writers together
}

// What the tables look like.
const (
	partitions = 2
	registers  = 5
	counters   = 3
)

// Load is the clients at work.
type Load struct {
	options Options
	targets []*target
	board   board
	where   map[string]int32 // the partition of each register
	readers []*reader
	topics  []*topicReader

	stopWriters context.CancelFunc
	stopReaders context.CancelFunc
	writers     sync.WaitGroup
	reading     sync.WaitGroup
	calm        chan struct{} // closed when readers are no longer cut
}

// target is a node with the connections to it.
type target struct {
	Target
	client *process.Client
}

// callTime is how long a client waits for one answer.
const callTime = 2 * time.Second

// New prepares clients; nothing is sent.
func New(o Options) *Load {
	l := &Load{options: o, where: map[string]int32{}, calm: make(chan struct{})}
	for _, t := range o.Targets {
		h := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true}}
		l.targets = append(l.targets, &target{Target: t, client: &process.Client{URL: t.URL, HTTP: h}})
	}
	return l
}

// Prepare makes the tables and their first rows.
func (l *Load) Prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ns := l.options.Namespace
	sql := fmt.Sprintf(`CREATE SCHEMA %[1]s;
		CREATE TABLE %[1]s.%[2]s (id TEXT PRIMARY KEY, v TEXT NOT NULL) WITH (partitions = %[5]d);
		CREATE TABLE %[1]s.%[3]s (id TEXT PRIMARY KEY, v TEXT NOT NULL) WITH (partitions = %[5]d);
		CREATE TABLE %[1]s.%[4]s (id TEXT PRIMARY KEY, n BIGINT NOT NULL) WITH (partitions = %[5]d)`,
		ns, history.Events, history.Registers, history.Counters, partitions)
	results, err := l.targets[0].client.SQL(ctx, sql)
	if err != nil {
		return fmt.Errorf("make tables: %w", err)
	}
	for _, r := range results {
		l.board.post(r.Position)
	}
	for node := range l.targets {
		for _, table := range Tables() {
			if err := l.awaitTable(ctx, node, table); err != nil {
				return err
			}
		}
	}
	w := l.newWriter("setup")
	for i := range registers {
		op := w.write(ctx, history.Upsert, fmt.Sprintf("r%d", i))
		if op.Outcome != history.OK {
			return fmt.Errorf("first row of %s: %s %s", op.Table, op.Code, op.Error)
		}
		l.where[op.Key] = op.Partition
	}
	for i := range counters {
		sql := fmt.Sprintf("INSERT INTO %s.%s (id, n) VALUES ($1, 0)", ns, history.Counters)
		r, err := l.targets[0].client.SQL(ctx, sql, fmt.Sprintf("c%d", i))
		if err != nil {
			return fmt.Errorf("first row of %s: %w", history.Counters, err)
		}
		l.board.post(r[0].Position)
	}
	return nil
}

// awaitTable waits until a node knows a table that was just made by another.
func (l *Load) awaitTable(ctx context.Context, node int, table string) error {
	for {
		_, err := l.ReadTable(ctx, node, table)
		if err == nil || ctx.Err() != nil {
			return err
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// Start lets all clients work until Quiesce.
func (l *Load) Start(ctx context.Context) {
	writing, stopWriters := context.WithCancel(ctx)
	reading, stopReaders := context.WithCancel(ctx)
	l.stopWriters, l.stopReaders = stopWriters, stopReaders
	for i := range l.options.Writers {
		w := l.newWriter(fmt.Sprintf("writer%d", i+1))
		l.writers.Go(func() { w.run(writing, l.options.Rate/l.options.Writers) })
	}
	g := l.newGroup()
	l.writers.Go(func() { g.run(writing) })
	l.writers.Go(func() { g.watch(writing) })
	l.startReaders(reading)
}

// Quiesce stops the writers and waits for the answers they still expect.
func (l *Load) Quiesce() {
	l.stopWriters()
	l.writers.Wait()
	close(l.calm)
}

// Finish waits until every reader has come to the ends of the logs, at most for within, and ends them. Those that have not are
// found by the check of what they saw.
func (l *Load) Finish(ctx context.Context, ends map[string]map[int32]int64, within time.Duration) {
	deadline := time.Now().Add(within)
	for !l.caughtUp(ends) && time.Now().Before(deadline) && ctx.Err() == nil {
		<-time.After(20 * time.Millisecond)
	}
	l.Abandon()
}

// Abandon ends everything without waiting for anything to be seen.
func (l *Load) Abandon() {
	if l.stopWriters == nil {
		return
	}
	l.stopWriters()
	l.stopReaders()
	l.writers.Wait()
	l.reading.Wait()
	for _, t := range l.targets {
		t.client.HTTP.CloseIdleConnections()
	}
}

// ForgetPosition lets later reads ask for whatever a node has, not for everything acknowledged.
func (l *Load) ForgetPosition() {
	l.board.mu.Lock()
	defer l.board.mu.Unlock()
	l.board.top = log.Position{}
}

func (l *Load) table(name string) string { return l.options.Namespace + "." + name }

func (l *Load) rows(table string) string {
	return "/v1/tables/" + l.options.Namespace + "/" + table + "/rows"
}

func (l *Load) random(name string) *rand.Rand {
	h := uint64(14695981039346656037) // FNV-1a, so that each client has a sequence of its own
	for _, c := range []byte(name) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return rand.New(rand.NewPCG(l.options.Seed, h))
}

// board is where clients post the positions they were told, and read one that covers all of them.
type board struct {
	mu  sync.Mutex
	top log.Position
}

func (b *board) post(token string) {
	p, err := log.ParsePosition(token)
	if err != nil {
		return // the reply has no position
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.top = b.top.Max(p)
}

func (b *board) read() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.top.String()
}

// pause waits, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
