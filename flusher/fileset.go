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

// fileSet writes the files of one flush, one for each shard. add collects rows in batches; encoders, each with its share of the
// shards, turn them into Parquet on other cores. Its memory does not depend on the number of rows: see newFileSet.
type fileSet struct {
	store    objstore.Store
	plan     *plan
	files    map[string]*file
	encoders []*encoder
	free     chan *batch
	read     int64 // bytes of the log that rows have come from
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

// batch is rows of one file, in the memory of the chunks of the log that they were read from.
type batch struct {
	file  *file
	start int64 // fileSet.read at the first row
	metas []datafile.Meta
	rows  []materializer.Row
}

// batchRows is the most rows of a batch. There is one for each shard at a time, besides a few under way.
const batchRows = 256

// batchReach is over how many bytes of the log a batch collects rows: those of a rare shard must not keep more in memory.
const batchReach = 16 << 20

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

// add puts one row into the file of a shard. It keeps row.
func (w *fileSet) add(key string, m datafile.Meta, row materializer.Row) error {
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
	b.rows = append(b.rows, row)
	f.note(m.Partition, m.Offset)
	if len(b.rows) >= batchRows {
		return w.send(f)
	}
	return nil
}

// nextChunk tells that the rows to come are of another chunk of the log, of so many bytes.
func (w *fileSet) nextChunk(bytes int64) error {
	w.read += bytes
	for _, f := range w.files {
		if f.batch != nil && w.read-f.batch.start >= batchReach {
			if err := w.send(f); err != nil {
				return err
			}
		}
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
		b.file, b.start, b.metas, b.rows = f, w.read, b.metas[:0], b.rows[:0]
		return b
	default:
		return &batch{file: f, start: w.read}
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
		if err := f.writer.Close(); err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	return e.commit()
}

// commitsAtOnce is how many files an encoder syncs at the same time: the disk takes them together.
const commitsAtOnce = 8

func (e *encoder) commit() error {
	var group errgroup.Group
	group.SetLimit(commitsAtOnce)
	for _, f := range e.files {
		if e.set.ctx.Err() != nil {
			break
		}
		f.created = true
		group.Go(f.object.Commit)
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(e.set.ctx)
}

func (e *encoder) write(b *batch) error {
	f := b.file
	e.columns.Append(b.metas, b.rows)
	defer e.columns.Reset()
	if f.writer == nil {
		if err := e.create(f); err != nil {
			return err
		}
	}
	if err := f.writer.Write(e.columns); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	clear(b.rows) // lets go of the log
	select {
	case e.set.free <- b:
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
