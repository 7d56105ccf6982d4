package materializer

import (
	"context"
	"fmt"
	"time"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
)

// MaxIdempotencyKey is the longest idempotency key in bytes, with the scope that its door puts before it.
const MaxIdempotencyKey = 512

// Proposer is what the Writer needs of the log.
type Proposer interface {
	Propose(ctx context.Context, batch []byte) (log.Receipt, error)
}

// Writer proposes batches and decodes what apply made of them. Safe for concurrent use.
type Writer struct {
	proposer Proposer
	memory   Memory
}

// NewWriter returns a Writer over p that remembers idempotency keys as by default.
func NewWriter(p Proposer) *Writer { return &Writer{proposer: p} }

// Remembering returns a Writer like w whose batches hold the memory of idempotency keys to m.
func (w *Writer) Remembering(m Memory) *Writer { return &Writer{proposer: w.proposer, memory: m} }

// Memory returns the bounds that the Writer's batches carry.
func (w *Writer) Memory() Memory { return w.memory.orDefault() }

// WriteReceipt says what was applied and from where on readers see it.
type WriteReceipt struct {
	Position log.Position
	Outcome
}

// Write proposes b. A refused batch is a *problem.Error (DuplicateKey, KeyNotFound, VersionConflict, NotNull, IdempotencyMismatch, an expression's error)
// and nothing of it was applied; errors.As finds its *Refusal.
//
// When the outcome of a proposal is unknown, as after a change of leader, a batch with an idempotency key is proposed again until ctx ends: if the first
// one was applied after all, the next is answered from the memory. A *problem.Error Timeout says that the outcome is still unknown; with an idempotency
// key the write may be repeated.
func (w *Writer) Write(ctx context.Context, b *Batch) (WriteReceipt, error) {
	if len(b.IdempotencyKey) > MaxIdempotencyKey {
		return WriteReceipt{}, problem.New(problem.BadRequest, "the idempotency key is longer than %d bytes", MaxIdempotencyKey)
	}
	bounded := *b
	bounded.Memory = w.memory
	receipt, err := w.propose(ctx, EncodeBatch(&bounded), b.IdempotencyKey != "")
	if err != nil {
		return WriteReceipt{}, err
	}
	r, err := decodeResult(receipt.Result)
	if err != nil {
		if problem.As(err) != nil {
			return WriteReceipt{}, err
		}
		return WriteReceipt{}, fmt.Errorf("decode result of a write: %w", err)
	}
	out := WriteReceipt{Position: receipt.Position, Outcome: r.Outcome}
	if r.Replayed {
		out.Position = log.PositionOf(log.Part{Group: r.group, Index: r.Index})
	}
	return out, nil
}

// How long a write waits before it is proposed again: twice as long each time.
const (
	firstPause   = 20 * time.Millisecond
	longestPause = time.Second
)

// propose proposes the batch, and again while the outcome is unknown if that is safe. Once one outcome is unknown, no failure of a later proposal says that
// nothing was written: the error stays Timeout.
func (w *Writer) propose(ctx context.Context, batch []byte, keyed bool) (log.Receipt, error) {
	receipt, err := w.proposer.Propose(ctx, batch)
	if !keyed || !problem.Is(err, problem.Timeout) {
		return receipt, err
	}
	unknown := err
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return log.Receipt{}, unknown
		case <-timer.C:
		}
		if receipt, err = w.proposer.Propose(ctx, batch); err == nil {
			return receipt, nil
		}
		if !again(err) {
			return log.Receipt{}, unknown
		}
	}
}

// again reports whether a further proposal may succeed where this one failed.
func again(err error) bool {
	return problem.Is(err, problem.Timeout) || problem.Is(err, problem.Overloaded) || problem.Is(err, problem.DiskFull)
}
