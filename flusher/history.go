package flusher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"kalamlog.dev/kalam/flusher/datafile"
	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/flusher/objstore"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// HistoryLog is what a History reads of the log.
type HistoryLog interface {
	// Read returns records of p from offset on, about maxBytes of them but at least one, none at the end.
	Read(p log.Partition, from log.Offset, maxBytes int) ([]log.Record, error)
	// Start returns the first offset that the log still has of p.
	Start(p log.Partition) log.Offset
}

// History reads all changes of a table: it implements materializer.History over the Parquet files that a view's manifests name and the log.
//
// Where both have a change, it yields the log's, after comparing the two: so reading a History also proves that each
// flushed change is in exactly one file and unchanged there. What the log no longer has it takes from Parquet alone: New is then encoded in the
// schema version of the file, Old is the New of the change before, Index and Batch are 0.
type History struct {
	view    *materializer.View
	log     HistoryLog
	store   objstore.Store
	checked map[string]bool // files whose checksum was compared
}

// NewHistory returns the history as of v, which must stay open. It is not safe for concurrent use.
func NewHistory(v *materializer.View, l HistoryLog, s objstore.Store) *History {
	return &History{view: v, log: l, store: s, checked: map[string]bool{}}
}

// Changes yields the changes before until of a partition in order, from offset 0 or from what has expired of a stream on. An error, which names the file or offset, ends it.
func (h *History) Changes(ctx context.Context, t *materializer.Table, p log.PartitionID, until log.Offset) iter.Seq2[materializer.Change, error] {
	return func(yield func(materializer.Change, error) bool) {
		m, err := manifest.Read(h.view, t)
		if err != nil {
			yield(materializer.Change{}, err)
			return
		}
		r := &historyReader{history: h, ctx: ctx, table: t, partition: log.Partition{Table: t.ID, ID: p}, manifest: m}
		if err := r.read(until, func(c materializer.Change) bool { return yield(c, nil) }); err != nil {
			yield(materializer.Change{}, fmt.Errorf("history of %s, partition %d: %w", t.QualifiedName(), p, err))
		}
	}
}

// historyReader is one iteration of Changes.
type historyReader struct {
	history   *History
	ctx       context.Context // of the iteration
	table     *materializer.Table
	partition log.Partition
	manifest  *manifest.Manifest

	next    log.Offset // due
	records []log.Record
	old     map[log.Offset][]byte // rows read from Parquet that a later change there replaces
}

func (r *historyReader) read(until log.Offset, yield func(materializer.Change) bool) error {
	r.old = map[log.Offset][]byte{}
	flushed := min(r.manifest.Flushed[r.partition.ID], until)
	kept, err := r.history.view.Start(r.partition)
	if err != nil {
		return err
	}
	r.next = kept.Expired
	start := r.history.log.Start(r.partition)
	for row, err := range r.rows() {
		if err != nil {
			return err
		}
		if row.Offset >= flushed {
			break
		}
		c, err := r.flushed(&row, row.Offset >= start)
		if err != nil {
			return err
		}
		r.next++
		if !yield(c) {
			return nil
		}
	}
	if r.next < flushed {
		return fmt.Errorf("offset %d is in no data file", r.next)
	}
	for r.next < until {
		c, err := r.logged()
		if err != nil {
			return err
		}
		r.next++
		if !yield(c) {
			return nil
		}
	}
	return nil
}

// flushed returns the change in a row.
func (r *historyReader) flushed(row *flushedRow, inLog bool) (materializer.Change, error) {
	switch {
	case row.Offset < r.next:
		return materializer.Change{}, fmt.Errorf("offset %d is in two data files or twice in %s", row.Offset, row.file.Path)
	case row.Offset > r.next:
		return materializer.Change{}, fmt.Errorf("offset %d is in no data file: %s goes on with %d", r.next, row.file.Path, row.Offset)
	case !inLog:
		return r.fromParquet(row)
	}
	c, err := r.logged()
	if err != nil {
		return c, err
	}
	if err := row.compare(r.table, &c); err != nil {
		return c, fmt.Errorf("offset %d in %s: %w", row.Offset, row.file.Path, err)
	}
	return c, nil
}

// logged returns the change at next from the log.
func (r *historyReader) logged() (materializer.Change, error) {
	if err := r.ctx.Err(); err != nil {
		return materializer.Change{}, err
	}
	for len(r.records) > 0 && r.records[0].Offset < r.next {
		r.records = r.records[1:]
	}
	if len(r.records) == 0 {
		var err error
		if r.records, err = r.history.log.Read(r.partition, r.next, chunkBytes); err != nil {
			return materializer.Change{}, fmt.Errorf("read log from offset %d: %w", r.next, err)
		}
	}
	if len(r.records) == 0 || r.records[0].Offset != r.next {
		return materializer.Change{}, fmt.Errorf("offset %d is not in the log", r.next)
	}
	return materializer.DecodeChange(r.records[0])
}

// fromParquet builds a change from its row alone.
func (r *historyReader) fromParquet(row *flushedRow) (c materializer.Change, err error) {
	s := row.schema
	c = materializer.Change{
		Op: row.Op, Partition: r.partition, Offset: row.Offset, Timestamp: row.Timestamp, Schema: s.Version, OldSchema: s.Version,
		Previous: row.Previous, HasPrevious: row.HasPrevious,
	}
	key := make([]expr.Value, len(s.Key))
	for i, k := range s.Key {
		key[i] = row.Values[k]
	}
	if c.Key, err = materializer.EncodeKey(nil, key); err != nil {
		return c, fmt.Errorf("encode key at offset %d: %w", row.Offset, err)
	}
	if row.HasPrevious {
		c.Old = r.old[row.Previous]
		delete(r.old, row.Previous)
	}
	if row.Op == materializer.RowDeleted {
		return c, nil
	}
	if c.New, err = materializer.EncodeRow(nil, s, row.Values); err != nil {
		return c, fmt.Errorf("encode row at offset %d: %w", row.Offset, err)
	}
	if set := r.manifest.Superseded[r.partition.ID]; set != nil && set.Contains(uint64(row.Offset)) {
		r.old[row.Offset] = c.New
	}
	return c, nil
}

// flushedRow is a row of a data file.
type flushedRow struct {
	datafile.Row
	file   *manifest.File
	schema *materializer.Schema
}

// compare reports how the row differs from the change that it should hold.
func (r *flushedRow) compare(t *materializer.Table, c *materializer.Change) error {
	want := datafile.Meta{
		Op: c.Op, Partition: c.Partition.ID, Offset: c.Offset, Timestamp: c.Timestamp, Previous: c.Previous, HasPrevious: c.HasPrevious,
	}
	if r.Meta != want {
		return fmt.Errorf("it holds %+v, the log %+v", r.Meta, want)
	}
	raw := c.New
	if c.Op == materializer.RowDeleted {
		raw = c.Old
	}
	row, err := t.DecodeRow(raw)
	if err != nil {
		return err
	}
	for i, column := range t.Schema().Columns {
		place := r.schemaPlace(column.ID)
		if place < 0 || c.Op == materializer.RowDeleted && !slices.Contains(r.schema.Key, place) {
			continue
		}
		got := r.Values[place]
		if !r.schema.Columns[place].Type.Equal(column.Type) && !got.IsNull() {
			if got, err = expr.CastValue(got, column.Type); err != nil {
				return err
			}
		}
		if want := row.Column(i); expr.Compare(got, want) != 0 {
			return fmt.Errorf("column %q is %s, in the log %s", column.Name, got, want)
		}
	}
	return nil
}

func (r *flushedRow) schemaPlace(id uint32) int {
	for i := range r.schema.Columns {
		if r.schema.Columns[i].ID == id {
			return i
		}
	}
	return -1
}

// open opens a data file, after comparing its checksum the first time.
func (h *History) open(f *manifest.File) (objstore.Reader, error) {
	o, err := h.store.Open(f.Path)
	if err != nil {
		return nil, err
	}
	if h.checked[f.Path] {
		return o, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(o, 0, o.Size())); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Path, errors.Join(err, o.Close()))
	}
	if !bytes.Equal(sum.Sum(nil), f.Checksum) {
		return nil, errors.Join(fmt.Errorf("%s is damaged: its checksum is not the manifest's", f.Path), o.Close())
	}
	h.checked[f.Path] = true
	return o, nil
}
