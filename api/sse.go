package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/subscribe"
)

const (
	// heartbeatInterval is how long a stream is silent at most: proxies and clients take longer silence for a dead connection.
	heartbeatInterval = 15 * time.Second
	// retryHint is how many milliseconds a client waits before it reconnects.
	retryHint = 1000
)

// subscription is what the stream needs of a *subscribe.Subscription.
type subscription interface {
	Next(ctx context.Context) ([]subscribe.Event, error)
}

// subscribe serves GET and POST /v1/subscribe: a live query as server-sent events. What is refused before the first event is an
// ordinary error reply.
func (s *Server) subscribe(c echo.Context) error {
	request, err := s.liveRequest(c)
	if err != nil {
		return err
	}
	q, err := request.parse(c.Request().Header.Get("Last-Event-ID"))
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	if q.AtLeast, err = s.position(ctx, request.AtLeast); err != nil {
		return err
	}
	sub, err := s.registry.Subscribe(ctx, q)
	if err != nil {
		return err
	}
	defer sub.Close()
	stream := s.newEventStream(c.Response())
	if err := stream.open(); err == nil {
		stream.pump(ctx, sub)
	}
	return nil
}

// liveRequest is a subscription as a client asks for it: the query parameters of a GET, the JSON body of a POST.
type liveRequest struct {
	ID        string            `json:"id"` // of a stored query, in place of sql
	SQL       string            `json:"sql"`
	Params    []json.RawMessage `json:"params"`
	Namespace string            `json:"namespace"`
	From      string            `json:"from"`
	Snapshot  *bool             `json:"snapshot"`
	LastRows  int               `json:"last_rows"`
	AtLeast   string            `json:"at_least"`
}

// maxLiveBody bounds the body of a POST: a query and its parameters.
const maxLiveBody = 2 << 20

func (s *Server) liveRequest(c echo.Context) (*liveRequest, error) {
	if c.Request().Method == http.MethodPost {
		return s.liveBody(c)
	}
	r := new(liveRequest)
	values := c.QueryParams()
	r.ID, r.SQL, r.Namespace = values.Get("id"), values.Get("sql"), values.Get("namespace")
	r.From, r.AtLeast = values.Get("from"), values.Get("at_least")
	if text := values.Get("params"); text != "" {
		if err := json.Unmarshal([]byte(text), &r.Params); err != nil {
			return nil, problem.New(problem.BadRequest, "params is not a JSON array").WithHint(`params=[1,"two"] gives $1 and $2`).Because(err)
		}
	}
	if text := values.Get("snapshot"); text != "" {
		on, err := boolParam(text, "snapshot", true)
		if err != nil {
			return nil, err
		}
		r.Snapshot = &on
	}
	if text := values.Get("last_rows"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, problem.New(problem.BadRequest, "last_rows must be a whole number")
		}
		r.LastRows = n
	}
	return r, nil
}

func (s *Server) liveBody(c echo.Context) (*liveRequest, error) {
	body, err := s.body(c, min(maxLiveBody, s.limits.Body))
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	r := new(liveRequest)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, problem.New(problem.BadJSON, "the body is not a JSON object of a subscription: %s", jsonFault(err)).Because(err)
	}
	return r, nil
}

// jsonFault says what json.Unmarshal found, in terms of the body.
func jsonFault(err error) string {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("%s at byte %d", syntax.Error(), syntax.Offset)
	case errors.As(err, &wrong):
		return fmt.Sprintf("%s is a %s", wrong.Field, wrong.Value)
	default:
		return err.Error()
	}
}

// parse checks the request. lastEventID, of a client that reconnects, goes before from, which stays in its URL.
func (r *liveRequest) parse(lastEventID string) (subscribe.Request, error) {
	q := subscribe.Request{ID: r.ID, SQL: r.SQL, Namespace: r.Namespace, LastRows: r.LastRows, Snapshot: r.Snapshot == nil || *r.Snapshot}
	if r.SQL == "" && r.ID == "" {
		return q, problem.New(problem.BadRequest, "sql is missing").WithHint("give the query as sql=SELECT ... FROM ... WHERE ...")
	}
	var err error
	if q.Params, err = sqlParams(r.Params); err != nil {
		return q, err
	}
	from := r.From
	if lastEventID != "" {
		from = lastEventID
	}
	if from != "" {
		p, err := log.ParsePosition(from)
		if err != nil {
			return q, err
		}
		q.From = &p
	}
	return q, nil
}

// eventStream writes server-sent events to one client. It holds a buffer only while it writes.
type eventStream struct {
	server   *Server
	response *echo.Response
	control  *http.ResponseController
	buf      []byte
}

func (s *Server) newEventStream(r *echo.Response) *eventStream {
	return &eventStream{server: s, response: r, control: http.NewResponseController(r.Writer)}
}

// open sends the head, so that the client knows the stream is open before there is an event.
func (e *eventStream) open() error {
	h := e.response.Header()
	h.Set(echo.HeaderContentType, "text/event-stream; charset=utf-8")
	h.Set(echo.HeaderCacheControl, "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no") // nginx would collect the events
	e.response.WriteHeader(http.StatusOK)
	e.buf = append(e.buf[:0], "retry: "+strconv.Itoa(retryHint)+"\n\n"...)
	return e.flush()
}

// pump sends what sub gives until the subscription ends or the client is gone.
func (e *eventStream) pump(ctx context.Context, sub subscription) {
	for {
		wait, cancel := context.WithTimeout(ctx, heartbeatInterval)
		events, err := sub.Next(wait)
		quiet := err != nil && ctx.Err() == nil && wait.Err() != nil && errors.Is(err, context.DeadlineExceeded)
		cancel()
		switch {
		case quiet:
			err = e.heartbeat()
		case err == nil:
			err = e.send(events)
		}
		if err != nil || len(events) > 0 && events[len(events)-1].Type == subscribe.Failed {
			return
		}
	}
}

// heartbeat sends a comment.
func (e *eventStream) heartbeat() error {
	e.buf = append(e.buf[:0], ":\n\n"...)
	return e.flush()
}

// send writes events as frames and flushes them.
func (e *eventStream) send(events []subscribe.Event) error {
	buffer, _ := e.server.buffers.Get().(*[]byte)
	defer e.server.buffers.Put(buffer)
	defer func() { e.buf = nil }()
	e.buf = (*buffer)[:0]
	for i := range events {
		if len(e.buf) > 0 && len(e.buf)+len(events[i].Data) > cap(e.buf)-frameOverhead {
			if err := e.write(); err != nil {
				return err
			}
		}
		e.buf = appendFrame(e.buf, &events[i])
	}
	return e.flush()
}

// frameOverhead is about what a frame takes beside its data.
const frameOverhead = 256

// flush writes the buffer and everything before it to the connection.
func (e *eventStream) flush() error {
	if err := e.write(); err != nil {
		return err
	}
	if err := e.control.Flush(); err != nil {
		return fmt.Errorf("flush events: %w", err)
	}
	// A connection without deadlines (of a test, say) is served without.
	_ = e.control.SetWriteDeadline(time.Time{})
	return nil
}

// write hands the buffer to the connection, and waits a bounded time for the client to take what came before it.
func (e *eventStream) write() error {
	_ = e.control.SetWriteDeadline(clock.System{}.Now().Add(e.server.limits.ClientTimeout))
	if _, err := e.response.Write(e.buf); err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	e.buf = e.buf[:0]
	return nil
}

// appendFrame appends an event as the standard frames it.
func appendFrame(dst []byte, e *subscribe.Event) []byte {
	dst = append(dst, "event: "...)
	dst = append(dst, e.Type...)
	if e.MovesCursor() {
		dst = append(dst, "\nid: "...)
		dst = append(dst, e.Cursor.String()...)
	}
	data := e.Data
	if e.Problem != nil {
		if raw, err := json.Marshal(wire.ErrorReply{Error: wireError(e.Problem)}); err == nil {
			data = raw
		}
	}
	dst = append(dst, "\ndata: "...)
	dst = appendData(dst, data)
	return append(dst, "\n\n"...)
}

// appendData appends data, which may hold line breaks (the text of a JSON column, say): each begins a data line of its own. The client
// puts them together with a line feed between, which means the same to JSON.
func appendData(dst, data []byte) []byte {
	for {
		i := bytes.IndexAny(data, "\r\n")
		if i < 0 {
			return append(dst, data...)
		}
		dst = append(append(dst, data[:i]...), "\ndata: "...)
		if data[i] == '\r' && i+1 < len(data) && data[i+1] == '\n' {
			i++
		}
		data = data[i+1:]
	}
}
