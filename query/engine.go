package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/duck"
)

// Jobs is what the engine needs of the flusher.
type Jobs interface {
	// Flush starts a flush of t, or answers with the one that runs. It returns the job's id.
	Flush(ctx context.Context, t *materializer.Table) (string, error)
	// Kill cancels a job; *problem.Error UnknownJob.
	Kill(ctx context.Context, id string) error
}

// Options configures an Engine. Zero means default.
type Options struct {
	Log               *log.Log                                               // required
	Materializer      *materializer.Materializer                             // required
	Writer            *materializer.Writer                                   // required
	IDs               *materializer.IDs                                      // for generated ids; one generator a node, default that of node 1
	Jobs              Jobs                                                   // may be set later by SetJobs, if the flusher is made after the engine
	DataDir           string                                                 // required: data files' paths are relative to it
	EnsureFiles       func(ctx context.Context, files []manifest.File) error // gets data files that are not in DataDir yet; default they always are
	Clock             clock.Clock                                            // default the machine's
	Logger            *slog.Logger                                           // default discards
	Registerer        prometheus.Registerer                                  // metrics kalam_query_*; nil: none
	MaxPlans          int                                                    // of the plan cache, default 1000
	Threads           int                                                    // DuckDB's, default GOMAXPROCS
	Room              func() error                                           // why DuckDB should spill no more to DataDir, nil if there is room; default: there always is
	MemoryLimit       string                                                 // DuckDB's, default "1GB"
	MaxConcurrent     int                                                    // queries in DuckDB at once, others wait; default 64
	DefaultPartitions int                                                    // of CREATE TABLE, default materializer.DefaultPartitions
	DefaultSharding   string                                                 // of CREATE TABLE, default the flusher's
}

func (o *Options) setDefaults() {
	if o.IDs == nil {
		o.IDs = materializer.NewIDs(1)
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxPlans <= 0 {
		o.MaxPlans = 1000
	}
	if o.DefaultPartitions <= 0 {
		o.DefaultPartitions = materializer.DefaultPartitions
	}
}

func (o *Options) validate() error {
	var errs []error
	for name, missing := range map[string]bool{
		"Log": o.Log == nil, "Materializer": o.Materializer == nil, "Writer": o.Writer == nil, "DataDir": o.DataDir == "",
	} {
		if missing {
			errs = append(errs, errors.New("query: Options."+name+" is required"))
		}
	}
	return errors.Join(errs...)
}

// Engine is safe for concurrent use.
type Engine struct {
	Options
	plans   *planCache
	metrics *metrics
	jobs    atomic.Pointer[Jobs]
	ddl     chan struct{} // one token: who holds it changes the catalog

	mu       sync.Mutex // held while the reader is replaced
	reader   atomic.Pointer[reader]
	closing  sync.WaitGroup // of readers that were replaced
	closed   bool
	closeErr error
}

// New starts the engine. Close it before the log.
func New(o Options) (*Engine, error) {
	o.setDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	e := &Engine{Options: o, ddl: make(chan struct{}, 1)}
	var err error
	if e.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, err
	}
	if e.plans, err = newPlanCache(o.MaxPlans, e.metrics); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(duck.TempDir(o.DataDir)); err != nil {
		return nil, fmt.Errorf("clear temporary files: %w", err)
	}
	r, err := e.newReader()
	if err != nil {
		return nil, err
	}
	e.reader.Store(r)
	if o.Jobs != nil {
		e.SetJobs(o.Jobs)
	}
	return e, nil
}

// SetJobs gives the engine the flusher that FLUSH TABLE and KILL JOB speak to.
func (e *Engine) SetJobs(j Jobs) { e.jobs.Store(&j) }

// Close waits for the queries that run and frees the engine. It is idempotent.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.closed = true
		e.closeErr = e.reader.Load().db.Close()
		e.closing.Wait()
	}
	return e.closeErr
}
