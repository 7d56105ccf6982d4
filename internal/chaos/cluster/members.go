package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Replace gives a node whose data are lost or damaged a new life, by the command of the operator: another node tells the cluster, then
// the node starts empty and is sent everything.
func (c *Cluster) Replace(ctx context.Context, n *Node) error {
	n.Kill()
	if err := n.Wipe(); err != nil {
		return err
	}
	if err := c.command(ctx, n, "replace", strconv.Itoa(n.ID)); err != nil {
		return err
	}
	return n.Start(ctx)
}

// Remove takes a node out of the cluster for good and waits for its process to end.
func (c *Cluster) Remove(ctx context.Context, n *Node) error {
	if err := c.command(ctx, n, "remove", strconv.Itoa(n.ID)); err != nil {
		return err
	}
	return n.AwaitExit(ctx, removeTime)
}

// removeTime is how long a node may take to hear that it was removed, and to end.
const removeTime = 15 * time.Second

// Add starts an empty node in the place of one that was removed, under a number that was never used.
func (c *Cluster) Add(ctx context.Context, n *Node) error {
	if err := n.Wipe(); err != nil {
		return err
	}
	c.lastID++
	n.ID = c.lastID
	if err := c.command(ctx, n, "add", fmt.Sprintf("%d=%s", n.ID, n.raft())); err != nil {
		return err
	}
	return n.Start(ctx)
}

// Transfer makes a node the leader. A cluster that does not follow at once is left to the next call.
func (c *Cluster) Transfer(ctx context.Context, n *Node) error {
	return c.command(ctx, nil, "transfer", strconv.Itoa(n.ID))
}

// command runs a verb of kalam cluster against a node that runs, other than the one it is about. While nobody leads it is tried again.
func (c *Cluster) command(ctx context.Context, about *Node, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		err := errors.New("no other node runs")
		for _, n := range c.nodes {
			if n == about || !n.Running() {
				continue
			}
			if _, err = n.tool(ctx, append([]string{"cluster", "--url", n.Client.URL}, args...)...); err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(500 * time.Millisecond):
		}
	}
}
