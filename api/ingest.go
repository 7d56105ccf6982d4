package api

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
)

// A chunk is what one batch carries of a body: as many rows as fit both. The cut depends on the body's bytes alone,
// never on timing, so that a repeated request is cut the same way.
const (
	chunkRows  = 1000
	chunkBytes = 1 << 20 // of JSON; a larger row is a chunk of its own
)

// What a body that must be atomic may hold: it is one chunk, and one entry of the log takes no more.
const (
	atomicRows  = 100_000
	atomicBytes = 15 << 20 // of JSON, and of rows as they are stored
)

// ingest writes the rows of one body, chunk by chunk, in order. While a chunk is being committed the next one is
// decoded; it is not proposed before the one before it is applied, so what is kept of a body that fails is always its
// first rows. Each chunk is applied whole or not at all.
type ingest struct {
	rows    *rowScanner
	drafter *rowDrafter
	write   func(ctx context.Context, b *materializer.Batch) (materializer.WriteReceipt, error)
	key     string // idempotency key of the body, scoped; chunk n has key/n
	caller  string
	atomic  bool // the body is one chunk or is refused

	seen    *xxhash.Digest // of everything before and in the current chunk
	cuts    int            // chunks so far
	pending chan written   // of the chunk being committed, nil if none
	kept    kept
}

// chunk is a part of a body on its way.
type chunk struct {
	batch       *materializer.Batch
	first       int64  // place of its first row in the body, from 1
	conditional []bool // by row: it has a precondition; nil if none has
	size        int
}

// written is what became of a chunk.
type written struct {
	chunk   *chunk
	receipt materializer.WriteReceipt
	err     error
}

// run writes the whole body. Whether it fails or not, what it stored is in kept, and nothing it started goes on.
func (in *ingest) run(ctx context.Context) error {
	err := in.chunks(ctx)
	return errors.Join(in.settle(), err)
}

func (in *ingest) chunks(ctx context.Context) error {
	in.seen = xxhash.New()
	row, err := in.rows.next()
	for err == nil {
		var c *chunk
		c, row, err = in.cut(row)
		if c == nil {
			return err
		}
		if failed := in.settle(); failed != nil {
			return failed
		}
		in.propose(ctx, c, err != nil)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// cut drafts rows into a chunk until it is full or the body ends (io.EOF); row is the first, and it returns the first
// of the next chunk. A body that fails in the middle of a chunk gives none.
func (in *ingest) cut(row []byte) (*chunk, []byte, error) {
	c := &chunk{batch: &materializer.Batch{Caller: in.caller}, first: in.rows.rows}
	var err error
	for err == nil && in.fits(c, row) {
		if failed := in.draft(c, row); failed != nil {
			return nil, nil, inRow(in.rows.rows, failed)
		}
		in.fingerprint(row)
		row, err = in.rows.next()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	if in.atomic && err == nil {
		return nil, nil, notAtomic()
	}
	if in.key != "" {
		c.batch.IdempotencyKey = in.key + "/" + strconv.Itoa(in.cuts)
		c.batch.Fingerprint = in.sum(err != nil)
	}
	in.cuts++
	return c, row, err
}

// fits reports whether c takes another row.
func (in *ingest) fits(c *chunk, row []byte) bool {
	rows, bytes := chunkRows, chunkBytes
	if in.atomic {
		rows, bytes = atomicRows, atomicBytes
	}
	return len(c.batch.Mutations) < rows && (c.size == 0 || c.size+len(row) <= bytes)
}

func notAtomic() *problem.Error {
	return problem.New(problem.NotAtomic, "the body is too large to be written all or nothing: at most %d rows and %d MiB are", atomicRows, atomicBytes>>20).
		WithHint("send less, or leave out atomic=true: the body is then written in several steps")
}

func (in *ingest) draft(c *chunk, row []byte) error {
	m, conditional, err := in.drafter.draft(row)
	if err != nil {
		return err
	}
	if len(c.batch.Mutations) == 1 && in.drafter.cond.given() {
		return problem.New(problem.BadRequest, "If-Match and If-None-Match are for a body of one row").
			WithHint("give each row its %s", versionMember)
	}
	if conditional && c.conditional == nil {
		c.conditional = make([]bool, len(c.batch.Mutations), len(c.batch.Mutations)+1)
	}
	if c.conditional != nil {
		c.conditional = append(c.conditional, conditional)
	}
	c.batch.Mutations = append(c.batch.Mutations, m)
	c.size += len(row)
	if in.atomic {
		c.size += max(0, len(m.Key)+len(m.Row)-len(row))
	}
	return nil
}

// fingerprint adds a row to what the idempotency key stands for.
func (in *ingest) fingerprint(row []byte) {
	if in.key == "" {
		return
	}
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(len(row)))
	_, _ = in.seen.Write(size[:])
	_, _ = in.seen.Write(row)
}

// sum is the fingerprint of the body so far: the same first chunk followed by something else is another request.
func (in *ingest) sum(last bool) uint64 {
	d := *in.seen
	_, _ = d.WriteString(in.drafter.request())
	if last {
		_, _ = d.Write([]byte{1})
	}
	return d.Sum64()
}

// propose starts to write c; settle waits for it. The last chunk of a body is written at once.
func (in *ingest) propose(ctx context.Context, c *chunk, last bool) {
	in.pending = make(chan written, 1)
	write := func() {
		receipt, err := in.write(ctx, c.batch)
		in.pending <- written{c, receipt, err}
	}
	if last {
		write()
		return
	}
	go write()
}

// settle waits for the chunk being committed and adds it to what is kept.
func (in *ingest) settle() error {
	if in.pending == nil {
		return nil
	}
	w := <-in.pending
	in.pending = nil
	if w.err != nil {
		in.kept.unknown = problem.Is(w.err, problem.Timeout) || problem.As(w.err) == nil
		return in.refusal(w)
	}
	in.kept.add(w)
	return nil
}

// refusal says of a chunk's refusal which row of the body it is about, and names a broken precondition as such: a key
// that is missing or exists is another error without one.
func (in *ingest) refusal(w written) error {
	p := problem.As(w.err)
	if p == nil {
		return w.err
	}
	if in.atomic && p.Code == problem.BodyTooLarge {
		return notAtomic().Because(p)
	}
	var r *materializer.Refusal
	if p.Conflict == nil || !errors.As(w.err, &r) {
		return w.err
	}
	q := *p
	conflict := *p.Conflict
	conflict.Row = w.chunk.first + int64(r.Mutation)
	q.Conflict = &conflict
	if r.Mutation < len(w.chunk.conditional) && w.chunk.conditional[r.Mutation] {
		q.Code, q.Hint = problem.VersionConflict, "read the row again and decide anew"
	}
	return &q
}
