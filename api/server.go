package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query"
	"kalamlog.dev/kalam/subscribe"
)

// Options wires a Server. Zero means the default.
type Options struct {
	Engine       *query.Engine              // required
	Registry     *subscribe.Registry        // required
	Log          *log.Log                   // required
	Materializer *materializer.Materializer // required
	Writer       *materializer.Writer       // required
	IDs          *materializer.IDs          // required: the node's generator, for column defaults
	Clock        clock.Clock                // default the machine's
	Logger       *slog.Logger               // default none
	Registerer   prometheus.Registerer      // metrics kalam_http_*; nil: none
	Gatherer     prometheus.Gatherer        // what /metrics shows; nil: nothing
	Cluster      Cluster                    // what /v1/cluster shows and changes; nil: nothing
	LoopbackOnly bool                       // the listeners are loopback: requests by other names are refused
	Limits       Limits
}

// Limits bound what requests may take of the server. Zero means the default.
type Limits struct {
	Body          int64         // bytes of a request that is read as a whole, default 64 MiB
	RowsBody      int64         // bytes of a streamed body of rows, default no limit: it is never held as a whole
	Row           int           // bytes of one row in a body, default 4 MiB
	InFlight      int           // statements and writes at once, default 512; more wait for SlotWait
	SlotWait      time.Duration // default 10 s, then the request is refused as overloaded
	ClientTimeout time.Duration // how long a client may neither send nor take a byte, default 1 minute
}

func (o *Options) setDefaults() {
	setDefault(&o.Clock, clock.Clock(clock.System{}))
	setDefault(&o.Limits.Body, 64<<20)
	setDefault(&o.Limits.Row, 4<<20)
	setDefault(&o.Limits.InFlight, 512)
	setDefault(&o.Limits.SlotWait, 10*time.Second)
	setDefault(&o.Limits.ClientTimeout, time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Gatherer == nil {
		o.Gatherer = prometheus.NewRegistry()
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o *Options) validate() error {
	var faults []error
	for name, missing := range map[string]bool{
		"Engine": o.Engine == nil, "Registry": o.Registry == nil, "Log": o.Log == nil,
		"Materializer": o.Materializer == nil, "Writer": o.Writer == nil, "IDs": o.IDs == nil,
	} {
		if missing {
			faults = append(faults, fmt.Errorf("api: Options.%s is required", name))
		}
	}
	return errors.Join(faults...)
}

// Server answers HTTP requests. It is safe for concurrent use.
type Server struct {
	engine       *query.Engine
	registry     *subscribe.Registry
	log          *log.Log
	materializer *materializer.Materializer
	writer       *materializer.Writer
	ids          *materializer.IDs
	clock        clock.Clock
	logger       *slog.Logger
	gatherer     prometheus.Gatherer
	cluster      Cluster
	limits       Limits
	guard        *originGuard

	echo     *echo.Echo
	http     *http.Server
	metrics  *metrics
	boot     string        // begins every request id of this process
	requests atomic.Uint64 // numbers them
	slots    chan struct{} // one for each statement or write in progress
	buffers  sync.Pool     // *[]byte, first buffers of bodies and replies
	draining atomic.Bool
}

// New returns a Server that answers once it is given listeners. The caller closes what is in o after the Server.
func New(o Options) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.setDefaults()
	s := &Server{
		engine: o.Engine, registry: o.Registry, log: o.Log, materializer: o.Materializer, writer: o.Writer, ids: o.IDs,
		clock: o.Clock, logger: o.Logger, gatherer: o.Gatherer, cluster: o.Cluster, limits: o.Limits, guard: newOriginGuard(o.LoopbackOnly),
		metrics: newMetrics(o.Registerer), boot: bootID(), slots: make(chan struct{}, o.Limits.InFlight),
	}
	s.buffers.New = func() any { b := make([]byte, 0, bufferBytes); return &b }
	s.echo = s.router()
	s.http = &http.Server{
		Handler:           s.echo,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// router names every path of the door. openapi.json describes the same ones; a test compares.
func (s *Server) router() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = s.errorHandler
	e.Pre(s.observe)
	e.GET("/", s.home)
	for _, method := range []string{http.MethodGet, http.MethodHead} { // load balancers ask by HEAD
		e.Add(method, "/health", s.health)
		e.Add(method, "/ready", s.ready)
	}
	e.GET("/metrics", s.showMetrics())
	e.GET("/openapi.json", s.openAPI)
	e.POST("/v1/sql", s.sql, s.limitInFlight)
	e.POST("/v1/tables/:namespace/:table/rows", s.postRows, s.limitInFlight)
	e.GET("/v1/tables/:namespace/:table/rows/*", s.getRow)
	e.GET("/v1/subscribe", s.subscribe)
	e.POST("/v1/subscribe", s.subscribe)
	e.GET("/v1/cluster", s.clusterStatus)
	e.POST("/v1/cluster/:change", s.changeCluster)
	return e
}

// ServeHTTP answers one request, for tests and for servers that embed this one.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }

// Serve accepts connections until Shutdown or Close, then returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve http: %w", err)
	}
	return nil
}

// Drain makes /health say 503, so that load balancers send new requests elsewhere. Requests are still answered.
func (s *Server) Drain() { s.draining.Store(true) }

// Shutdown drains, takes no more connections and returns when every request has been answered, or with an error when
// ctx is done. Subscriptions end when their registry closes, which the caller does at the same time.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("shut down http: %w", err), s.http.Close())
	}
	return nil
}

// Close breaks off every connection.
func (s *Server) Close() error {
	s.Drain()
	return s.http.Close()
}

// reply writes v as the whole JSON body.
func (s *Server) reply(c echo.Context, status int, v any) {
	s.replyJSON(c, status, append(encode(v), '\n'))
}

// encode returns a wire type as JSON, without the escapes that embedding in HTML would need. Wire types always encode.
func encode(v any) []byte {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Errorf("encode %T: %w", v, err))
	}
	return bytes.TrimSuffix(body.Bytes(), []byte{'\n'})
}

// replyJSON writes body, which is JSON. That the client may be gone is no concern of the server.
func (s *Server) replyJSON(c echo.Context, status int, body []byte) {
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	if status == http.StatusServiceUnavailable {
		h.Set(echo.HeaderRetryAfter, "1")
	}
	c.Response().WriteHeader(status)
	if _, err := c.Response().Write(body); err != nil {
		s.logger.Debug("write reply", "error", err)
	}
}
