package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/peer"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

// Node is a row of system.nodes.
type Node struct {
	ID      log.NodeID
	Replica log.ReplicaID
	State   string // invited: it was added and has not run yet; running: it has
	Target  string
	Raft    string // addresses, host:port; HTTP and Kafka "" while invited
	HTTP    string
	Kafka   string
	Version string
	Started int64 // microseconds, when it last started
}

// The states of a Node.
const (
	invited = "invited"
	running = "running"
)

func (n Node) values() []expr.Value {
	text := func(s string) expr.Value { return expr.TextOf(s) }
	return []expr.Value{
		expr.IntOf(expr.BigInt, int64(n.ID)), expr.IntOf(expr.BigInt, int64(n.Replica)), text(n.State), text(n.Target), text(n.Raft),
		text(n.HTTP), text(n.Kafka), text(n.Version), expr.IntOf(expr.TimestampTZ, n.Started),
	}
}

func nodeOf(r materializer.Row) Node {
	return Node{
		ID: log.NodeID(r.Column(0).Int()), Replica: log.ReplicaID(r.Column(1).Int()), State: r.Column(2).Str(), Target: r.Column(3).Str(),
		Raft: r.Column(4).Str(), HTTP: r.Column(5).Str(), Kafka: r.Column(6).Str(), Version: r.Column(7).Str(), Started: r.Column(8).Int(),
	}
}

// nodesPartition is where the rows of system.nodes are.
func nodesPartition() log.Partition { return log.Partition{Table: materializer.SystemNodes} }

// Nodes returns the address book as applied here, by node.
func (c *Cluster) Nodes() ([]Node, error) { return Nodes(c.o.State) }

// Recall enters the addresses that a node knew when it stopped into book, unless it has others already. Without them a node whose configuration does
// not list its peers could not answer them, and would wait for ever to hear where the log ends.
func Recall(t Tables, book *peer.Book) error {
	nodes, err := Nodes(t)
	if err != nil {
		return err
	}
	known := book.All()
	for _, n := range nodes {
		if _, ok := known[n.Target]; !ok && n.Raft != "" {
			book.Set(n.Target, n.Raft)
		}
	}
	return nil
}

// Nodes returns the rows of system.nodes, by node.
func Nodes(t Tables) (nodes []Node, err error) {
	v, err := t.View()
	if err != nil {
		return nil, fmt.Errorf("open view: %w", err)
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	for row, err := range v.Scan(v.Catalog().TableByID(materializer.SystemNodes), 0, storage.Range{}) {
		if err != nil {
			return nil, fmt.Errorf("read system.nodes: %w", err)
		}
		nodes = append(nodes, nodeOf(row.Row))
	}
	return nodes, nil
}

// node returns the row of one node.
func (c *Cluster) node(id log.NodeID) (Node, bool, error) {
	nodes, err := c.Nodes()
	for _, n := range nodes {
		if n.ID == id {
			return n, true, nil
		}
	}
	return Node{}, false, err
}

// write proposes one mutation of a system table, again and again until its outcome is known: each of ours may be applied twice.
func (c *Cluster) write(ctx context.Context, m materializer.Mutation) error {
	for {
		_, err := c.o.Writer.Write(ctx, &materializer.Batch{Caller: identity.Root.Name, Mutations: []materializer.Mutation{m}})
		if err == nil || ctx.Err() != nil || !problem.Is(err, problem.Timeout) && !problem.Is(err, problem.Overloaded) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *Cluster) table(id log.TableID) *materializer.Table { return c.o.State.Catalog().TableByID(id) }

// put makes n a row of system.nodes.
func (c *Cluster) put(ctx context.Context, n Node) error {
	m, err := c.table(materializer.SystemNodes).NewRow(materializer.Upsert, n.values())
	if err == nil {
		err = c.write(ctx, m)
	}
	if err != nil {
		return fmt.Errorf("write system.nodes: %w", err)
	}
	return nil
}

// drop removes a node's row.
func (c *Cluster) drop(ctx context.Context, id log.NodeID) error {
	m, err := c.table(materializer.SystemNodes).OfKey(materializer.Remove, []expr.Value{expr.IntOf(expr.BigInt, int64(id))})
	if err == nil {
		m.Miss = materializer.Skip
		err = c.write(ctx, m)
	}
	if err != nil {
		return fmt.Errorf("write system.nodes: %w", err)
	}
	return nil
}

// register notes that this node runs, and where.
func (c *Cluster) register(ctx context.Context) error {
	return c.put(ctx, Node{
		ID: c.o.Identity.Node, Replica: c.o.Identity.Replica, State: running, Target: c.o.Identity.Target,
		Raft: c.o.Raft, HTTP: c.o.HTTP, Kafka: c.o.Kafka, Version: c.o.Version, Started: clock.Micros(c.o.Clock),
	})
}

// registerPause is between two attempts of registerLater.
const registerPause = 2 * time.Second

// registerLater registers until it succeeds or ctx ends.
func (c *Cluster) registerLater(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(registerPause):
		}
		if c.register(ctx) == nil {
			return
		}
	}
}

// follow keeps the book as system.nodes says until ctx ends.
func (c *Cluster) follow(ctx context.Context) {
	known := map[string]bool{}
	for {
		end := c.o.Log.End(nodesPartition())
		nodes, err := c.Nodes()
		if err != nil {
			c.o.Logger.Error("addresses of the cluster's nodes cannot be read", "error", err)
		} else {
			c.note(nodes, known)
		}
		if err := c.o.Log.WaitEnd(ctx, nodesPartition(), end); err != nil {
			return
		}
	}
}

// note enters nodes into the book; known are the targets entered before.
func (c *Cluster) note(nodes []Node, known map[string]bool) {
	gone := map[string]bool{}
	for target := range known {
		gone[target] = true
	}
	for _, n := range nodes {
		delete(gone, n.Target)
		if n.Raft != "" {
			known[n.Target] = true
			c.o.Book.Set(n.Target, n.Raft)
		}
	}
	for target := range gone {
		delete(known, target)
		c.o.Book.Set(target, "")
	}
}
