package duck

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	capi "github.com/duckdb/duckdb-go-bindings"

	"kalamlog.dev/kalam/query/expr"
)

// Conn is one connection. It is used by one goroutine at a time.
type Conn struct {
	db   *DB
	conn capi.Connection
	inTx bool
	user string                // the statement that last set the user
	cut  atomic.Pointer[error] // why the statement that runs was interrupted from outside, nil if it was not
}

func (c *Conn) disconnect() { capi.Disconnect(&c.conn) }

// Begin starts a transaction; its snapshot is of this moment.
func (c *Conn) Begin() error {
	err := c.Exec(context.Background(), "BEGIN TRANSACTION")
	c.inTx = err == nil
	return err
}

// Commit ends the transaction.
func (c *Conn) Commit() error {
	c.inTx = false
	return c.Exec(context.Background(), "COMMIT")
}

// Rollback undoes the transaction.
func (c *Conn) Rollback() error {
	c.inTx = false
	return c.Exec(context.Background(), "ROLLBACK")
}

// transact runs f in a transaction, which is undone if f fails.
func (c *Conn) transact(f func() error) error {
	if err := c.Begin(); err != nil {
		return err
	}
	if err := f(); err != nil {
		return errors.Join(err, c.Rollback())
	}
	return c.Commit()
}

// SetUser makes user the value of current_user_id() and the one whose rows the views of user tables show; with all
// they show everybody's. A connection that was never told shows none.
func (c *Conn) SetUser(user string, all bool) error {
	sql := fmt.Sprintf("SET VARIABLE %s = %t; SET VARIABLE %s = %s", allVariable, all, userVariable, quote(user))
	if c.user == sql {
		return nil
	}
	c.user = ""
	if err := c.Exec(context.Background(), sql); err != nil {
		return err
	}
	c.user = sql
	return nil
}

// Exec runs one or more statements and drops their results. The error is an *Error.
func (c *Conn) Exec(ctx context.Context, sql string) error {
	stop := c.interruptOn(ctx)
	var result capi.Result
	state := capi.Query(c.conn, sql, &result)
	stop()
	defer capi.DestroyResult(&result)
	if state == capi.StateError {
		return c.failed(ctx, capi.ResultError(&result))
	}
	return nil
}

// Query prepares one statement, binds params and starts it. The error is an *Error, or ctx's. The result must be
// closed before the connection is used again; ctx must stay valid until then.
func (c *Conn) Query(ctx context.Context, sql string, params []expr.Value) (*Rows, error) {
	r := &Rows{conn: c, ctx: ctx}
	r.stop = c.interruptOn(ctx)
	if err := r.start(sql, params); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Text runs a query of one row and one text column.
func (c *Conn) Text(ctx context.Context, sql string, params ...expr.Value) (string, error) {
	rows, err := c.Query(ctx, sql, params)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	ok, err := rows.Next()
	if err != nil || !ok {
		return "", fmt.Errorf("read one value: %w", err)
	}
	if v := rows.Values()[0]; v.Kind() == expr.JSON || v.Kind() == expr.Text {
		return v.Str(), nil
	}
	return rows.Values()[0].String(), nil
}

// interruptOn makes ctx's end interrupt the running statement. After stop has returned no interrupt will come.
func (c *Conn) interruptOn(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	done := make(chan struct{})
	stopped := context.AfterFunc(ctx, func() {
		capi.Interrupt(c.conn)
		close(done)
	})
	return func() {
		if !stopped() {
			<-done
		}
	}
}

// failed returns the error of a statement: ctx's if that is why it was interrupted.
func (c *Conn) failed(ctx context.Context, text string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e := parseError(text)
	if why := c.cut.Swap(nil); why != nil && strings.EqualFold(e.Type, "interrupt") {
		return *why
	}
	if e.Type == "INTERNAL" || e.Type == "FATAL" {
		c.db.broken.Store(true)
	}
	return e
}

// The connection's variables that views of user tables read.
const (
	userVariable = "kalam_user"
	allVariable  = "kalam_all_users"
)
