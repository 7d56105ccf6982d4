package materializer

import (
	"context"
	"fmt"

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
type Writer struct{ proposer Proposer }

// NewWriter returns a Writer over p.
func NewWriter(p Proposer) *Writer { return &Writer{proposer: p} }

// WriteReceipt says what was applied and from where on readers see it.
type WriteReceipt struct {
	Position log.Position
	Outcome
}

// Write proposes b. A refused batch is a *problem.Error (DuplicateKey, KeyNotFound, VersionConflict, NotNull, IdempotencyMismatch, an expression's error)
// and nothing of it was applied; errors.As finds its *Refusal. After a *problem.Error Timeout the outcome is unknown: with an idempotency key the write may be repeated.
func (w *Writer) Write(ctx context.Context, b *Batch) (WriteReceipt, error) {
	if len(b.IdempotencyKey) > MaxIdempotencyKey {
		return WriteReceipt{}, problem.New(problem.BadRequest, "the idempotency key is longer than %d bytes", MaxIdempotencyKey)
	}
	receipt, err := w.proposer.Propose(ctx, EncodeBatch(b))
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
