package materializer

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
)

// Options of New. Zero means default.
type Options struct {
	Backend    func(beforeDurable func() error) (storage.Backend, error) // required: opens it
	Clock      clock.Clock                                               // default the machine's
	Logger     *slog.Logger                                              // default discards
	Registerer prometheus.Registerer                                     // metrics kalam_materializer_*; nil: none
}

func (o *Options) setDefaults() error {
	if o.Backend == nil {
		return errors.New("materializer: Options.Backend is nil")
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Materializer implements log.Fold. The methods of log.Fold are for the log; all others are safe for concurrent use once Open has returned.
type Materializer struct {
	options Options
	metrics *metrics
	backend storage.Backend
	step    *step
	dedup   *dedup
	catalog atomic.Pointer[Catalog]

	// mu is held for writing while a step is committed and published, which takes milliseconds at most, for reading by whoever needs parts of
	// the state that belong together.
	mu         sync.RWMutex
	checkpoint checkpoint
	restoring  bool // the state is being replaced
	remembered Remembered
	ends       map[log.Partition]log.Offset // those asked for or written since Open

	listening sync.Mutex
	listeners []func(*Catalog)
}

var (
	_ log.Fold = (*Materializer)(nil)
	_ log.Step = (*step)(nil)
)

// New returns a Materializer whose Open has yet to be called; until then its catalog holds the system tables alone.
func New(o Options) (*Materializer, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	m := &Materializer{options: o, dedup: &dedup{}, ends: map[log.Partition]log.Offset{}}
	var err error
	if m.metrics, err = newMetrics(o.Registerer, m); err != nil {
		return nil, err
	}
	m.catalog.Store(emptyCatalog())
	m.step = newStep(m)
	return m, nil
}

// Open implements log.Fold.
func (m *Materializer) Open(beforeDurable func() error) (log.Checkpoint, error) {
	backend, err := m.options.Backend(beforeDurable)
	if err != nil {
		return log.Checkpoint{}, fmt.Errorf("open state: %w", err)
	}
	m.backend = backend
	if err := m.load(); err != nil {
		return log.Checkpoint{}, errors.Join(fmt.Errorf("open state: %w", err), backend.Close())
	}
	m.tellCatalog(m.Catalog())
	return m.checkpoint.Checkpoint, nil
}

// Begin implements log.Fold.
func (m *Materializer) Begin() log.Step {
	m.step.begin()
	return m.step
}

// End implements log.Fold.
func (m *Materializer) End(p log.Partition) (log.Offset, error) {
	m.mu.RLock()
	end, ok := m.ends[p]
	m.mu.RUnlock()
	if ok {
		return end, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if end, ok := m.ends[p]; ok {
		return end, nil
	}
	end, err := readEnd(m.backend, p)
	if err != nil {
		return 0, err
	}
	if m.Catalog().TableByID(p.Table) != nil {
		m.ends[p] = end
	}
	return end, nil
}

func readEnd(r storage.Reader, p log.Partition) (log.Offset, error) {
	raw, err := r.Value(metaPartition, endKey(p))
	if errors.Is(err, storage.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read end of table %d, partition %d: %w", p.Table, p.ID, err)
	}
	return decodeEnd(raw)
}

// Sync implements log.Fold.
func (m *Materializer) Sync() error {
	if err := m.backend.Sync(); err != nil {
		return fmt.Errorf("sync state: %w", err)
	}
	return nil
}

// Close implements log.Fold.
func (m *Materializer) Close() error {
	if m.backend == nil {
		return nil
	}
	if err := m.backend.Close(); err != nil {
		return fmt.Errorf("close state: %w", err)
	}
	return nil
}

// Catalog returns the newest applied catalog.
func (m *Materializer) Catalog() *Catalog { return m.catalog.Load() }

// Remembered says how much is remembered of idempotency keys as of the last commit.
func (m *Materializer) Remembered() Remembered {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.remembered
}

// OnCatalogChange has f called with each new catalog, from apply after its commit and once from Open: f must be quick and must not write. It is not
// called for the catalog of now.
func (m *Materializer) OnCatalogChange(f func(*Catalog)) {
	m.listening.Lock()
	defer m.listening.Unlock()
	m.listeners = append(m.listeners, f)
}

func (m *Materializer) tellCatalog(c *Catalog) {
	m.listening.Lock()
	listeners := m.listeners
	m.listening.Unlock()
	for _, f := range listeners {
		f(c)
	}
}
