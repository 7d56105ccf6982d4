package duck

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	capi "github.com/duckdb/duckdb-go-bindings"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/query/expr"
)

// Catalog is the name of the attached database that holds every schema of ours.
const Catalog = "kalam"

// Internal is the schema of the mirrors' own tables. Its name cannot be a namespace's.
const Internal = "_kalam"

// Options configures a DB. Zero means default.
type Options struct {
	DataDir        string // required: the only directory whose files can be read
	Threads        int    // default GOMAXPROCS
	MemoryLimit    string // default "1GB"
	MaxConnections int    // statements that run at once, default 64

	// Ensure returns when data files that a manifest names are in DataDir; default they always are.
	Ensure func(ctx context.Context, files []manifest.File) error
	// Room tells why nothing more should be spilled to DataDir, nil if there is room. Default: there always is.
	Room func() error
}

func (o *Options) ensureDefaults() {
	if o.Threads <= 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.MemoryLimit == "" {
		o.MemoryLimit = "1GB"
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 64
	}
	if o.Ensure == nil {
		o.Ensure = func(context.Context, []manifest.File) error { return nil }
	}
}

// DB is an in-memory DuckDB. It is safe for concurrent use.
type DB struct {
	dir   string // absolute data directory
	tmp   string // of temporary files, removed by Close
	slots chan struct{}
	dead  *deadSets

	ensure func(context.Context, []manifest.File) error

	broken atomic.Bool

	mu struct {
		sync.Mutex
		db      capi.Database
		idle    []*Conn
		lent    int                // connections that are in use
		readers map[*Conn]struct{} // those of them that Conn has lent
		closed  bool
	}
	returned *sync.Cond // of mu: lent has become less

	endGuard func() // ends guardSpill and waits for it
}

// ErrClosed reports use of a DB after Close.
var ErrClosed = errors.New("duck: closed")

// Open starts a database whose statements can neither reach the network nor files outside of o.DataDir, nor change
// that. Temporary files go to TempDir(o.DataDir).
func Open(o Options) (*DB, error) {
	o.ensureDefaults()
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return nil, fmt.Errorf("resolve data directory: %w", err)
	}
	parent := TempDir(dir)
	if err := os.MkdirAll(parent, 0o750); err != nil {
		return nil, fmt.Errorf("create temporary directory: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, "db-")
	if err != nil {
		return nil, fmt.Errorf("create temporary directory: %w", err)
	}
	d := &DB{dir: dir, tmp: tmp, slots: make(chan struct{}, o.MaxConnections), dead: newDeadSets(), endGuard: func() {}, ensure: o.Ensure}
	d.mu.readers = map[*Conn]struct{}{}
	d.returned = sync.NewCond(&d.mu)
	if err := d.open(o); err != nil {
		d.dead.free()
		_ = os.Remove(tmp)
		return nil, fmt.Errorf("open duckdb: %w", err)
	}
	if err := d.lockDown(tmp); err != nil {
		return nil, errors.Join(fmt.Errorf("configure duckdb: %w", err), d.Close())
	}
	if o.Room != nil {
		d.startGuard(o.Room)
	}
	return d, nil
}

func (d *DB) startGuard(room func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	var guard sync.WaitGroup
	guard.Go(func() { d.guardSpill(ctx, room) })
	d.endGuard = func() {
		cancel()
		guard.Wait()
	}
}

// TempDir returns where the databases over a data directory keep temporary files. Whoever owns the directory may remove
// it before the first Open: a process that was killed leaves files.
func TempDir(dataDir string) string { return filepath.Join(dataDir, "tmp", "duckdb") }

// Broken reports that DuckDB has met a fault of its own and refuses all further statements. Open another DB.
func (d *DB) Broken() bool { return d.broken.Load() }

func (d *DB) open(o Options) error {
	var config capi.Config
	if capi.CreateConfig(&config) == capi.StateError {
		return errors.New("create configuration")
	}
	defer capi.DestroyConfig(&config)
	for _, kv := range [][2]string{
		{"threads", strconv.Itoa(o.Threads)},
		{"memory_limit", o.MemoryLimit},
		{"errors_as_json", "true"},
		{"immediate_transaction_mode", "true"},
		{"autoinstall_known_extensions", "false"},
		{"autoload_known_extensions", "false"},
		{"allow_community_extensions", "false"},
		{"allow_unsigned_extensions", "false"},
	} {
		if capi.SetConfig(config, kv[0], kv[1]) == capi.StateError {
			return fmt.Errorf("set option %s", kv[0])
		}
	}
	var msg string
	if capi.OpenExt(":memory:", &d.mu.db, config, &msg) == capi.StateError {
		return errors.New(msg)
	}
	return nil
}

// lockDown sets what can only be set from inside, then forbids every further change.
func (d *DB) lockDown(tmp string) error {
	c, err := d.Conn(context.Background())
	if err != nil {
		return err
	}
	defer d.Release(c)
	if err := d.dead.register(c); err != nil {
		return err
	}
	for _, sql := range []string{
		"SET temp_directory = " + quote(tmp),
		"SET GLOBAL TimeZone = 'UTC'",
		"SET allowed_directories = [" + quote(d.dir) + "]",
		"SET enable_external_access = false",
		"ATTACH ':memory:' AS " + Catalog,
		"CREATE SCHEMA " + Catalog + "." + Internal,
		"CREATE MACRO current_user_id() AS getvariable('" + userVariable + "')",
		"CREATE MACRO uuid_v7() AS uuidv7()",
		"SET parquet_metadata_cache = true",
		"SET lock_configuration = true",
	} {
		if err := c.Exec(context.Background(), sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// Dir returns the absolute data directory.
func (d *DB) Dir() string { return d.dir }

// Conn lends a connection, waiting for one if all are lent. Give it back with Release.
func (d *DB) Conn(ctx context.Context) (*Conn, error) {
	select {
	case d.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c, err := d.take()
	if err != nil {
		<-d.slots
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c.cut.Store(nil)
	d.mu.readers[c] = struct{}{}
	return c, nil
}

func (d *DB) take() (*Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.closed {
		return nil, ErrClosed
	}
	if n := len(d.mu.idle); n > 0 {
		c := d.mu.idle[n-1]
		d.mu.idle = d.mu.idle[:n-1]
		d.mu.lent++
		return c, nil
	}
	c := &Conn{db: d}
	if capi.Connect(d.mu.db, &c.conn) == capi.StateError {
		return nil, errors.New("duck: connect")
	}
	d.mu.lent++
	return c, nil
}

// Release takes c back. A connection whose transaction cannot be ended is thrown away.
func (d *DB) Release(c *Conn) {
	d.put(c)
	<-d.slots
}

func (d *DB) put(c *Conn) {
	usable := !c.inTx || c.Rollback() == nil
	d.mu.Lock()
	defer d.mu.Unlock()
	if usable && !d.mu.closed {
		d.mu.idle = append(d.mu.idle, c)
	} else {
		c.disconnect()
	}
	d.mu.lent--
	delete(d.mu.readers, c)
	d.returned.Broadcast()
}

// maintain calls f with a connection beside those that Conn lends: what mirrors do must not wait for slow readers.
func (d *DB) maintain(f func(c *Conn) error) error {
	c, err := d.take()
	if err != nil {
		return err
	}
	defer d.put(c)
	return f(c)
}

// SyntaxTree returns DuckDB's syntax tree of a query as JSON, or its error as JSON. It runs nothing and does not wait
// for connections.
func (d *DB) SyntaxTree(ctx context.Context, sql string) (tree string, err error) {
	err = d.maintain(func(c *Conn) error {
		tree, err = c.Text(ctx, "SELECT json_serialize_sql($1::VARCHAR)", expr.TextOf(sql))
		return err
	})
	return tree, err
}

// Close ends the database after the connections that are lent have come back. It is idempotent.
func (d *DB) Close() error {
	err := d.close()
	d.endGuard()
	return err
}

func (d *DB) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.closed {
		return nil
	}
	d.mu.closed = true
	for d.mu.lent > 0 {
		d.returned.Wait()
	}
	for _, c := range d.mu.idle {
		c.disconnect()
	}
	d.mu.idle = nil
	capi.Close(&d.mu.db)
	d.dead.free()
	if err := os.RemoveAll(d.tmp); err != nil {
		return fmt.Errorf("remove temporary files: %w", err)
	}
	return nil
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Ident returns name as a quoted identifier.
func Ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
