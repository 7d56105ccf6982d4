package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/process"
)

// whenTold switches the flushes by policy off.
var whenTold = []string{"KALAM_FLUSH_ROWS=0", "KALAM_FLUSH_INTERVAL=0", "KALAM_FLUSH_BYTES=0"}

// startLimit bounds how long a server may take to start.
const startLimit = 60 * time.Second

// nodes is a cluster of three servers on this machine, each a process of its own, by their numbers from 1.
type nodes struct {
	binary  string
	dir     string
	peers   string
	pprof   map[int]string // addresses
	servers map[int]*process.Server
}

// three starts a cluster in a new directory. Whoever calls it stops it.
func (b *bench) three(ctx context.Context) (*nodes, error) {
	dir, err := os.MkdirTemp(b.dir, "three-")
	if err != nil {
		return nil, err
	}
	n := &nodes{binary: b.binary, dir: dir, pprof: map[int]string{}, servers: map[int]*process.Server{}}
	var peers []string
	for i := range 3 {
		address, err := freeAddress(ctx)
		if err != nil {
			return nil, err
		}
		peers = append(peers, fmt.Sprintf("%d=%s", i+1, address))
		if n.pprof[i+1], err = freeAddress(ctx); err != nil {
			return nil, err
		}
	}
	n.peers = strings.Join(peers, ",")
	var g errgroup.Group
	var started [3]*process.Server
	for i := range started {
		g.Go(func() (err error) {
			started[i], err = n.launch(ctx, i+1)
			return err
		})
	}
	err = g.Wait()
	for i, s := range started {
		if s != nil {
			n.servers[i+1] = s
		}
	}
	if err == nil {
		err = n.whole(ctx)
	}
	if err != nil {
		n.stop()
		return nil, err
	}
	return n, nil
}

// freeAddress returns a loopback address that nobody listens at.
func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (n *nodes) launch(ctx context.Context, node int) (*process.Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return process.Start(ctx, process.Options{
		Binary: n.binary, Data: filepath.Join(n.dir, strconv.Itoa(node)),
		Env: append([]string{
			fmt.Sprintf("KALAM_CLUSTER_NODE_ID=%d", node), "KALAM_CLUSTER_PEERS=" + n.peers, "KALAM_SERVER_PPROF=" + n.pprof[node],
		}, whenTold...),
	})
}

// restart starts a node again that was killed, and returns when it has caught up.
func (n *nodes) restart(ctx context.Context, node int) error {
	s, err := n.launch(ctx, node)
	if err != nil {
		return err
	}
	n.servers[node] = s
	return n.whole(ctx)
}

func (n *nodes) stop() {
	for _, s := range n.servers {
		s.Kill()
	}
	_ = os.RemoveAll(n.dir)
}

func (n *nodes) status(ctx context.Context, node int) (s wire.ClusterStatus, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s, n.servers[node].Call(ctx, http.MethodGet, "/v1/cluster", "", nil, nil, &s)
}

// whole returns when all three nodes answer, one leads, and each has applied what was acknowledged before.
func (n *nodes) whole(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for ctx.Err() == nil {
		if n.agree(ctx) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("the cluster is not whole: %w", context.Cause(ctx))
}

func (n *nodes) agree(ctx context.Context) bool {
	leaders := map[uint64]bool{}
	for node, s := range n.servers {
		status, err := n.status(ctx, node)
		if err != nil || status.Leader == 0 || latest(ctx, s) != nil {
			return false
		}
		leaders[status.Leader] = true
		for _, other := range status.Nodes {
			if !other.Up {
				return false
			}
		}
	}
	return len(n.servers) == 3 && len(leaders) == 1
}

// latest returns when s has applied everything acknowledged.
func latest(ctx context.Context, s *process.Server) error {
	body, err := json.Marshal(wire.SQLRequest{SQL: "SELECT 1", AtLeast: "latest"})
	if err != nil {
		return err
	}
	return s.Call(ctx, http.MethodPost, "/v1/sql", "application/json", bytes.NewReader(body), nil, nil)
}

// roles returns the number of the leader and that of a follower.
func (n *nodes) roles(ctx context.Context) (leader, follower int, err error) {
	for node := range n.servers {
		s, err := n.status(ctx, node)
		if err != nil {
			return 0, 0, err
		}
		leader = int(s.Leader)
		break
	}
	if n.servers[leader] == nil {
		return 0, 0, fmt.Errorf("no node leads: %d", leader)
	}
	return leader, leader%3 + 1, nil
}

// transfer makes a node the leader.
func (n *nodes) transfer(ctx context.Context, node int) error {
	body, err := json.Marshal(wire.ClusterChange{Node: uint64(node)})
	if err != nil {
		return err
	}
	return n.servers[node].Call(ctx, http.MethodPost, "/v1/cluster/transfer", "application/json", bytes.NewReader(body), nil, nil)
}

// counter reads a counter of a server's metrics.
func counter(ctx context.Context, s *process.Server, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer reply.Body.Close()
	var all bytes.Buffer
	if _, err := all.ReadFrom(reply.Body); err != nil {
		return 0, err
	}
	for line := range strings.Lines(all.String()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}
