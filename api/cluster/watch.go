package cluster

import (
	"context"
	"sync"
	"time"
)

// watchEvery is how often a node asks the others how they are.
const watchEvery = time.Second

// watch keeps FullPeers up to date until ctx ends: a majority cannot be reached without a node whose disk is nearly full. Raft itself knows no refusal: what
// is proposed would be stored there, into the space that keeps the node alive.
func (c *Cluster) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		nodes, err := c.Nodes()
		if err != nil {
			continue // the state is closing
		}
		full := c.countFull(ctx, nodes)
		tight := len(nodes)-full < len(nodes)/2+1 && full > 0
		if tight != c.o.FullPeers.Swap(tight) {
			c.o.Logger.Warn("nodes of the cluster are short of disk space", "writes_refused", tight, "full", full, "nodes", len(nodes))
		}
	}
}

// countFull asks every node. One that does not answer is not counted: whether it stores anything is Raft's to find out.
func (c *Cluster) countFull(ctx context.Context, nodes []Node) int {
	ctx, cancel := context.WithTimeout(ctx, watchEvery)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	full := 0
	count := func(st State) {
		mu.Lock()
		defer mu.Unlock()
		if st.DiskFull {
			full++
		}
	}
	for _, n := range nodes {
		if n.ID == c.o.Identity.Node {
			count(c.state())
			continue
		}
		if n.State != running {
			continue
		}
		wg.Go(func() {
			var st State
			if c.caller.call(ctx, n.Target, pathState, nil, &st) == nil && st.Node == n.ID {
				count(st)
			}
		})
	}
	wg.Wait()
	return full
}
