package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kalamlog.dev/kalam/internal/identity"
)

// conn is one client's connection. One goroutine reads a frame ahead and notices when the client goes away; another answers, one request at a time, so
// that responses go out in the order of their requests.
type conn struct {
	s    *Server
	net  net.Conn
	peer peer
	out  []byte // the response in the making, reused

	// busy is set while a request is being answered: a connection is idle only when it is not.
	busy atomic.Bool
}

// peer is what handlers know of the client.
type peer struct {
	local    string // the address it connected to
	remote   string // its host
	clientID string // as the request at hand gives it
	turn     int    // fetches so far: each begins with another partition
}

// request is a frame as read.
type request struct {
	header
	rest []byte
}

// writeChunk is what must go out within WriteTimeout.
const writeChunk = 256 << 10

// keptOut is how large a response buffer a connection keeps.
const keptOut = 64 << 10

func newConn(s *Server, nc net.Conn) *conn {
	remote := nc.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(remote); err == nil {
		remote = host
	}
	return &conn{s: s, net: nc, peer: peer{local: nc.LocalAddr().String(), remote: remote}}
}

// stopReading ends the reading of requests: with a deadline that has passed.
func (c *conn) stopReading() { _ = c.net.SetReadDeadline(time.Unix(1, 0)) }

// serve answers requests until the client hangs up, breaks the protocol or is idle, or the server drains.
func (c *conn) serve() {
	ctx, gone := context.WithCancel(identity.NewContext(c.s.ctx, identity.Root))
	defer gone()
	requests := make(chan request)
	var readErr error
	stop := make(chan struct{})
	idle := time.AfterFunc(c.s.o.IdleTimeout, c.stopIfIdle)
	defer idle.Stop()
	go func() {
		defer close(requests)
		readErr = c.read(requests, stop, idle)
		gone()
	}()
	answerErr := c.answerAll(ctx, requests, idle)
	_ = c.net.Close()
	close(stop)
	for range requests { // until the reader has ended
	}
	c.report(answerErr, readErr)
}

// stopIfIdle runs IdleTimeout after the last request came or was answered.
func (c *conn) stopIfIdle() {
	if !c.busy.Load() {
		c.stopReading()
	}
}

// read passes requests on until there are no more, or stop is closed.
func (c *conn) read(requests chan<- request, stop <-chan struct{}, idle *time.Timer) error {
	for {
		h, rest, err := readFrame(c.net, c.limit)
		if err != nil {
			return err
		}
		idle.Reset(c.s.o.IdleTimeout)
		select {
		case requests <- request{h, rest}:
		case <-stop:
			return nil
		}
	}
}

// limit is how large a frame may be.
func (c *conn) limit(header) int { return c.s.o.MaxFrameBytes }

func (c *conn) answerAll(ctx context.Context, requests <-chan request, idle *time.Timer) error {
	for q := range requests {
		c.busy.Store(true)
		err := c.answer(ctx, q)
		idle.Reset(c.s.o.IdleTimeout)
		c.busy.Store(false)
		if err != nil {
			return err
		}
	}
	return nil
}

// answer serves one request and writes its response.
func (c *conn) answer(ctx context.Context, q request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("serve API key %d: panic: %v\n%s", q.key, p, debug.Stack())
		}
	}()
	response, flexible, err := c.respond(ctx, q)
	if err != nil {
		return err
	}
	c.out = slices.Grow(c.out[:0], responseBytes(response))
	c.out = appendResponseHeader(c.out, q.correlation, flexible)
	c.out = finishFrame(response.AppendTo(c.out))
	err = c.write(c.out)
	if cap(c.out) > keptOut {
		c.out = nil
	}
	return err
}

// responseBytes is about how large a response that may be large is.
func responseBytes(r kmsg.Response) int {
	f, ok := r.(*kmsg.FetchResponse)
	if !ok {
		return 0
	}
	const besideRecords = 128
	n := besideRecords
	for i := range f.Topics {
		n += besideRecords
		for j := range f.Topics[i].Partitions {
			n += len(f.Topics[i].Partitions[j].RecordBatches) + besideRecords
		}
	}
	return n
}

// respond returns the response and whether its header is flexible.
func (c *conn) respond(ctx context.Context, q request) (kmsg.Response, bool, error) {
	k := c.s.keys.key(q.key)
	if k == nil {
		return nil, false, malformed("API key %d is not spoken", q.key)
	}
	c.s.metrics.requests.WithLabelValues(k.name).Inc()
	if !k.speaks(q.version) {
		if k.code == apiVersionsCode {
			return unsupportedAPIVersions(k), false, nil
		}
		return nil, false, malformed("%s version %d is not spoken, versions %d to %d are", k.name, q.version, k.min, k.max)
	}
	id, body, err := splitClientID(q.rest, k.flexible(q.version))
	if err != nil {
		return nil, false, err
	}
	decoded, err := k.decode(q.version, body)
	if err != nil {
		return nil, false, err
	}
	c.peer.clientID = id
	response, err := k.serve(ctx, &c.peer, decoded)
	if err != nil {
		return nil, false, fmt.Errorf("serve %s: %w", k.name, err)
	}
	response.SetVersion(q.version)
	// ApiVersions is answered with the oldest header: its client does not know yet what the server speaks.
	return response, response.IsFlexible() && k.code != apiVersionsCode, nil
}

// write sends b; a client that takes nothing of it for WriteTimeout is cut off.
func (c *conn) write(b []byte) error {
	stuck := time.AfterFunc(c.s.o.WriteTimeout, func() { _ = c.net.Close() })
	defer stuck.Stop()
	for len(b) > 0 {
		n := min(len(b), writeChunk)
		if _, err := c.net.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
		stuck.Reset(c.s.o.WriteTimeout)
	}
	return nil
}

// report logs why the connection ended, unless that is the way connections end.
func (c *conn) report(answerErr, readErr error) {
	err := answerErr
	if err == nil {
		err = readErr
	}
	var broken *malformedError
	switch {
	case errors.As(err, &broken):
		c.s.metrics.malformed.Inc()
		c.s.o.Logger.Warn("kafka: connection closed", "client", c.peer.remote, "client_id", c.peer.clientID, "error", err)
	case err == nil || isDisconnect(err):
		c.s.o.Logger.Debug("kafka: connection ended", "client", c.peer.remote, "error", err)
	default:
		c.s.o.Logger.Error("kafka: request failed", "client", c.peer.remote, "client_id", c.peer.clientID, "error", err)
	}
}

// isDisconnect reports whether err is what reading from or writing to a connection gives when either side has closed it.
func isDisconnect(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, os.ErrDeadlineExceeded)
}
