package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// Log is what the door needs of the log: *log.Log.
type Log interface {
	Read(p log.Partition, from log.Offset, maxBytes int) ([]log.Record, error)
	WaitEnd(ctx context.Context, p log.Partition, end log.Offset) error
	Start(p log.Partition) log.Offset
	End(p log.Partition) log.Offset
	OffsetAtTime(p log.Partition, micros int64) (log.Offset, int64, error)
	Barrier(ctx context.Context) (log.Position, error)
}

// Materializer is what the door needs of the materializer: *materializer.Materializer.
type Materializer interface {
	Catalog() *materializer.Catalog
	View() (*materializer.View, error)
}

// Writer stores committed offsets: *materializer.Writer.
type Writer interface {
	Write(ctx context.Context, b *materializer.Batch) (materializer.WriteReceipt, error)
}

// Options configures a Server. Zero means the default.
type Options struct {
	Log               Log          // required
	Materializer      Materializer // required
	Writer            Writer       // required
	Clock             clock.Clock  // default the machine's
	Logger            *slog.Logger // default none
	Registerer        prometheus.Registerer
	Cluster           Cluster       // the other nodes; nil: this one is alone
	AdvertisedAddress string        // host:port that clients are told; default the address each of them connected to
	NodeID            int32         // default 1
	ClusterID         string        // default "kalam"
	MaxFrameBytes     int           // of a request, default 1 MiB: none that is spoken carries records
	MaxFetchBytes     int           // of records in one response, default 8 MiB; a larger single record still comes whole
	MaxConnections    int           // default 4096
	IdleTimeout       time.Duration // without a request, default 10 minutes: clients close after 9
	WriteTimeout      time.Duration // without progress on a response, default 1 minute
	DrainTimeout      time.Duration // for requests in progress on Close, default 5 seconds
}

func (o *Options) setDefaults() {
	setDefault(&o.Clock, clock.Clock(clock.System{}))
	setDefault(&o.NodeID, 1)
	setDefault(&o.ClusterID, "kalam")
	setDefault(&o.MaxFrameBytes, 1<<20)
	setDefault(&o.MaxFetchBytes, 8<<20)
	setDefault(&o.MaxConnections, 4096)
	setDefault(&o.IdleTimeout, 10*time.Minute)
	setDefault(&o.WriteTimeout, time.Minute)
	setDefault(&o.DrainTimeout, 5*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
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
	if o.Log == nil || o.Materializer == nil || o.Writer == nil {
		faults = append(faults, errors.New("kafka: Log, Materializer and Writer are required"))
	}
	if o.MaxFrameBytes < headerBytes || o.MaxFetchBytes < 1 {
		faults = append(faults, errors.New("kafka: MaxFrameBytes and MaxFetchBytes are too small"))
	}
	if o.AdvertisedAddress != "" {
		if _, _, err := splitAddress(o.AdvertisedAddress); err != nil {
			faults = append(faults, fmt.Errorf("kafka: advertised address %q: %w", o.AdvertisedAddress, err))
		}
	}
	return errors.Join(faults...)
}

// Server speaks the Kafka protocol on any number of listeners. Safe for concurrent use.
type Server struct {
	o       Options
	keys    *registry
	topics  topicCache
	groups  *coordinator
	tenure  tenure
	metrics *metrics

	// ctx ends when the server drains: whatever waits for something to happen answers with what there is.
	ctx   context.Context
	drain context.CancelFunc
	wg    sync.WaitGroup // connections

	// mu guards what follows. It is not held while anything blocks.
	mu        sync.Mutex
	draining  bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
}

// New returns a Server that serves nothing yet.
func New(o Options) (*Server, error) {
	o.setDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		o: o, groups: newCoordinator(o.Logger),
		listeners: make(map[net.Listener]struct{}), conns: make(map[*conn]struct{}),
	}
	var err error
	if s.keys, err = newRegistry(s); err != nil {
		return nil, err
	}
	if s.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, err
	}
	s.ctx, s.drain = context.WithCancel(context.Background())
	return s, nil
}

// Serve accepts connections until Close, then returns nil. It owns l.
func (s *Server) Serve(l net.Listener) error {
	if !s.addListener(l) {
		return l.Close()
	}
	for {
		nc, err := l.Accept()
		switch {
		case s.ctx.Err() != nil:
			if err == nil {
				_ = nc.Close()
			}
			return nil
		case err != nil && temporary(err):
			s.o.Logger.Warn("kafka: accept failed, retrying", "error", err)
			s.pause(acceptPause)
		case err != nil:
			return fmt.Errorf("accept Kafka connection: %w", err)
		default:
			s.start(nc)
		}
	}
}

// acceptPause keeps a server that is out of file descriptors from spinning.
const acceptPause = 50 * time.Millisecond

// temporary reports whether an Accept may succeed when tried again: out of descriptors, or a client that hung up at once.
func temporary(err error) bool { return !errors.Is(err, net.ErrClosed) }

func (s *Server) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ctx.Done():
	}
}

func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

// start serves nc in its own goroutine, or refuses it.
func (s *Server) start(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining || len(s.conns) >= s.o.MaxConnections {
		s.metrics.refused.Inc()
		_ = nc.Close()
		return
	}
	c := newConn(s, nc)
	s.conns[c] = struct{}{}
	s.metrics.connections.Inc()
	s.wg.Go(func() {
		c.serve()
		s.metrics.connections.Dec()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
	})
}

// Close stops accepting, lets requests in progress answer, and returns when every connection is closed. What waits (a long poll, a member joining a
// group) answers at once. It is idempotent.
func (s *Server) Close() error {
	s.drain()
	errs := s.stopIntake()
	s.groups.close()
	force := time.AfterFunc(s.o.DrainTimeout, s.closeConns)
	defer force.Stop()
	s.wg.Wait()
	return errs
}

func (s *Server) stopIntake() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	var errs []error
	for l := range s.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
		delete(s.listeners, l)
	}
	for c := range s.conns {
		c.stopReading()
	}
	return errors.Join(errs...)
}

func (s *Server) closeConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.net.Close()
	}
}

// address is the host and port that p is told to reach this node at.
func (s *Server) address(p *peer) (string, int32) {
	advertised := s.o.AdvertisedAddress
	if advertised == "" {
		advertised = p.local
	}
	host, port, err := splitAddress(advertised)
	if err != nil { // a listener without host and port, such as a pipe
		return advertised, 0
	}
	return host, port
}

func splitAddress(address string) (string, int32, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return host, int32(n), err
}
