package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/soheilhy/cmux"
)

// Options configures a Net.
type Options struct {
	Listener net.Listener // required; Close closes it
	Self     string       // required: this node's target
	Book     *Book        // required
	Logger   *slog.Logger // default discards
}

// Net is a node's end of the connections between nodes. Safe for concurrent use.
type Net struct {
	o       Options
	mux     cmux.CMux
	server  *http.Server
	handler atomic.Pointer[http.Handler]
	raft    atomic.Pointer[receiver] // nil while Raft does not run
	cluster atomic.Pointer[string]   // id of the cluster, once known
	owned   sync.WaitGroup
	closing sync.Once

	// mu guards conns: those that carry Raft to this node.
	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
}

// Open starts to serve the listener. Until Handle is called HTTP requests are answered with 503, until Raft runs its connections are refused.
func Open(o Options) (*Net, error) {
	if o.Listener == nil || o.Self == "" || o.Book == nil {
		return nil, errors.New("peer: Options.Listener, Self and Book are required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Net{o: o, mux: cmux.New(o.Listener), conns: make(map[net.Conn]struct{})}
	n.mux.SetReadTimeout(greetTimeout)
	n.mux.HandleError(func(error) bool { return true }) // a connection that is neither; the next may be
	raft := n.mux.Match(cmux.PrefixMatcher(preface))
	calls := n.mux.Match(cmux.HTTP1Fast())
	n.server = &http.Server{Handler: http.HandlerFunc(n.serveHTTP), ReadHeaderTimeout: 10 * time.Second}
	n.owned.Go(func() { n.acceptRaft(raft) })
	n.owned.Go(func() { _ = n.server.Serve(calls) })
	n.owned.Go(func() { _ = n.mux.Serve() })
	return n, nil
}

// Address returns where the Net listens.
func (n *Net) Address() net.Addr { return n.o.Listener.Addr() }

// Handle sets what answers the HTTP requests of other nodes.
func (n *Net) Handle(h http.Handler) { n.handler.Store(&h) }

// SetCluster tells the id of the cluster. From then on nodes of another one are refused.
func (n *Net) SetCluster(id string) { n.cluster.Store(&id) }

func (n *Net) clusterID() string {
	if id := n.cluster.Load(); id != nil {
		return *id
	}
	return ""
}

func (n *Net) serveHTTP(w http.ResponseWriter, r *http.Request) {
	h := n.handler.Load()
	if h == nil {
		http.Error(w, "the node is starting", http.StatusServiceUnavailable)
		return
	}
	(*h).ServeHTTP(w, r)
}

// Client returns an HTTP client whose requests to http://TARGET/... go to a node. Their contexts bound them. Close its idle connections when it is not needed any more.
func (n *Net) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, target string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(target)
			if err != nil {
				return nil, err
			}
			return n.dial(ctx, host)
		},
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     time.Minute,
	}}
}

// dialTimeout bounds the making of a connection.
const dialTimeout = 3 * time.Second

func (n *Net) dial(ctx context.Context, target string) (net.Conn, error) {
	address, err := n.o.Book.Address(target)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: 10 * time.Second, Control: controlSocket}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", target, err)
	}
	return c, nil
}

// Close ends every connection and returns when nothing of the Net runs any more. It is idempotent.
func (n *Net) Close() error {
	n.closing.Do(func() {
		_ = n.o.Listener.Close()
		n.mux.Close()
		_ = n.server.Close()
		n.mu.Lock()
		n.closed = true
		for c := range n.conns {
			_ = c.Close()
		}
		n.mu.Unlock()
	})
	n.owned.Wait()
	return nil
}
