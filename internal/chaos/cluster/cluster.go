package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/chaos/network"
)

// Options say what to run.
type Options struct {
	Binary string // path of kalam
	Dir    string // for data, configuration and logs; must exist
	Nodes  int
	Flush  bool // move changes to Parquet every few seconds
}

// Cluster is the servers of a run and what joins them.
type Cluster struct {
	Network *network.Network
	options Options
	nodes   []*Node
	lastID  int // of a node
}

// startTime is how long a node may take until it is ready, with a log to repair or a leader to wait for.
const startTime = 60 * time.Second

// New makes the network and the disks, and starts nothing. The process must be inside a sandbox.
func New(o Options) (*Cluster, error) {
	w, err := network.New(o.Nodes)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Network: w, options: o, lastID: o.Nodes}
	for i := 1; i <= o.Nodes; i++ {
		n, err := newNode(c, i)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.nodes = append(c.nodes, n)
	}
	return c, nil
}

// Nodes returns all nodes.
func (c *Cluster) Nodes() []*Node { return c.nodes }

// Node returns the node in a place, from 1. Its number in the cluster may have changed since.
func (c *Cluster) Node(place int) *Node { return c.nodes[place-1] }

// Each does something to several nodes at once.
func Each(nodes []*Node, do func(*Node) error) error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { errs[i] = do(n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Start starts those nodes that do not run, at once, and returns when all are ready.
func (c *Cluster) Start(ctx context.Context) error {
	return Each(c.nodes, func(n *Node) error { return n.Start(ctx) })
}

// Stop ends all nodes with SIGTERM.
func (c *Cluster) Stop(ctx context.Context) error {
	return Each(c.nodes, func(n *Node) error { return n.Stop(ctx) })
}

// Close kills what runs and removes the disks' mounts.
func (c *Cluster) Close() error {
	return Each(c.nodes, func(n *Node) error {
		n.Kill()
		return n.Disk.Unmount()
	})
}

// Leader returns the place of the node that leads the first group, as a node that runs says.
func (c *Cluster) Leader(ctx context.Context) (int, error) {
	if len(c.nodes) == 1 {
		return 1, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var last error
	for {
		for _, n := range c.nodes {
			if n.Running() {
				id, err := n.leader(ctx)
				if place := c.placeOf(id); err == nil && place > 0 {
					return place, nil
				}
				last = err
			}
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("find leader: %w", errors.Join(ctx.Err(), last))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *Cluster) placeOf(id int) int {
	for i, n := range c.nodes {
		if n.ID == id {
			return i + 1
		}
	}
	return 0
}

// leader asks the node who leads.
func (n *Node) leader(ctx context.Context) (int, error) {
	out, err := n.tool(ctx, "cluster", "status", "--url", n.Client.URL, "--json")
	if err != nil {
		return 0, err
	}
	var status wire.ClusterStatus
	if err := json.Unmarshal(out, &status); err != nil {
		return 0, fmt.Errorf("read cluster status %q: %w", out, err)
	}
	if status.Leader == 0 {
		return 0, errors.New("nobody leads")
	}
	return int(status.Leader), nil
}

// config writes a node's configuration file and returns its path.
func (c *Cluster) config(n *Node) (string, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "[server]\ninsecure = true\n[cluster]\nnode_id = %d\n", n.ID)
	if c.options.Nodes > 1 {
		fmt.Fprintf(&b, "raft = %q\npeers = [", n.raft())
		for i, peer := range c.nodes {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "\"%d=%s\"", peer.ID, peer.raft())
		}
		b.WriteString("]\n")
	}
	// Small segments, frequent flushes: their moments are where crashes hurt.
	b.WriteString("[storage]\nsegment_bytes = \"1MiB\"\n[flush]\n")
	if c.options.Flush {
		b.WriteString("interval = \"7s\"\n")
	} else {
		b.WriteString("interval = \"0s\"\nrows = 0\nbytes = \"0B\"\n")
	}
	path := filepath.Join(n.dir, "kalam.toml")
	return path, os.WriteFile(path, b.Bytes(), 0o644)
}
