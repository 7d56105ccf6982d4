package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"kalamlog.dev/kalam/flusher/objstore"
	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/peer"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// Log is what the cluster needs of the log: *log.Log.
type Log interface {
	Members(ctx context.Context) (log.Members, error)
	AddMember(ctx context.Context, of log.Members, r log.ReplicaID) error
	Promote(ctx context.Context, of log.Members, r log.ReplicaID) error
	RemoveMember(ctx context.Context, of log.Members, r log.ReplicaID) error
	TransferLeader(ctx context.Context, r log.ReplicaID) error
	Leader() log.Leader
	Leads() bool
	DiskFull() bool
	Position() log.Position
	End(p log.Partition) log.Offset
	WaitEnd(ctx context.Context, p log.Partition, end log.Offset) error
}

// Tables is what the cluster needs of the state: *materializer.Materializer.
type Tables interface {
	Catalog() *materializer.Catalog
	View() (*materializer.View, error)
}

// Writer applies batches: *materializer.Writer.
type Writer interface {
	Write(ctx context.Context, b *materializer.Batch) (materializer.WriteReceipt, error)
}

// Options configures a Cluster.
type Options struct {
	Dir      string         // required: the data directory, which has the identity
	Identity log.Identity   // required: what Find returned
	Log      Log            // required
	State    Tables         // required
	Writer   Writer         // required
	Net      *peer.Net      // nil: the node is alone
	Book     *peer.Book     // required
	Store    objstore.Store // required: this node's data files
	Clock    clock.Clock    // default the machine's
	Logger   *slog.Logger   // default discards
	Version  string         // of the program
	// FullPeers is kept true while no majority can be reached without a node whose disk is nearly full: log.Options.PeersFull. Required with Net.
	FullPeers *atomic.Bool

	Raft, HTTP, Kafka string // addresses that others reach this node at, "" for none
}

// Cluster is a node's share in the cluster. Safe for concurrent use.
type Cluster struct {
	o      Options
	id     atomic.Pointer[string]
	caller caller
	files  *Files
	jobs   atomic.Pointer[Jobs] // nil until the flusher runs
	stop   context.CancelFunc
	owned  sync.WaitGroup
}

// Open registers the node and starts to answer the others. A replica that joined and has caught up, which it has once its log is open, is made a
// voter.
func Open(ctx context.Context, o Options) (*Cluster, error) {
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{o: o}
	c.files = newFiles(c, o.Store)
	if err := c.identify(ctx); err != nil {
		return nil, err
	}
	err := c.register(ctx)
	if err != nil && problem.As(err) == nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	c.stop = stop
	if err != nil { // a full disk, say: it takes no writes and serves all the same
		c.o.Logger.Warn("this node is not registered yet, trying again", "error", err)
		c.owned.Go(func() { c.registerLater(life) })
	}
	c.owned.Go(func() { c.follow(life) })
	if o.Net != nil {
		c.caller = newCaller(o.Net)
		if err := c.files.sweep(); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.owned.Go(func() { c.files.tidy(life) })
		c.owned.Go(func() { c.watch(life) })
		o.Net.Handle(c.handler())
		if !o.Identity.Voter {
			c.owned.Go(func() { c.becomeVoter(life) })
		}
	}
	return c, nil
}

// ID returns the id of the cluster, which is the same on every node and for ever.
func (c *Cluster) ID() string { return *c.id.Load() }

// Files returns what keeps the data files of all nodes the same.
func (c *Cluster) Files() *Files { return c.files }

// Close ends what Open started. It is idempotent.
func (c *Cluster) Close() error {
	c.stop()
	c.owned.Wait()
	if c.o.Net != nil {
		c.caller.close()
	}
	return nil
}

// identify learns the id of the cluster, or gives it one, and remembers it.
func (c *Cluster) identify(ctx context.Context) error {
	id, err := c.property(materializer.ClusterProperty)
	if err != nil {
		return err
	}
	if id == "" {
		if id, err = c.name(ctx); err != nil {
			return err
		}
	}
	if c.o.Identity.Cluster != "" && c.o.Identity.Cluster != id {
		return fmt.Errorf("the data in %s belong to cluster %s, the log to cluster %s", c.o.Dir, c.o.Identity.Cluster, id)
	}
	c.id.Store(&id)
	if c.o.Net != nil {
		c.o.Net.SetCluster(id)
	}
	if c.o.Identity.Cluster == id {
		return nil
	}
	c.o.Identity.Cluster = id
	return log.WriteIdentity(c.o.Dir, c.o.Identity)
}

// name proposes an id. Of several nodes that do the first wins.
func (c *Cluster) name(ctx context.Context) (string, error) {
	m, err := c.table(materializer.SystemCluster).NewRow(materializer.Insert,
		[]expr.Value{expr.TextOf(materializer.ClusterProperty), expr.TextOf(uuid.NewString())})
	if err == nil {
		m.Miss = materializer.Skip
		err = c.write(ctx, m)
	}
	if err != nil {
		return "", fmt.Errorf("name the cluster: %w", err)
	}
	return c.property(materializer.ClusterProperty)
}

// property returns a value of system.cluster, "" if it is not set.
func (c *Cluster) property(name string) (value string, err error) {
	v, err := c.o.State.View()
	if err != nil {
		return "", fmt.Errorf("open view: %w", err)
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	key, err := materializer.EncodeKey(nil, []expr.Value{expr.TextOf(name)})
	if err != nil {
		return "", err
	}
	row, err := v.Row(v.Catalog().TableByID(materializer.SystemCluster), 0, key)
	if problem.Is(err, problem.KeyNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read system.cluster: %w", err)
	}
	return row.Row.Column(1).Str(), nil
}

// promoteEvery is how often a replica that is no voter yet tries to become one.
const promoteEvery = time.Second

// becomeVoter makes this replica a voter, then notes that it is.
func (c *Cluster) becomeVoter(ctx context.Context) {
	for {
		err := c.promote(ctx)
		if err == nil {
			id := c.o.Identity
			id.Voter = true
			if err = log.WriteIdentity(c.o.Dir, id); err == nil {
				c.o.Logger.Info("this node has caught up and votes from now on")
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		c.o.Logger.Warn("this node does not vote yet, trying again", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(promoteEvery):
		}
	}
}

func (c *Cluster) promote(ctx context.Context) error {
	members, err := c.o.Log.Members(ctx)
	if err != nil {
		return err
	}
	me, ok := members.Of(c.o.Identity.Node)
	if ok && me.Voter {
		return nil
	}
	return c.o.Log.Promote(ctx, members, c.o.Identity.Replica)
}
