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
	"kalamlog.dev/kalam/query/expr"
)

// fileSet writes the files of one flush, one for each shard. add collects rows in batches; encoders, each with its share of the
// shards, turn them into Parquet on other cores. Its memory does not depend on the number of rows: see newFileSet.
type fileSet struct {
	store    objstore.Store
	plan     *plan
	files    map[string]*file
	encoders []*encoder
	free     chan *datafile.Batch
	rows     int // of a batch
	group    *errgroup.Group
	ctx      context.Context // of the encoders; kept for add, which must not wait for one that has failed
}

// file is one shard's file. The router owns batch and the offsets, the encoder the rest.
type file struct {
	shard     string
	encoder   *encoder
	batch     *datafile.Batch
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

// Of a job's memory an eighth goes to batches, an eighth to pages, the rest to encoded row groups.
const memoryShares = 8

// batchBytes is how many bytes of text end a batch early.
const batchBytes = 512 << 10

func newFileSet(ctx context.Context, f *Flusher, p *plan) *fileSet {
	columns := len(p.table.Schema().Columns) + 5
	cells := int64(p.strategy.ShardCount() * columns)
	share := f.options.Memory / memoryShares
	w := &fileSet{
		store: f.options.Store, plan: p, files: map[string]*file{},
		rows: int(min(max(share/(cells*24), 16), 1024)),
	}
	options := datafile.WriterOptions{PageBytes: int(min(max(share/cells, 4<<10), 128<<10))}
	n := min(runtime.GOMAXPROCS(0), 4, p.strategy.ShardCount())
	w.free = make(chan *datafile.Batch, 4*n)
	w.group, w.ctx = errgroup.WithContext(ctx)
	for range n {
		e := &encoder{set: w, in: make(chan *batchOf, 2), options: options, memory: (memoryShares - 2) * share / int64(n)}
		w.encoders = append(w.encoders, e)
		w.group.Go(e.run)
	}
	return w
}

// add puts one row into the file of a shard.
func (w *fileSet) add(key string, m datafile.Meta, row expr.Row) error {
	f := w.files[key]
	if f == nil {
		var err error
		if f, err = w.open(key); err != nil {
			return err
		}
	}
	if f.batch == nil {
		f.batch = w.batch()
	}
	f.batch.Append(m, row)
	f.note(m.Partition, m.Offset)
	if f.batch.Rows() >= w.rows || f.batch.Bytes() >= batchBytes {
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

func (w *fileSet) batch() *datafile.Batch {
	select {
	case b := <-w.free:
		return b
	default:
		return w.plan.layout.NewBatch(w.rows)
	}
}

// send hands the file's batch to its encoder.
func (w *fileSet) send(f *file) error {
	select {
	case f.encoder.in <- &batchOf{file: f, batch: f.batch}:
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
		e.failed = err
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

// batchOf is a batch on its way to an encoder.
type batchOf struct {
	file  *file
	batch *datafile.Batch
}

// encoder writes the files of its shards.
type encoder struct {
	set     *fileSet
	in      chan *batchOf
	options datafile.WriterOptions
	memory  int64
	files   []*file
	failed  error // set before in is closed: do not complete the files
}

func (e *encoder) run() error {
	for b := range e.in {
		if err := e.write(b); err != nil {
			return err
		}
	}
	if e.failed != nil {
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

func (e *encoder) write(b *batchOf) error {
	f := b.file
	if f.writer == nil {
		if err := e.create(f); err != nil {
			return err
		}
	}
	if err := f.writer.Write(b.batch); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	b.batch.Reset()
	select {
	case e.set.free <- b.batch:
	default:
	}
	return e.bound()
}

func (e *encoder) create(f *file) error {
	object, err := e.set.store.Create(f.path)
	if err != nil {
		return err
	}
	f.object, f.sum = object, sha256.New()
	f.writer = datafile.NewWriter(e.set.plan.layout, f, e.options)
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
