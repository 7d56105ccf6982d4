package duck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// State gives views of the tables.
type State interface {
	View() (*materializer.View, error)
}

// Mirrors keeps a mirror of each table that was read since the start. It is safe for concurrent use.
//
// Lock order: mirrors by table id, each before mu. The locks of all mirrors that a read uses are held from before its
// view is taken until its DuckDB transaction has begun: only so are the mirrors exactly at the view.
type Mirrors struct {
	db     *DB
	log    Log
	state  State
	logger *slog.Logger

	mu struct {
		sync.Mutex
		byID    map[log.TableID]*mirror
		catalog uint64 // version that byID was last pruned for
	}
}

// NewMirrors returns an empty set of mirrors in db.
func NewMirrors(db *DB, l Log, s State, logger *slog.Logger) *Mirrors {
	m := &Mirrors{db: db, log: l, state: s, logger: logger}
	m.mu.byID = map[log.TableID]*mirror{}
	return m
}

// ErrCatalogChanged reports that the catalog is no longer that which a read was planned with.
var ErrCatalogChanged = errors.New("duck: the catalog has changed")

// Snapshot is a connection in a transaction that shows the tables it was opened for at Position. It must be closed.
type Snapshot struct {
	*Conn
	Position log.Position
	db       *DB
	number   uint64 // among the transactions that dead sets are kept for
}

// Close ends the transaction and gives the connection back.
func (s *Snapshot) Close() {
	s.db.Release(s.Conn)
	s.db.dead.end(s.number)
}

// Read describes a read to Open.
type Read struct {
	Tables   []*materializer.Table
	Computed []*Computed
	Catalog  uint64 // version of the catalog that the tables are from
	User     string // value of current_user_id()
	AllUsers bool   // show everybody's rows of user tables, not User's alone
}

// Open brings the mirrors of the tables up to date and begins a transaction over them. The error is ErrCatalogChanged
// if the read must be planned again.
func (m *Mirrors) Open(ctx context.Context, r Read) (*Snapshot, error) {
	tables := slices.SortedFunc(slices.Values(r.Tables), func(a, b *materializer.Table) int { return cmp.Compare(a.ID, b.ID) })
	tables = slices.Compact(tables)
	var held []*mirror
	defer func() {
		for _, mir := range held {
			mir.release()
		}
	}()
	for _, t := range tables {
		mir := m.mirror(t.ID)
		if err := mir.acquire(ctx); err != nil {
			return nil, err
		}
		held = append(held, mir)
	}
	// A change may leave the log after the view was taken and before it is read. A later view has it in a data file.
	for attempt := 1; ; attempt++ {
		s, err := m.openNow(ctx, r, tables, held)
		if attempt == openAttempts || !problem.Is(err, problem.Trimmed) {
			return s, err
		}
	}
}

// openAttempts bounds how often retention may overtake Open.
const openAttempts = 10

func (m *Mirrors) openNow(ctx context.Context, r Read, tables []*materializer.Table, mirrors []*mirror) (*Snapshot, error) {
	v, err := m.state.View()
	if err != nil {
		return nil, fmt.Errorf("take view: %w", err)
	}
	defer v.Close()
	if v.Catalog().Version() != r.Catalog {
		return nil, ErrCatalogChanged
	}
	if err := m.advance(ctx, v, tables, mirrors, r.Computed); err != nil {
		return nil, err
	}
	return m.begin(ctx, v, r)
}

func (m *Mirrors) advance(ctx context.Context, v *materializer.View, tables []*materializer.Table, mirrors []*mirror, computed []*Computed) error {
	if err := m.prune(ctx, v.Catalog()); err != nil {
		return err
	}
	for i, t := range tables {
		var err error
		if t.ID < materializer.FirstUserTable {
			err = mirrors[i].reload(ctx, m, v, t)
		} else {
			err = mirrors[i].advance(ctx, m, v, t)
		}
		if err != nil {
			return err
		}
	}
	for _, c := range computed {
		if err := c.refresh(ctx, m.db, v.Catalog()); err != nil {
			return err
		}
	}
	return nil
}

// begin lends a connection and takes its snapshot.
func (m *Mirrors) begin(ctx context.Context, v *materializer.View, r Read) (*Snapshot, error) {
	conn, err := m.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{Conn: conn, Position: v.Position(), db: m.db, number: m.db.dead.begin()}
	if err := conn.SetUser(r.User, r.AllUsers); err != nil {
		s.Close()
		return nil, fmt.Errorf("set user: %w", err)
	}
	if err := conn.Begin(); err != nil {
		s.Close()
		return nil, fmt.Errorf("begin read: %w", err)
	}
	return s, nil
}

func (m *Mirrors) mirror(id log.TableID) *mirror {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.byID[id] == nil {
		m.mu.byID[id] = newMirror()
	}
	return m.mu.byID[id]
}

// prune frees the mirrors of tables that were dropped.
func (m *Mirrors) prune(ctx context.Context, c *materializer.Catalog) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.catalog == c.Version() {
		return nil
	}
	for id, mir := range m.mu.byID {
		if c.TableByID(id) != nil {
			continue
		}
		select {
		case mir.lock <- struct{}{}: // nobody uses it, and nobody will: no plan of this catalog names it
		default:
			continue
		}
		if err := m.drop(ctx, mir); err != nil {
			mir.release()
			return err
		}
		delete(m.mu.byID, id)
	}
	m.mu.catalog = c.Version()
	return nil
}

// drop removes a mirror's views and tables.
func (m *Mirrors) drop(ctx context.Context, mir *mirror) error {
	t := mir.table
	if t == nil {
		return nil
	}
	sql := []string{
		"DROP VIEW " + internal(ViewName(t.ID)), "DROP VIEW " + internal(FullViewName(t.ID)),
		"DROP TABLE " + internal(mir.tail()),
	}
	err := m.db.maintain(func(c *Conn) error {
		return c.transact(func() error { return c.Exec(ctx, strings.Join(sql, ";\n")) })
	})
	if err != nil {
		return fmt.Errorf("drop mirror of %s: %w", t.QualifiedName(), err)
	}
	m.db.dead.retire(mir.deadNumber)
	return nil
}
