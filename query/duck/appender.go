package duck

import (
	"errors"
	"unsafe"

	capi "github.com/duckdb/duckdb-go-bindings"

	"kalamlog.dev/kalam/query/expr"
)

// appender adds rows to a table, a data chunk at a time, within the connection's transaction.
type appender struct {
	app     capi.Appender
	chunk   capi.DataChunk
	writers []*writer
	rows    int
	size    int // rows that a chunk takes
}

// newAppender opens table of the internal schema, whose columns have the given types.
func newAppender(c *Conn, table string, types []expr.Type) (*appender, error) {
	a := &appender{size: int(capi.VectorSize())}
	if capi.AppenderCreateExt(c.conn, Catalog, Internal, table, &a.app) == capi.StateError {
		err := parseError(capi.AppenderError(a.app))
		capi.AppenderDestroy(&a.app)
		return nil, err
	}
	logical := make([]capi.LogicalType, len(types))
	for i, t := range types {
		logical[i] = logicalType(t)
		defer capi.DestroyLogicalType(&logical[i])
	}
	a.chunk = capi.CreateDataChunk(logical)
	for i, t := range types {
		a.writers = append(a.writers, newWriter(t))
		a.writers[i].load(capi.DataChunkGetVector(a.chunk, capi.IdxT(i)))
	}
	return a, nil
}

// append adds a row of one value for each column, of the column's type or NULL.
func (a *appender) append(values []expr.Value) error {
	for i, w := range a.writers {
		w.put(a.rows, values[i])
	}
	a.rows++
	if a.rows == a.size {
		return a.flush()
	}
	return nil
}

func (a *appender) flush() error {
	if a.rows == 0 {
		return nil
	}
	capi.DataChunkSetSize(a.chunk, capi.IdxT(a.rows))
	if capi.AppendDataChunk(a.app, a.chunk) == capi.StateError {
		return parseError(capi.AppenderError(a.app))
	}
	capi.DataChunkReset(a.chunk)
	a.rows = 0
	for i, w := range a.writers {
		w.load(capi.DataChunkGetVector(a.chunk, capi.IdxT(i)))
	}
	return nil
}

// close makes the rows part of the connection's transaction and frees the appender.
func (a *appender) close() error {
	err := a.flush()
	if capi.AppenderClose(a.app) == capi.StateError && err == nil {
		err = parseError(capi.AppenderError(a.app))
	}
	capi.DestroyDataChunk(&a.chunk)
	if capi.AppenderDestroy(&a.app) == capi.StateError && err == nil {
		err = errors.New("duck: destroy appender")
	}
	return err
}

// writer puts values into the vectors of one column.
type writer struct {
	vec      capi.Vector
	data     unsafe.Pointer
	validity unsafe.Pointer // nil until the first NULL
	put1     func(row int, v expr.Value)
	elem     *writer // of lists
	used     int     // elements of the list's child that are taken
}

func newWriter(t expr.Type) *writer {
	w := &writer{}
	switch t.Kind {
	case expr.Bool:
		w.put1 = func(row int, v expr.Value) { *at[bool](w.data, row) = v.Bool() }
	case expr.SmallInt:
		w.put1 = func(row int, v expr.Value) { *at[int16](w.data, row) = int16(v.Int()) }
	case expr.Integer, expr.Date:
		w.put1 = func(row int, v expr.Value) { *at[int32](w.data, row) = int32(v.Int()) }
	case expr.BigInt, expr.Time, expr.Timestamp, expr.TimestampTZ:
		w.put1 = func(row int, v expr.Value) { *at[int64](w.data, row) = v.Int() }
	case expr.Real:
		w.put1 = func(row int, v expr.Value) { *at[float32](w.data, row) = float32(v.Float()) }
	case expr.Double:
		w.put1 = func(row int, v expr.Value) { *at[float64](w.data, row) = v.Float() }
	case expr.Decimal:
		w.decimal(t.Precision)
	case expr.UUID:
		w.put1 = func(row int, v expr.Value) {
			hi, lo := uuidWords(v)
			*at[[2]uint64](w.data, row) = [2]uint64{lo, hi ^ 1<<63}
		}
	case expr.List:
		w.list(*t.Elem)
	default:
		w.put1 = func(row int, v expr.Value) { capi.VectorAssignStringElement(w.vec, capi.IdxT(row), v.Str()) }
	}
	return w
}

// load points the writer at a vector that was just made or reset.
func (w *writer) load(v capi.Vector) {
	w.vec, w.data, w.validity, w.used = v, capi.VectorGetData(v), nil, 0
	if w.elem != nil {
		w.elem.load(capi.ListVectorGetChild(v))
	}
}

func (w *writer) put(row int, v expr.Value) {
	if !v.IsNull() {
		w.put1(row, v)
		return
	}
	if w.validity == nil {
		capi.VectorEnsureValidityWritable(w.vec)
		w.validity = capi.VectorGetValidity(w.vec)
	}
	*at[uint64](w.validity, row/64) &^= 1 << (row % 64)
}

func (w *writer) decimal(precision uint8) {
	w.put1 = func(row int, v expr.Value) {
		hi, lo, _ := v.DecimalParts()
		switch {
		case precision <= 4:
			*at[int16](w.data, row) = int16(lo)
		case precision <= 9:
			*at[int32](w.data, row) = int32(lo)
		case precision <= 18:
			*at[int64](w.data, row) = int64(lo)
		default:
			*at[[2]uint64](w.data, row) = [2]uint64{lo, hi}
		}
	}
}

func (w *writer) list(elem expr.Type) {
	w.elem = newWriter(elem)
	w.put1 = func(row int, v expr.Value) {
		vs := v.List()
		w.grow(w.used + len(vs))
		for i, e := range vs {
			w.elem.put(w.used+i, e)
		}
		*at[[2]uint64](w.data, row) = [2]uint64{uint64(w.used), uint64(len(vs))}
		w.used += len(vs)
		capi.ListVectorSetSize(w.vec, capi.IdxT(w.used))
	}
}

// grow makes room for n elements in the child vector, whose memory may move. Elements are written beyond its size
// until the list's own row is complete.
func (w *writer) grow(n int) {
	capi.ListVectorReserve(w.vec, capi.IdxT(n))
	used, elem := w.elem.used, w.elem
	nulls := elem.validity != nil
	elem.vec = capi.ListVectorGetChild(w.vec)
	elem.data = capi.VectorGetData(elem.vec)
	elem.validity = nil
	if nulls {
		capi.VectorEnsureValidityWritable(elem.vec)
		elem.validity = capi.VectorGetValidity(elem.vec)
	}
	elem.used = used
}
