package flusher

import (
	"context"
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"kalamlog.dev/kalam/materializer"
)

var errInjected = errors.New("injected")

// fault fails the n-th step of a Flusher, and every step after it if the "process" has crashed. Steps are the operations
// on files and the writes to the log.
type fault struct {
	mu      sync.Mutex
	left    int  // steps before the fault, negative: none
	crash   bool // all steps after it fail too
	hit     bool
	stopped bool
}

// step returns errInjected if this step is to fail.
func (f *fault) step() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return errInjected
	}
	if f.left < 0 {
		return nil
	}
	f.left--
	if f.left >= 0 {
		return nil
	}
	f.hit, f.stopped = true, f.crash
	return errInjected
}

// heal ends all faults and reports whether there was one.
func (f *fault) heal() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.stopped = -1, false
	return f.hit
}

// MaybeError makes every operation on files a step.
func (f *fault) MaybeError(errorfs.Op) error { return f.step() }

func (f *fault) String() string { return "fault" }

// faultyWriter is a Writer whose writes are two steps each: one before the batch is applied, one after, whose failure leaves the writer
// without an answer.
type faultyWriter struct {
	Writer
	fault *fault
}

func (w faultyWriter) Write(ctx context.Context, b *materializer.Batch) (materializer.WriteReceipt, error) {
	if err := w.fault.step(); err != nil {
		return materializer.WriteReceipt{}, err
	}
	r, err := w.Writer.Write(ctx, b)
	if err := w.fault.step(); err != nil {
		return materializer.WriteReceipt{}, err
	}
	return r, err
}

// holdingWriter keeps back batches that name data files and never answers for them, as a lost leader does.
type holdingWriter struct {
	Writer
	held *[]*materializer.Batch
	once bool // only those of the first job
}

func (w *holdingWriter) Write(ctx context.Context, b *materializer.Batch) (materializer.WriteReceipt, error) {
	if !namesFiles(b) || w.once && len(*w.held) > 0 && (*w.held)[0].IdempotencyKey != b.IdempotencyKey {
		return w.Writer.Write(ctx, b)
	}
	*w.held = append(*w.held, b)
	return materializer.WriteReceipt{}, errInjected
}

func namesFiles(b *materializer.Batch) bool {
	for _, m := range b.Mutations {
		if m.Partition.Table == materializer.SystemDataFiles {
			return true
		}
	}
	return false
}
