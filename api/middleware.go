package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
)

type requestIDKey struct{}

// requestID returns the id that observe gave the request of ctx.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// bootID tells the request ids of this process from those of others.
func bootID() string {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// observe surrounds every request: it gives it an id and a caller, turns a panic into an internal error, counts it and
// logs it at debug.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		start := s.clock.Now()
		r := c.Request()
		id := s.takeRequestID(r)
		ctx := context.WithValue(identity.NewContext(r.Context(), identity.Root), requestIDKey{}, id)
		c.SetRequest(r.WithContext(ctx))
		c.Response().Header().Set(echo.HeaderXRequestID, id)
		s.metrics.inFlight.Inc()
		defer func() {
			s.metrics.inFlight.Dec()
			took := s.clock.Now().Sub(start)
			s.metrics.observe(r.Method, c.Path(), c.Response().Status, took)
			s.logAccess(c, id, took)
		}()
		defer s.recover(c)
		if err = s.guard.check(r); err == nil {
			err = next(c)
		}
		if err != nil {
			c.Error(err)
		}
		return nil
	}
}

// takeRequestID accepts the client's id if it is harmless, else makes one.
func (s *Server) takeRequestID(r *http.Request) string {
	if id := r.Header.Get(echo.HeaderXRequestID); id != "" && len(id) <= 64 && printable(id) {
		return id
	}
	return s.boot + "-" + strconv.FormatUint(s.requests.Add(1), 10)
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// recover answers a request whose handler panicked. http.ErrAbortHandler, which breaks the connection off on purpose,
// goes on to net/http.
func (s *Server) recover(c echo.Context) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	s.fail(c, fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
}

func (s *Server) logAccess(c echo.Context, id string, took time.Duration) {
	r := c.Request()
	if !s.logger.Enabled(r.Context(), slog.LevelDebug) {
		return
	}
	s.logger.LogAttrs(r.Context(), slog.LevelDebug, "request", slog.String("request_id", id), slog.String("method", r.Method),
		slog.String("path", r.URL.Path), slog.Int("status", c.Response().Status), slog.Int64("bytes", c.Response().Size),
		slog.Duration("took", took), slog.String("remote", r.RemoteAddr))
}

// limitInFlight lets a bounded number of requests work at once. The others wait for a while, then are refused.
func (s *Server) limitInFlight(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := s.acquireSlot(c.Request().Context()); err != nil {
			return err
		}
		defer func() { <-s.slots }()
		return next(c)
	}
}

func (s *Server) acquireSlot(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(s.limits.SlotWait)
	defer timer.Stop()
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return problem.New(problem.Overloaded, "%d requests are in progress", cap(s.slots)).WithHint("retry later, or raise limits.in_flight")
	}
}

// body returns the request's body, cut off with *http.MaxBytesError after limit bytes (0: no limit) and with a
// problem when the client sends nothing for Limits.ClientTimeout. A body that announces too much is refused at once.
func (s *Server) body(c echo.Context, limit int64) (io.Reader, error) {
	r := c.Request()
	if limit > 0 && r.ContentLength > limit {
		return nil, &http.MaxBytesError{Limit: limit}
	}
	var in io.Reader = r.Body
	if limit > 0 {
		in = http.MaxBytesReader(c.Response().Writer, r.Body, limit)
	}
	return &patientReader{in: in, control: http.NewResponseController(c.Response().Writer), timeout: s.limits.ClientTimeout}, nil
}

// systemDeadline is a time by the machine's clock, which alone counts for connections.
func systemDeadline(after time.Duration) time.Time { return clock.System{}.Now().Add(after) }

// patientReader waits a bounded time for each read. It takes the deadline away at the end of the body: left in place it
// would end the request's context while the handler works. After an error, or if the handler stops reading early, it
// stays: it bounds how long net/http tries to read the rest.
type patientReader struct {
	in      io.Reader
	control *http.ResponseController
	timeout time.Duration
}

func (p *patientReader) Read(b []byte) (int, error) {
	// A connection without deadlines (of a test, say) is read without.
	_ = p.control.SetReadDeadline(systemDeadline(p.timeout))
	n, err := p.in.Read(b)
	switch {
	case errors.Is(err, io.EOF):
		_ = p.control.SetReadDeadline(time.Time{})
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = problem.New(problem.Timeout, "the client sent nothing for %s", p.timeout).Because(err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = problem.New(problem.Cancelled, "the client broke the body off").Because(err)
	}
	return n, err
}
