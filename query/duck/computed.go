package duck

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// Computed is a table whose rows follow from the catalog, such as system.columns, or from what the server is doing. It is safe for concurrent use.
type Computed struct {
	Namespace, Name string
	Columns         []expr.Field
	Rows            func(c *materializer.Catalog) [][]expr.Value
	Live            bool // Rows is asked for every read, not only when the catalog has changed

	mu struct {
		sync.Mutex
		filled  bool
		catalog uint64
	}
}

// refresh fills the table for c unless it holds c's rows already.
func (t *Computed) refresh(ctx context.Context, db *DB, c *materializer.Catalog) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.filled && t.mu.catalog == c.Version() && !t.Live {
		return nil
	}
	err := db.maintain(func(conn *Conn) error {
		return conn.transact(func() error { return t.fill(ctx, conn, c) })
	})
	if err != nil {
		return fmt.Errorf("fill %s.%s: %w", t.Namespace, t.Name, err)
	}
	t.mu.filled, t.mu.catalog = true, c.Version()
	return nil
}

// StoreName returns the name of the table in the internal schema.
func (t *Computed) StoreName() string { return "computed_" + t.Namespace + "_" + t.Name }

func (t *Computed) fill(ctx context.Context, conn *Conn, c *materializer.Catalog) error {
	defs, types := make([]string, len(t.Columns)), make([]expr.Type, len(t.Columns))
	for i, f := range t.Columns {
		defs[i], types[i] = Ident(f.Name)+" "+f.Type.String(), f.Type
	}
	sql := "CREATE OR REPLACE TABLE " + internal(t.StoreName()) + " (" + strings.Join(defs, ", ") + ")"
	if err := conn.Exec(ctx, sql); err != nil {
		return err
	}
	app, err := newAppender(conn, t.StoreName(), types)
	if err != nil {
		return err
	}
	for _, row := range t.Rows(c) {
		if err = app.append(row); err != nil {
			break
		}
	}
	if closing := app.close(); err == nil {
		err = closing
	}
	return err
}
