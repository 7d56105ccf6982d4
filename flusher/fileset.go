package flusher

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"kalamlog.dev/kalam/flusher/datafile"
	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/flusher/objstore"
	"kalamlog.dev/kalam/flusher/shard"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// fileSet writes the files of one flush, one for each shard. add collects encoded rows in batches; encoders, each with its share of the
// shards, turn them into Parquet on other cores. Its memory does not depend on the number of rows: see newFileSet.
type fileSet struct {
	store    objstore.Store
	plan     *plan
	files    map[string]*file
	encoders []*encoder
	free     chan *batch
	group    *errgroup.Group
	ctx      context.Context // of the encoders; kept for add, which must not wait for one that has failed
}

// file is one shard's file. The router owns batch and the offsets, the encoder the rest.
type file struct {
	shard     string
	encoder   *encoder
	batch     *batch
	offsets   map[log.PartitionID]*manifest.Range
	partition log.PartitionID
	current   *manifest.Range // offsets[partition]

	object  objstore.Object
	writer  *datafile.Writer
	sum     hash.Hash
	bytes   int64
	path    string
	created bool // committed to the store
}

// batch is encoded rows of one file. They are copies: the few rows of a rare shard must not keep many chunks of the log in memory.
type batch struct {
	file  *file
	metas []datafile.Meta
	ends  []int // in raw, of each row
	raw   []byte
}

// A batch ends with batchRows rows or batchBytes bytes. There is one for each shard at a time, besides a few under way.
const (
	batchRows  = 256
	batchBytes = 128 << 10
)

// Of a job's memory a quarter goes to the pages that are being filled, which take at least minPage each, the rest to encoded row groups.
const (
	minPage = 4 << 10
	maxPage = 128 << 10
)

func newFileSet(ctx context.Context, f *Flusher, p *plan) *fileSet {
	pages := int64(p.strategy.ShardCount() * (len(p.table.Schema().Columns) + 5))
	options := datafile.WriterOptions{PageBytes: int(min(max(f.options.Memory/4/pages, minPage), maxPage))}
	w := &fileSet{store: f.options.Store, plan: p, files: map[string]*file{}}
	n := min(runtime.GOMAXPROCS(0), 4, p.strategy.ShardCount())
	w.free = make(chan *batch, 4*n)
	w.group, w.ctx = errgroup.WithContext(ctx)
	for range n {
		e := &encoder{set: w, in: make(chan *batch, 2), options: options, memory: f.options.Memory * 3 / 4 / int64(n), columns: p.layout.NewBatch()}
		w.encoders = append(w.encoders, e)
		w.group.Go(e.run)
	}
	return w
}

// add puts one row into the file of a shard. It keeps nothing of raw.
func (w *fileSet) add(key string, m datafile.Meta, raw []byte) error {
	f := w.files[key]
	if f == nil {
		var err error
		if f, err = w.open(key); err != nil {
			return err
		}
	}
	b := f.batch
	if b == nil {
		b = w.newBatch(f)
		f.batch = b
	}
	b.metas = append(b.metas, m)
	b.raw = append(b.raw, raw...)
	b.ends = append(b.ends, len(b.raw))
	f.note(m.Partition, m.Offset)
	if len(b.metas) >= batchRows || len(b.raw) >= batchBytes {
		return w.send(f)
	}
	return nil
}

// note keeps the range of offsets. Partitions come one after the other.
func (f *file) note(p log.PartitionID, o log.Offset) {
	if f.current == nil || f.partition != p {
		f.current, f.partition = &manifest.Range{First: o}, p
		f.offsets[p] = f.current
	}
	f.current.Last = o
}

// ranges returns the ranges of offsets that the file holds.
func (f *file) ranges() map[log.PartitionID]manifest.Range {
	ranges := make(map[log.PartitionID]manifest.Range, len(f.offsets))
	for p, r := range f.offsets {
		ranges[p] = *r
	}
	return ranges
}

// open starts a shard.
func (w *fileSet) open(key string) (*file, error) {
	if err := shard.CheckKey(key); err != nil {
		return nil, err
	}
	if n := w.plan.strategy.ShardCount(); len(w.files) >= n {
		return nil, fmt.Errorf("sharding strategy %q named more than its %d shards: %q", w.plan.sharding, n, key)
	}
	key = strings.Clone(key)
	f := &file{shard: key, encoder: w.encoders[len(w.files)%len(w.encoders)], offsets: map[log.PartitionID]*manifest.Range{}}
	f.path = w.plan.folder + "/" + key + ".parquet"
	w.files[key] = f
	return f, nil
}

func (w *fileSet) newBatch(f *file) *batch {
	select {
	case b := <-w.free:
		b.file, b.metas, b.ends, b.raw = f, b.metas[:0], b.ends[:0], b.raw[:0]
		return b
	default:
		return &batch{file: f}
	}
}

// send hands the file's batch to its encoder.
func (w *fileSet) send(f *file) error {
	select {
	case f.encoder.in <- f.batch:
		f.batch = nil
		return nil
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
}

// finish completes the files and returns them in the store, durable. If err, or an error of its own, says that the flush has
// failed, it removes them all and returns that error.
func (w *fileSet) finish(err error) ([]manifest.File, error) {
	for _, f := range w.files {
		if err == nil && f.batch != nil {
			err = w.send(f)
		}
	}
	for _, e := range w.encoders {
		e.giveUp = err != nil
		close(e.in)
	}
	if e := w.group.Wait(); e != nil && err == nil {
		err = e
	}
	if err != nil {
		return nil, errors.Join(err, w.discard())
	}
	files := make([]manifest.File, 0, len(w.files))
	for _, f := range w.files {
		files = append(files, manifest.File{
			Path: f.path, Shard: f.shard, Strategy: w.plan.sharding, Flush: w.plan.number, Schema: w.plan.table.Schema().Version,
			Rows: f.writer.Rows(), Bytes: f.bytes, Checksum: f.sum.Sum(nil), Offsets: f.ranges(),
		})
	}
	return files, nil
}

func (w *fileSet) discard() error {
	var errs []error
	for _, f := range w.files {
		if f.object != nil {
			errs = append(errs, f.object.Abort())
		}
		if f.created {
			errs = append(errs, w.store.Delete(f.path))
		}
	}
	return errors.Join(errs...)
}

// encoder writes the files of its shards.
type encoder struct {
	set     *fileSet
	in      chan *batch
	options datafile.WriterOptions
	memory  int64
	files   []*file
	rows    []materializer.Row
	columns *datafile.Batch
	giveUp  bool // set before in is closed: do not complete the files
}

func (e *encoder) run() error {
	for b := range e.in {
		if err := e.write(b); err != nil {
			return err
		}
	}
	if e.giveUp {
		return nil
	}
	for _, f := range e.files {
		if e.set.ctx.Err() != nil {
			return context.Cause(e.set.ctx)
		}
		if err := f.writer.Close(); err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
		f.created = true
		if err := f.object.Commit(); err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder) write(b *batch) error {
	f := b.file
	if err := e.decode(b); err != nil {
		return err
	}
	datafile.Append(e.columns, b.metas, e.rows)
	defer e.columns.Reset()
	if f.writer == nil {
		if err := e.create(f); err != nil {
			return err
		}
	}
	if err := f.writer.Write(e.columns); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	select {
	case e.set.free <- b:
	default:
	}
	return e.bound()
}

func (e *encoder) decode(b *batch) error {
	e.rows = e.rows[:0]
	start := 0
	for i, end := range b.ends {
		row, err := e.set.plan.table.DecodeRow(b.raw[start:end:end])
		if err != nil {
			return fmt.Errorf("decode change at offset %d of partition %d: %w", b.metas[i].Offset, b.metas[i].Partition, err)
		}
		e.rows = append(e.rows, row)
		start = end
	}
	return nil
}

func (e *encoder) create(f *file) error {
	object, err := e.set.store.Create(f.path)
	if err != nil {
		return err
	}
	f.object, f.sum = object, sha256.New()
	f.writer = datafile.NewWriter(e.set.plan.layout, f, e.columns, e.options)
	e.files = append(e.files, f)
	return nil
}

// Write takes the bytes of the file on their way to the store.
func (f *file) Write(p []byte) (int, error) {
	n, err := f.object.Write(p)
	f.sum.Write(p[:n])
	f.bytes += int64(n)
	return n, err
}

// bound ends the largest row groups while the encoder's files hold more than its share of memory.
func (e *encoder) bound() error {
	for {
		var largest *file
		sum := int64(0)
		for _, f := range e.files {
			sum += f.writer.Buffered()
			if largest == nil || f.writer.Buffered() > largest.writer.Buffered() {
				largest = f
			}
		}
		if sum <= e.memory || largest == nil || largest.writer.Buffered() == 0 {
			return nil
		}
		if err := largest.writer.EndRowGroup(); err != nil {
			return fmt.Errorf("write %s: %w", largest.path, err)
		}
	}
}
