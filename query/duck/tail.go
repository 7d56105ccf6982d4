package duck

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// readBytes is how much of the log is read at a time.
const readBytes = 4 << 20

// offsets is a set of offsets for each partition.
type offsets map[log.PartitionID]*roaring64.Bitmap

func (o offsets) add(p log.PartitionID, at log.Offset) {
	if o[p] == nil {
		o[p] = roaring64.New()
	}
	o[p].Add(uint64(at))
}

func (o offsets) or(other offsets) {
	for p, b := range other {
		if o[p] == nil {
			o[p] = b.Clone()
			continue
		}
		o[p].Or(b)
	}
}

// count returns the number of offsets.
func (o offsets) count() (n uint64) {
	for _, b := range o {
		n += b.GetCardinality()
	}
	return n
}

// each calls f for every offset until it fails.
func (o offsets) each(f func(p log.PartitionID, at log.Offset) error) error {
	for p, b := range o {
		for it := b.Iterator(); it.HasNext(); {
			if err := f(p, log.Offset(it.Next())); err != nil {
				return err
			}
		}
	}
	return nil
}

// split parts the offsets at one bound for each partition.
func (o offsets) split(at map[log.PartitionID]log.Offset) (below, above offsets) {
	below, above = offsets{}, offsets{}
	for p, b := range o {
		rank := b.Clone()
		rank.RemoveRange(0, uint64(at[p]))
		if !rank.IsEmpty() {
			above[p] = rank
		}
		if low := roaring64.AndNot(b, rank); !low.IsEmpty() {
			below[p] = low
		}
	}
	return below, above
}

// tailTypes returns the types of a tail table's columns: those of the schema, then the system columns.
func tailTypes(s *materializer.Schema) []expr.Type {
	types := make([]expr.Type, 0, len(s.Columns)+4)
	for _, c := range s.Columns {
		types = append(types, c.Type)
	}
	return append(types, expr.Type{Kind: expr.Integer}, expr.Type{Kind: expr.BigInt}, expr.Type{Kind: expr.TimestampTZ},
		expr.Type{Kind: expr.Text})
}

// createTail returns the statement that creates a tail table.
func createTail(name string, s *materializer.Schema) string {
	columns := make([]string, 0, len(s.Columns)+4)
	for _, c := range s.Columns {
		columns = append(columns, Ident(c.Name)+" "+c.Type.String())
	}
	columns = append(columns, "_partition INTEGER", "_offset BIGINT", "_timestamp TIMESTAMPTZ", "_op TEXT")
	return "CREATE TABLE " + internal(name) + " (" + strings.Join(columns, ", ") + ")"
}

// internal returns the qualified name of a table of the internal schema.
func internal(name string) string { return Catalog + "." + Internal + "." + name }

// tailWriter appends changes to a tail table and notes which offsets they replace.
type tailWriter struct {
	table    *materializer.Table
	app      *appender
	values   []expr.Value
	rows     int
	replaced offsets
}

func newTailWriter(c *Conn, name string, t *materializer.Table) (*tailWriter, error) {
	types := tailTypes(t.Schema())
	app, err := newAppender(c, name, types)
	if err != nil {
		return nil, fmt.Errorf("open appender of %s: %w", name, err)
	}
	return &tailWriter{table: t, app: app, values: make([]expr.Value, len(types)), replaced: offsets{}}, nil
}

// copy appends the changes of p from offset from to before end.
func (w *tailWriter) copy(ctx context.Context, l Log, p log.Partition, from, end log.Offset) error {
	for from < end {
		records, err := l.Read(p, from, readBytes)
		if problem.Is(err, problem.OutOfRange) || err == nil && len(records) == 0 {
			// The state was committed a moment before the log shows it.
			if err = l.WaitEnd(ctx, p, from); err == nil {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("read log from offset %d: %w", from, err)
		}
		for _, r := range records {
			if r.Offset >= end {
				return nil
			}
			if err := w.add(r); err != nil {
				return err
			}
			from = r.Offset + 1
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (w *tailWriter) add(r log.Record) error {
	c, err := materializer.DecodeChange(r)
	if err != nil {
		return fmt.Errorf("decode change: %w", err)
	}
	if c.HasPrevious {
		w.replaced.add(c.Partition.ID, c.Previous)
	}
	if c.Op == materializer.RowDeleted {
		return nil
	}
	row, err := w.table.DecodeRow(c.New)
	if err != nil {
		return fmt.Errorf("decode row at offset %d: %w", c.Offset, err)
	}
	n := len(w.values) - 4
	for i := range n {
		w.values[i] = row.Column(i)
	}
	w.system(n, c)
	w.rows++
	return w.app.append(w.values)
}

func (w *tailWriter) system(n int, c materializer.Change) {
	w.values[n] = expr.IntOf(expr.Integer, int64(c.Partition.ID))
	w.values[n+1] = expr.IntOf(expr.BigInt, int64(c.Offset))
	w.values[n+2] = expr.IntOf(expr.TimestampTZ, c.Timestamp)
	w.values[n+3] = expr.TextOf(OpName(c.Op))
}

// OpName returns what the column _op shows of a change.
func OpName(op materializer.ChangeOp) string {
	switch op {
	case materializer.RowInserted:
		return "insert"
	case materializer.RowUpdated:
		return "update"
	default:
		return "delete"
	}
}

// fillOffsets appends a set of offsets to a table (_partition, _offset).
func fillOffsets(c *Conn, name string, set offsets) error {
	app, err := newAppender(c, name, []expr.Type{{Kind: expr.Integer}, {Kind: expr.BigInt}})
	if err != nil {
		return err
	}
	values := make([]expr.Value, 2)
	err = set.each(func(p log.PartitionID, at log.Offset) error {
		values[0], values[1] = expr.IntOf(expr.Integer, int64(p)), expr.IntOf(expr.BigInt, int64(at))
		return app.append(values)
	})
	if closing := app.close(); err == nil {
		err = closing
	}
	return err
}

// removeRows deletes the rows at a set of offsets from a tail table.
func removeRows(ctx context.Context, c *Conn, name string, set offsets) error {
	const few = 64
	if n := set.count(); n == 0 {
		return nil
	} else if n <= few {
		return c.Exec(ctx, "DELETE FROM "+internal(name)+" WHERE "+fewOffsets(set))
	}
	gone := name + "_gone"
	if err := c.Exec(ctx, "CREATE TABLE "+internal(gone)+" (_partition INTEGER, _offset BIGINT)"); err != nil {
		return err
	}
	if err := fillOffsets(c, gone, set); err != nil {
		return err
	}
	return c.Exec(ctx, "DELETE FROM "+internal(name)+" t USING "+internal(gone)+
		" g WHERE t._partition = g._partition AND t._offset = g._offset; DROP TABLE "+internal(gone))
}

func fewOffsets(set offsets) string {
	var terms []string
	for p, b := range set {
		list := make([]string, 0, b.GetCardinality())
		for it := b.Iterator(); it.HasNext(); {
			list = append(list, strconv.FormatUint(it.Next(), 10))
		}
		terms = append(terms, fmt.Sprintf("(_partition = %d AND _offset IN (%s))", p, strings.Join(list, ", ")))
	}
	return strings.Join(terms, " OR ")
}
