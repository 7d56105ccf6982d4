package materializer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
)

// History reads all changes of a partition that have not expired, up to before until, in order: the flushed part from Parquet, the rest from segments.
type History interface {
	Changes(ctx context.Context, t *Table, p log.PartitionID, until log.Offset) iter.Seq2[Change, error]
}

// Difference is one thing that Verify found to differ.
type Difference struct {
	Table     string
	Partition log.PartitionID
	Key       []byte // encoded; nil if it is about more than one key
	Why       string
}

// maxDifferences bounds what Verify reports of one partition.
const maxDifferences = 100

// Verify folds h again from the beginning and compares the result with the view, table by table. It reports each difference (up to 100 a partition) and
// how many rows it checked, and tells progress, unless that is nil, a line per table. err is for what kept it from comparing.
//
// It needs no memory for rows, only a bit per change: DESIGN.md says how.
func Verify(ctx context.Context, v *View, h History, progress io.Writer) (rows int64, diffs []Difference, err error) {
	for _, t := range v.Catalog().Tables() {
		before := rows
		for p := range t.Partitions {
			w := verifier{ctx: ctx, v: v, h: h, t: t, p: log.PartitionID(p)}
			if err := w.run(); err != nil {
				return rows, diffs, fmt.Errorf("verify %s, partition %d: %w", t.QualifiedName(), p, err)
			}
			rows += w.rows
			diffs = append(diffs, w.diffs...)
		}
		if progress != nil {
			if _, err := fmt.Fprintf(progress, "%s: %d rows\n", t.QualifiedName(), rows-before); err != nil {
				return rows, diffs, fmt.Errorf("verify: %w", err)
			}
		}
	}
	return rows, diffs, nil
}

// verifier compares one partition.
type verifier struct {
	ctx   context.Context
	v     *View
	h     History
	t     *Table
	p     log.PartitionID
	rows  int64
	diffs []Difference

	expired log.Offset // changes before it are nowhere: rows that they put are not compared

	live bitset // the versions of the view's rows
	want summer // from the history
	have summer // from the view
}

const buckets = 4096

func bucketOf(key []byte) int { return int(xxhash.Sum64(key) % buckets) }

// sums has a pair of sums for each bucket of keys: of rows with the version and timestamp they have in the state, and of rows with their versions alone.
type sums [buckets][2]uint64

// summer adds up hashes of rows; it keeps the buffer that they are encoded in.
type summer struct {
	sums sums
	buf  []byte
}

func (s *summer) hash(key []byte, version log.Offset, timestamp int64, row []byte) uint64 {
	s.buf = appendState(appendBytes(s.buf[:0], key), version, timestamp, row)
	return xxhash.Sum64(s.buf)
}

func (s *summer) addState(key []byte, version log.Offset, timestamp int64, row []byte) {
	s.sums[bucketOf(key)][0] += s.hash(key, version, timestamp, row)
}

// addChain adds sign (1 or -1) times the hash of a row.
func (s *summer) addChain(key []byte, version log.Offset, row []byte, sign int64) {
	s.sums[bucketOf(key)][1] += uint64(sign) * s.hash(key, version, 0, row)
}

type bitset []uint64

func (b bitset) set(o log.Offset)      { b[o/64] |= 1 << (o % 64) }
func (b bitset) has(o log.Offset) bool { return o/64 < log.Offset(len(b)) && b[o/64]&(1<<(o%64)) != 0 }

func (w *verifier) differ(key []byte, format string, args ...any) {
	if len(w.diffs) < maxDifferences {
		w.diffs = append(w.diffs, Difference{Table: w.t.QualifiedName(), Partition: w.p, Key: key, Why: fmt.Sprintf(format, args...)})
	}
}

func (w *verifier) run() error {
	end, err := w.v.End(log.Partition{Table: w.t.ID, ID: w.p})
	if err != nil {
		return err
	}
	start, err := w.v.Start(log.Partition{Table: w.t.ID, ID: w.p})
	if err != nil {
		return err
	}
	w.expired = start.Expired
	if w.t.Kind != Stream {
		w.live = make(bitset, end/64+1)
		if err := w.sumState(end); err != nil {
			return err
		}
	}
	if err := w.sumHistory(end); err != nil {
		return err
	}
	if w.want.sums == w.have.sums {
		return nil
	}
	return w.explain(end)
}

func (w *verifier) sumState(end log.Offset) error {
	for row, err := range w.v.Scan(w.t, w.p, storage.Range{}) {
		if err != nil {
			return err
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
		w.rows++
		if row.Version >= end {
			w.differ(row.Key, "its version %d lies behind the end %d", row.Version, end)
			continue
		}
		if row.Version < w.expired {
			continue
		}
		raw, err := w.newest(row.Raw)
		if err != nil {
			return err
		}
		w.live.set(row.Version)
		w.have.addState(row.Key, row.Version, row.Timestamp, raw)
		w.have.addChain(row.Key, row.Version, raw, 1)
	}
	return nil
}

// newest returns a row as the table's newest schema has it: a data file may hold it in another version than the state does. What is in the newest
// version stays as it is, byte by byte.
func (w *verifier) newest(raw []byte) ([]byte, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	s := w.t.Schema()
	if version, err := rowVersion(raw); err != nil || version == s.Version {
		return raw, err
	}
	row, err := w.t.DecodeRow(raw)
	if err != nil {
		return nil, err
	}
	return EncodeRow(nil, s, row.Values())
}

// newestRows does so with both rows of a change.
func (w *verifier) newestRows(c *Change) (err error) {
	if c.Old, err = w.newest(c.Old); err != nil {
		return fmt.Errorf("old row of offset %d: %w", c.Offset, err)
	}
	if c.New, err = w.newest(c.New); err != nil {
		return fmt.Errorf("row of offset %d: %w", c.Offset, err)
	}
	return nil
}

// sumHistory sums up what should be there, and reports offsets that do not follow each other.
func (w *verifier) sumHistory(end log.Offset) error {
	next := w.expired
	for c, err := range w.h.Changes(w.ctx, w.t, w.p, end) {
		if err != nil {
			return err
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if c.Offset != next {
			w.differ(c.Key, "offset %d where %d is due", c.Offset, next)
		}
		next = c.Offset + 1
		if w.t.Kind == Stream {
			w.rows++
			continue
		}
		if err := w.newestRows(&c); err != nil {
			return err
		}
		w.sumChange(&c)
	}
	if next != end {
		w.differ(nil, "the history ends at offset %d, the state at %d", next, end)
	}
	return nil
}

// follows reports whether the change that c replaces is in the history.
func (w *verifier) follows(c *Change) bool { return c.HasPrevious && c.Previous >= w.expired }

func (w *verifier) sumChange(c *Change) {
	if w.follows(c) {
		w.want.addChain(c.Key, c.Previous, c.Old, -1)
	}
	if c.Op == RowDeleted {
		return
	}
	w.want.addChain(c.Key, c.Offset, c.New, 1)
	if w.live.has(c.Offset) {
		w.want.addState(c.Key, c.Offset, c.Timestamp, c.New)
	}
}

// maxExplained bounds the buckets whose keys explain looks at, and so its memory.
const maxExplained = 64

// explain folds the keys of buckets whose sums differ one by one.
func (w *verifier) explain(end log.Offset) error {
	wrong, more := w.wrongBuckets()
	if more > 0 {
		w.differ(nil, "%d more groups of keys differ", more)
	}
	want, err := w.foldBuckets(end, wrong)
	if err != nil {
		return err
	}
	for row, err := range w.v.Scan(w.t, w.p, storage.Range{}) {
		if err != nil {
			return err
		}
		if !wrong[bucketOf(row.Key)] || row.Version < w.expired {
			continue
		}
		if row.Raw, err = w.newest(row.Raw); err != nil {
			return err
		}
		last, ok := want[string(row.Key)]
		delete(want, string(row.Key))
		w.compare(row, last, ok)
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		w.differ([]byte(key), "the row is missing: offset %d put it", want[key].Offset)
	}
	if len(w.diffs) == 0 {
		w.differ(nil, "the changes do not follow from each other: an old row is not the one that was put before")
	}
	return nil
}

func (w *verifier) wrongBuckets() (wrong map[int]bool, more int) {
	wrong = map[int]bool{}
	for i := range w.want.sums {
		switch {
		case w.want.sums[i] == w.have.sums[i]:
		case len(wrong) < maxExplained:
			wrong[i] = true
		default:
			more++
		}
	}
	return wrong, more
}

// foldBuckets returns the last change of each key that should exist.
func (w *verifier) foldBuckets(end log.Offset, wrong map[int]bool) (map[string]Change, error) {
	last := map[string]Change{}
	for c, err := range w.h.Changes(w.ctx, w.t, w.p, end) {
		if err != nil {
			return nil, err
		}
		if !wrong[bucketOf(c.Key)] {
			continue
		}
		if err := w.newestRows(&c); err != nil {
			return nil, err
		}
		if was, ok := last[string(c.Key)]; ok != w.follows(&c) || ok && !bytes.Equal(was.New, c.Old) {
			w.differ(bytes.Clone(c.Key), "the old row of offset %d is not the one that was put before", c.Offset)
		}
		if c.Op == RowDeleted {
			delete(last, string(c.Key))
			continue
		}
		key := string(c.Key)
		c.Key, c.Old, c.New = nil, nil, bytes.Clone(c.New)
		last[key] = c
	}
	return last, nil
}

func (w *verifier) compare(row KeyedRow, last Change, ok bool) {
	switch {
	case !ok:
		w.differ(row.Key, "the row should not exist")
	case row.Version != last.Offset:
		w.differ(row.Key, "the row has version %d instead of %d", row.Version, last.Offset)
	case !bytes.Equal(row.Raw, last.New):
		w.differ(row.Key, "the row is not the one that offset %d put", last.Offset)
	case row.Timestamp != last.Timestamp:
		w.differ(row.Key, "the row has timestamp %d instead of %d", row.Timestamp, last.Timestamp)
	}
}
