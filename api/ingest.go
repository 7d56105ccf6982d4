package api

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// A chunk is what one batch carries of a body: as many rows as fit both. The cut depends on the body's bytes alone,
// never on timing, so that a repeated request is cut the same way.
const (
	chunkRows  = 1000
	chunkBytes = 1 << 20 // of JSON; a larger row is a chunk of its own
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

	seen    *xxhash.Digest // of everything before and in the current chunk
	chunk   int            // number of the next chunk
	pending chan written   // of the chunk being committed, nil if none
	kept    kept
}

// kept is what has been stored so far.
type kept struct {
	rows     int64
	position log.Position
	offsets  map[log.PartitionID]wire.OffsetRange
	replayed bool
	unknown  bool // whether the chunk after these rows was stored too
}

// written is what became of a chunk.
type written struct {
	batch   *materializer.Batch
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
		var batch *materializer.Batch
		batch, row, err = in.cut(row)
		if batch == nil {
			return err
		}
		if failed := in.settle(); failed != nil {
			return failed
		}
		in.propose(ctx, batch, err != nil)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// cut drafts rows into a batch until the chunk is full or the body ends (io.EOF); row is the first, and it returns
// the first of the next chunk. A body that fails in the middle of a chunk gives no batch.
func (in *ingest) cut(row []byte) (*materializer.Batch, []byte, error) {
	batch := &materializer.Batch{Caller: in.caller}
	size := 0
	var err error
	for err == nil && len(batch.Mutations) < chunkRows && (size == 0 || size+len(row) <= chunkBytes) {
		m, failed := in.drafter.draft(row)
		if failed != nil {
			return nil, nil, inRow(in.rows.rows, failed)
		}
		if len(batch.Mutations) == 1 && in.drafter.conditional() {
			return nil, nil, problem.New(problem.BadRequest, "If-Match and If-None-Match are for a body of one row")
		}
		batch.Mutations = append(batch.Mutations, m)
		size += len(row)
		in.fingerprint(row)
		row, err = in.rows.next()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	if in.key != "" {
		batch.IdempotencyKey = in.key + "/" + strconv.Itoa(in.chunk)
		batch.Fingerprint = in.sum(err != nil)
	}
	in.chunk++
	return batch, row, err
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

// propose starts to write batch; settle waits for it. The last chunk of a body is written at once.
func (in *ingest) propose(ctx context.Context, batch *materializer.Batch, last bool) {
	in.pending = make(chan written, 1)
	write := func() {
		receipt, err := in.write(ctx, batch)
		in.pending <- written{batch, receipt, err}
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
		return in.drafter.translate(w.err)
	}
	in.kept.add(w)
	return nil
}

func (k *kept) add(w written) {
	k.position = k.position.Max(w.receipt.Position)
	k.replayed = w.receipt.Replayed
	for i, a := range w.receipt.Applied {
		if !a.Done || i >= len(w.batch.Mutations) {
			continue
		}
		k.rows++
		k.note(w.batch.Mutations[i].Partition.ID, uint64(a.Offset))
	}
}

func (k *kept) note(p log.PartitionID, offset uint64) {
	if k.offsets == nil {
		k.offsets = make(map[log.PartitionID]wire.OffsetRange)
	}
	r, ok := k.offsets[p]
	if !ok {
		r = wire.OffsetRange{First: offset, Last: offset}
	}
	r.First, r.Last = min(r.First, offset), max(r.Last, offset)
	k.offsets[p] = r
}

// reply says what is kept as the client sees it.
func (k *kept) reply() wire.WriteReply {
	offsets := make(map[string]wire.OffsetRange, len(k.offsets))
	for p, r := range k.offsets {
		offsets[strconv.Itoa(int(p))] = r
	}
	w := wire.WriteReply{RowCount: k.rows, Offsets: offsets}
	if !k.position.IsZero() {
		w.Position = k.position.String()
	}
	return w
}
