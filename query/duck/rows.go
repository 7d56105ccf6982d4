package duck

import (
	"context"

	capi "github.com/duckdb/duckdb-go-bindings"

	"kalamlog.dev/kalam/query/expr"
)

// Column describes a column of a result. Type is its SQL name, in Kalam's spelling where Kalam has the type.
type Column struct {
	Name string
	Type string
}

// Rows is the result of a query, fetched in chunks as it is read. It is used by one goroutine.
type Rows struct {
	conn *Conn
	ctx  context.Context // of Query, for the cause of an interrupt
	stop func()

	stmt    capi.PreparedStatement
	pending capi.PendingResult
	result  capi.Result
	chunk   capi.DataChunk

	columns []Column
	readers []*reader
	values  []expr.Value
	row     int // next row of chunk
	size    int // rows of chunk
	closed  bool
}

func (r *Rows) start(sql string, params []expr.Value) error {
	if capi.Prepare(r.conn.conn, sql, &r.stmt) == capi.StateError {
		return r.conn.failed(r.ctx, capi.PrepareError(r.stmt))
	}
	if err := bind(r.stmt, params); err != nil {
		return err
	}
	if capi.PendingPreparedStreaming(r.stmt, &r.pending) == capi.StateError {
		return r.conn.failed(r.ctx, capi.PendingError(r.pending))
	}
	if capi.ExecutePending(r.pending, &r.result) == capi.StateError {
		return r.conn.failed(r.ctx, capi.ResultError(&r.result))
	}
	r.describe()
	return nil
}

func (r *Rows) describe() {
	n := int(capi.ColumnCount(&r.result))
	r.columns, r.readers, r.values = make([]Column, n), make([]*reader, n), make([]expr.Value, n)
	for i := range n {
		t := capi.ColumnLogicalType(&r.result, capi.IdxT(i))
		r.readers[i] = newReader(t)
		r.columns[i] = Column{
			Name: capi.ColumnName(&r.result, capi.IdxT(i)),
			Type: r.readers[i].name,
		}
		capi.DestroyLogicalType(&t)
	}
}

// Columns describes the result's columns.
func (r *Rows) Columns() []Column { return r.columns }

// Next moves to the next row and reports whether there is one. The error is an *Error, or that of the query's context.
func (r *Rows) Next() (bool, error) {
	for r.row == r.size {
		ok, err := r.fetch()
		if !ok || err != nil {
			return false, err
		}
	}
	for i, rd := range r.readers {
		r.values[i] = rd.value(r.row)
	}
	r.row++
	return true, nil
}

func (r *Rows) fetch() (bool, error) {
	capi.DestroyDataChunk(&r.chunk)
	r.row, r.size = 0, 0
	r.chunk = capi.FetchChunk(r.result)
	if r.chunk.Ptr == nil {
		if text := capi.ResultError(&r.result); text != "" {
			return false, r.conn.failed(r.ctx, text)
		}
		return false, r.ctx.Err()
	}
	r.size = int(capi.DataChunkGetSize(r.chunk))
	for i, rd := range r.readers {
		rd.load(capi.DataChunkGetVector(r.chunk, capi.IdxT(i)))
	}
	return true, nil
}

// Values returns the current row, valid until Next.
func (r *Rows) Values() []expr.Value { return r.values }

// Close ends the query. It is idempotent.
func (r *Rows) Close() {
	if r.closed {
		return
	}
	r.closed = true
	r.stop()
	capi.DestroyDataChunk(&r.chunk)
	capi.DestroyResult(&r.result)
	capi.DestroyPending(&r.pending)
	capi.DestroyPrepare(&r.stmt)
}
