package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"kalamlog.dev/kalam/internal/chaos/history"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/internal/process"
)

// writer is a client that does one operation at a time.
type writer struct {
	load *Load
	name string
	rnd  *rand.Rand
	node int // it talks to, an index of targets
	seq  int
	seen map[string]int64 // versions of registers that it knows of
}

func (l *Load) newWriter(name string) *writer {
	w := &writer{load: l, name: name, rnd: l.random(name), seen: map[string]int64{}}
	w.node = w.rnd.IntN(len(l.targets))
	return w
}

// retryFor is how long a write whose outcome is unknown is sent again with the same idempotency key.
const retryFor = 15 * time.Second

// run does about rate operations a second until ctx is done. What has begun is brought to its end.
func (w *writer) run(ctx context.Context, rate int) {
	tick := time.NewTicker(time.Second / time.Duration(max(1, rate)))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.step(context.WithoutCancel(ctx))
		}
	}
}

// step does one operation.
func (w *writer) step(ctx context.Context) {
	if w.rnd.IntN(20) == 0 {
		w.moveOn()
	}
	register := fmt.Sprintf("r%d", w.rnd.IntN(registers))
	switch draw := w.rnd.IntN(100); {
	case draw < 40:
		w.write(ctx, history.Insert, "")
	case draw < 50:
		w.write(ctx, history.Upsert, register)
	case draw < 65:
		w.write(ctx, history.CAS, register)
	case draw < 77:
		w.write(ctx, history.Add, fmt.Sprintf("c%d", w.rnd.IntN(counters)))
	case draw < 88:
		w.read(ctx, register, true)
	case draw < 95:
		w.read(ctx, register, false)
	default:
		w.count(ctx, int32(w.rnd.IntN(partitions)))
	}
}

func (w *writer) moveOn() { w.node = (w.node + 1) % len(w.load.targets) }

func (w *writer) target() *target { return w.load.targets[w.node] }

// begin records the start of an operation.
func (w *writer) begin(op *history.Op) *history.Op {
	w.seq++
	op.Client, op.ID, op.Node = w.name, w.seq, w.target().ID
	w.load.options.Recorder.Invoke(op)
	return op
}

// end records the outcome.
func (w *writer) end(op *history.Op, outcome history.Outcome, err error) *history.Op {
	op.Code, op.Error = errorOf(err)
	w.load.board.post(op.Position) // before the end is recorded: who begins later reads it
	w.load.options.Recorder.Return(op, outcome)
	return op
}

// write does a write. Three of four carry an idempotency key and are sent again, to another node, until the outcome is known.
func (w *writer) write(ctx context.Context, kind history.Kind, key string) *history.Op {
	op := &history.Op{Kind: kind, Key: key}
	idempotent := w.rnd.IntN(4) > 0
	op.Value = fmt.Sprintf("%s-%d", w.name, w.seq+1)
	request := w.request(op)
	if idempotent {
		request.header.Set("Idempotency-Key", w.load.options.Namespace+"-"+op.Value)
	}
	w.begin(op)
	unknown, deadline := false, time.Now().Add(retryFor)
	for {
		op.Attempts++
		op.Node = w.target().ID
		reply, err := w.send(ctx, request)
		switch verdict(err) {
		case history.OK:
			w.applied(op, reply)
			return w.end(op, history.OK, nil)
		case history.Fail:
			if refused(err) {
				delete(w.seen, op.Key)
				return w.end(op, history.Fail, err)
			}
			// net/http sends a request with a key again by itself when its connection breaks: what was refused may be the second try.
			unknown = unknown || idempotent
		case history.Info:
			unknown = true
		}
		w.moveOn()
		if !idempotent || time.Now().After(deadline) {
			if unknown {
				return w.end(op, history.Info, err)
			}
			return w.end(op, history.Fail, err)
		}
		op.Retried, _ = errorOf(err)
		pause(ctx, time.Duration(20+w.rnd.IntN(100))*time.Millisecond)
	}
}

// verdict says what an answer means for the attempt that it answers: ok, fail (it had no effect), or info.
func verdict(err error) history.Outcome {
	switch {
	case err == nil:
		return history.OK
	case refused(err), errors.Is(err, syscall.ECONNREFUSED): // never sent
		return history.Fail
	}
	return history.Info
}

// refused reports whether the server has judged the request itself and will not apply it. Every other answer leaves the
// outcome open: the server may be ending, or cut off from the others.
func refused(err error) bool {
	r, ok := errors.AsType[*process.RefusedError](err)
	if !ok {
		return false
	}
	return slices.Contains(judged, problem.Code(r.Reply.Code))
}

// judged are the codes of refusals.
var judged = []problem.Code{
	problem.VersionConflict, problem.DuplicateKey, problem.KeyNotFound, problem.IdempotencyMismatch, problem.NotNull, problem.BadRequest, problem.BadJSON,
	problem.SyntaxError, problem.UnknownTable, problem.UnknownNamespace, problem.UnknownColumn, problem.Forbidden, problem.InvalidValue,
	problem.TypeMismatch, problem.Unsupported,
}

// errorOf returns an error's code, of the server or of the kind of failure, and its text.
func errorOf(err error) (code, text string) {
	switch r, ok := errors.AsType[*process.RefusedError](err); {
	case err == nil:
		return "", ""
	case ok:
		return r.Reply.Code, r.Reply.Message
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused", err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer", err.Error()
	}
	return "connection broken", err.Error()
}
