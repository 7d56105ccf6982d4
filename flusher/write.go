package flusher

import (
	"context"
	"errors"
	"time"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
)

// attemptTimeout bounds one attempt of write.
const attemptTimeout = 30 * time.Second

// attempts is how often write tries before it leaves the outcome open.
const attempts = 10

// write applies b, which has an idempotency key. While the outcome is unknown it asks again: the same key gives the answer of the
// first time. A job that is killed meanwhile does not stop it, a Close of the Flusher does. sure reports that after an error b is
// certainly not applied and never will be.
func (f *Flusher) write(ctx context.Context, b *materializer.Batch) (sure bool, err error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(f.life, cancel)()
	doubt := false // whether an attempt may have been applied
	for range attempts {
		err = f.attempt(ctx, b)
		if err == nil || refused(err) || !doubt && problem.Is(err, problem.DiskFull) {
			return err != nil, err
		}
		doubt = doubt || !problem.Is(err, problem.DiskFull)
		f.options.Logger.Warn("commit of a flush has no answer yet", "error", err)
		if ctx.Err() != nil {
			break
		}
	}
	return false, err
}

func (f *Flusher) attempt(ctx context.Context, b *materializer.Batch) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	_, err := f.options.Writer.Write(ctx, b)
	return err
}

// refused reports whether err is the answer of apply, which is final.
func refused(err error) bool {
	var p *problem.Error
	if !errors.As(err, &p) {
		return false
	}
	switch p.Code {
	case problem.Timeout, problem.Cancelled, problem.Overloaded, problem.DiskFull, problem.ShuttingDown, problem.Internal:
		return false
	default:
		return true
	}
}
