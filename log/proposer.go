package log

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"
	"github.com/lni/dragonboat/v4/statemachine"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/problem"
)

// proposer bundles the batches of concurrent writers into Raft entries. A few senders each have one entry in flight; a lone writer
// finds one idle and is proposed at once, and what arrives while all are busy shares the next entry.
type proposer struct {
	host    raftHost
	group   GroupID
	clock   clock.Clock
	metrics *metrics
	failure *failure
	leader  *leadership
	barrier func(context.Context) (Position, error) // Log.Barrier
	limits  proposerLimits
	done    sync.WaitGroup

	mu struct {
		sync.Mutex
		waiting []*proposal
		bytes   int           // of waiting batches
		room    chan struct{} // closed when waiting batches were taken; nil if nobody waits for room
		closed  bool
		last    int64 // timestamp of the last entry
	}
	work sync.Cond // on mu: waiting is not empty, or closed
}

type proposerLimits struct {
	entry   int           // bytes of batches that share an entry
	batch   int           // bytes of one batch
	queue   int           // bytes of waiting batches
	timeout time.Duration // for one entry
	settle  time.Duration // for an entry proposed before an election, once what the new leader took over is applied
	senders int
}

// raftHost is the part of dragonboat that proposes.
type raftHost interface {
	Propose(session *client.Session, cmd []byte, timeout time.Duration) (*dragonboat.RequestState, error)
}

// proposal is one batch on its way.
type proposal struct {
	batch   []byte
	encoded chan struct{} // closed when batch is no longer needed; nil while the proposal waits
	answer  chan answer   // gets one
}

type answer struct {
	receipt Receipt
	err     error
}

// start starts the senders. The fields before mu are set.
func (p *proposer) start(session *client.Session) {
	p.work.L = &p.mu
	for range p.limits.senders {
		p.done.Go(func() { p.send(session) })
	}
}

// closeGrace is how long closing waits for entries in flight, which a group without a majority never answers.
const closeGrace = 3 * time.Second

// close refuses what waits and returns when nothing is in flight any more, or after closeGrace; then closing
// the host ends it.
func (p *proposer) close() {
	p.mu.Lock()
	p.mu.closed = true
	waiting := p.mu.waiting
	p.mu.waiting = nil
	p.wakeRoomLocked()
	p.work.Broadcast()
	p.mu.Unlock()
	for _, w := range waiting {
		w.answer <- answer{err: errClosing()}
	}
	idle := make(chan struct{})
	go func() {
		p.done.Wait()
		close(idle)
	}()
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-idle:
	case <-grace.C:
	}
}

func errClosing() error {
	return problem.New(problem.ShuttingDown, "the server is shutting down; nothing was written").WithHint("retry elsewhere or later")
}

// propose is Log.Propose.
func (p *proposer) propose(ctx context.Context, batch []byte) (Receipt, error) {
	if len(batch) > p.limits.batch {
		return Receipt{}, problem.New(problem.BodyTooLarge, "a write of %d bytes is over the limit of %d", len(batch), p.limits.batch).
			WithHint("send the rows in smaller requests")
	}
	w := &proposal{batch: batch, answer: make(chan answer, 1)}
	if err := p.enqueue(ctx, w); err != nil {
		return Receipt{}, err
	}
	select {
	case a := <-w.answer:
		return a.receipt, a.err
	case <-ctx.Done():
		return p.abandon(ctx, w)
	}
}

// enqueue waits for room.
func (p *proposer) enqueue(ctx context.Context, w *proposal) error {
	for {
		if err := ctx.Err(); err != nil {
			return errNotSent(ctx)
		}
		if err := p.failure.err(); err != nil {
			return errFailed(err)
		}
		p.mu.Lock()
		if p.mu.closed {
			p.mu.Unlock()
			return errClosing()
		}
		if p.mu.bytes == 0 || p.mu.bytes+len(w.batch) <= p.limits.queue {
			p.mu.waiting = append(p.mu.waiting, w)
			p.mu.bytes += len(w.batch)
			p.work.Signal()
			p.mu.Unlock()
			return nil
		}
		if p.mu.room == nil {
			p.mu.room = make(chan struct{})
		}
		room := p.mu.room
		p.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
		}
	}
}

func (p *proposer) wakeRoomLocked() {
	if p.mu.room != nil {
		close(p.mu.room)
		p.mu.room = nil
	}
}

// abandon ends the wait for w: a batch that still waits is taken back, the outcome of one in flight is unknown.
func (p *proposer) abandon(ctx context.Context, w *proposal) (Receipt, error) {
	p.mu.Lock()
	encoded := w.encoded
	if encoded == nil {
		for i, other := range p.mu.waiting {
			if other == w {
				p.mu.waiting = append(p.mu.waiting[:i], p.mu.waiting[i+1:]...)
				p.mu.bytes -= len(w.batch)
				p.wakeRoomLocked()
				break
			}
		}
	}
	p.mu.Unlock()
	select {
	case a := <-w.answer:
		return a.receipt, a.err // it came just now, or close refused it
	default:
	}
	if encoded == nil {
		return Receipt{}, errNotSent(ctx)
	}
	<-encoded // batch belongs to the caller again
	return Receipt{}, errUnknown(context.Cause(ctx))
}

func errNotSent(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, context.DeadlineExceeded) {
		return problem.New(problem.Overloaded, "the write waited too long for its turn; nothing was written").
			WithHint("retry with a longer timeout").Because(cause)
	}
	return problem.New(problem.Cancelled, "the caller went away before the write was sent; nothing was written").Because(cause)
}

func errUnknown(cause error) error {
	return problem.New(problem.Timeout, "the write was not confirmed in time; its outcome is unknown").
		WithHint("repeat it with the same idempotency key, or read back what it should have written").Because(cause)
}

func errFailed(cause error) error {
	if errors.Is(cause, ErrRemoved) {
		return problem.New(problem.ShuttingDown, "this node was removed from its cluster; nothing was written").WithHint("ask another node").Because(cause)
	}
	return problem.New(problem.Internal, "the node has stopped accepting writes after a fault of its storage").
		WithHint("see the server's log; the process must be restarted").Because(cause)
}

// send proposes bundle after bundle until the proposer closes.
func (p *proposer) send(session *client.Session) {
	var b bundle
	for p.take(&b) {
		p.encode(&b)
		receipts, err := p.deliver(session, &b)
		for i, w := range b.proposals {
			a := answer{err: err}
			if err == nil {
				a.receipt = receipts[i]
			}
			w.answer <- a
		}
	}
}

// bundle is the proposals that share an entry.
type bundle struct {
	proposals []*proposal
	batches   [][]byte
	entry     []byte
	timestamp int64
	size      int // of the batches
	encoded   chan struct{}
}

// take waits for proposals and moves as many to b as fit an entry, but at least one. It returns false when closed.
func (p *proposer) take(b *bundle) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.mu.waiting) == 0 {
		if p.mu.closed {
			return false
		}
		p.work.Wait()
	}
	b.encoded = make(chan struct{})
	b.proposals, b.batches = b.proposals[:0], b.batches[:0]
	size, n := 0, 0
	for _, w := range p.mu.waiting {
		if n > 0 && size+len(w.batch) > p.limits.entry {
			break
		}
		w.encoded = b.encoded
		b.proposals, b.batches = append(b.proposals, w), append(b.batches, w.batch)
		size += len(w.batch)
		n++
	}
	rest := copy(p.mu.waiting, p.mu.waiting[n:])
	clear(p.mu.waiting[rest:])
	p.mu.waiting = p.mu.waiting[:rest]
	p.mu.bytes -= size
	p.wakeRoomLocked()
	if rest > 0 {
		p.work.Signal()
	}
	p.mu.last = max(p.mu.last, clock.Micros(p.clock))
	b.timestamp, b.size = p.mu.last, size
	return true
}

func (p *proposer) encode(b *bundle) {
	b.entry = slices.Grow(b.entry[:0], b.size+entryHead+binary.MaxVarintLen64*len(b.batches))
	b.entry = appendEntry(b.entry, b.timestamp, b.batches)
	clear(b.batches)
	close(b.encoded)
}

// deliver proposes b and returns a receipt for each of its batches.
func (p *proposer) deliver(session *client.Session, b *bundle) ([]Receipt, error) {
	p.metrics.entries.Inc()
	p.metrics.batches.Observe(float64(len(b.proposals)))
	p.metrics.proposed.Add(float64(len(b.entry)))
	start := p.clock.Now()
	result, err := p.commit(session, b.entry)
	if err != nil {
		return nil, err
	}
	p.metrics.commit.Observe(p.clock.Now().Sub(start).Seconds())
	if err := p.failure.err(); err != nil {
		return nil, errUnknown(err)
	}
	if cap(b.entry) > 2*p.limits.entry {
		b.entry = nil
	}
	return receiptsOf(p.group, result, len(b.proposals))
}

func receiptsOf(group GroupID, result statemachine.Result, count int) ([]Receipt, error) {
	results, err := splitResults(result.Data, count)
	if err != nil {
		return nil, errUnknown(err)
	}
	position := PositionOf(Part{Group: group, Index: Index(result.Value)})
	receipts := make([]Receipt, count)
	for i := range receipts {
		receipts[i] = Receipt{Position: position, Result: results[i]}
	}
	return receipts, nil
}

// commit proposes entry. An entry that the group surely did not take, as while it has no leader, is proposed again until the
// timeout.
func (p *proposer) commit(session *client.Session, entry []byte) (statemachine.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), p.limits.timeout)
	defer cancel()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		result, again, err := p.commitOnce(session, entry)
		if !again {
			return result, err
		}
		pause.Reset(10 * time.Millisecond)
		select {
		case <-pause.C:
		case <-p.failure.done:
			return result, errFailed(p.failure.err())
		case <-ctx.Done():
			return result, problem.New(problem.Overloaded, "the group did not take the write; nothing was written").
				WithHint("retry; if it goes on, see whether a majority of the nodes is up").Because(err)
		}
	}
}

// commitOnce reports in again that entry was surely not taken and may be by a further attempt.
func (p *proposer) commitOnce(session *client.Session, entry []byte) (_ statemachine.Result, again bool, err error) {
	elected := p.leader.another() // before the entry is on its way
	rs, err := p.host.Propose(session, entry, p.limits.timeout)
	switch {
	case errors.Is(err, dragonboat.ErrClosed), errors.Is(err, dragonboat.ErrShardClosed), errors.Is(err, dragonboat.ErrShardNotFound):
		return statemachine.Result{}, false, errClosing()
	case err != nil:
		return statemachine.Result{}, dragonboat.IsTempError(err), err
	}
	r, err := p.await(rs, elected)
	if err != nil {
		return statemachine.Result{}, false, err
	}
	switch {
	case r.Completed():
		result := r.GetResult()
		rs.Release()
		return result, false, nil
	case r.Dropped():
		rs.Release()
		return statemachine.Result{}, true, dragonboat.ErrShardNotReady
	case r.Timeout():
		return statemachine.Result{}, false, errUnknown(dragonboat.ErrTimeout)
	default:
		return statemachine.Result{}, false, errUnknown(errors.New("the group ended the proposal"))
	}
}

// errDeposed is the cause of an unknown outcome: the entry was on its way to a leader that is one no more.
var errDeposed = errors.New("the leader changed")

// await returns what became of rs. An entry that was on its way to a leader which another has followed is among what the new one took over, or
// is soon forwarded to it, or is never answered: waiting for its timeout would hold up those that come behind it.
func (p *proposer) await(rs *dragonboat.RequestState, elected <-chan struct{}) (dragonboat.RequestResult, error) {
	select {
	case r := <-rs.ResultC():
		return r, nil
	case <-p.failure.done:
		return dragonboat.RequestResult{}, errUnknown(p.failure.err())
	case <-elected:
	}
	ctx, cancel := context.WithCancel(context.Background())
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		p.settle(ctx)
	}()
	defer func() { cancel(); <-settled }()
	select {
	case r := <-rs.ResultC():
		return r, nil
	case <-p.failure.done:
		return dragonboat.RequestResult{}, errUnknown(p.failure.err())
	case <-settled:
	}
	select {
	case r := <-rs.ResultC():
		return r, nil
	default:
		return dragonboat.RequestResult{}, errUnknown(errDeposed)
	}
}

// settle returns when whatever the present leader took over from the one before it is applied here, and a little later, or when ctx ends.
func (p *proposer) settle(ctx context.Context) {
	if _, err := p.barrier(ctx); err != nil {
		<-ctx.Done() // nothing can be told: the entry's own timeout decides
		return
	}
	grace := time.NewTimer(p.limits.settle)
	defer grace.Stop()
	select {
	case <-grace.C:
	case <-ctx.Done():
	}
}
