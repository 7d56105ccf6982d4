package cluster

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
)

// statusTimeout bounds how long a node that does not answer delays the status.
const statusTimeout = 2 * time.Second

// Status describes every member.
func (c *Cluster) Status(ctx context.Context) (wire.ClusterStatus, error) {
	status := wire.ClusterStatus{Cluster: c.ID(), Node: uint64(c.o.Identity.Node)}
	leader := c.o.Log.Leader()
	status.Leader, status.Term = uint64(leader.Node()), leader.Term
	nodes, err := c.Nodes()
	if err != nil {
		return status, err
	}
	within, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	members, err := c.o.Log.Members(within)
	if err != nil { // without a majority the status is what is known here
		status.Problem = err.Error()
	}
	status.Nodes = make([]wire.ClusterNode, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { status.Nodes[i] = c.describe(within, n, members, leader) })
	}
	wg.Wait()
	return status, nil
}

func (c *Cluster) describe(ctx context.Context, n Node, members log.Members, leader log.Leader) wire.ClusterNode {
	w := wire.ClusterNode{
		Node: uint64(n.ID), Replica: uint64(n.Replica), Raft: n.Raft, HTTP: n.HTTP, Kafka: n.Kafka, Version: n.Version, Role: "unknown",
	}
	if m, ok := members.Of(n.ID); ok {
		w.Replica = uint64(m.Replica)
		switch {
		case m.Replica == leader.Replica:
			w.Role = "leader"
		case m.Voter:
			w.Role = "follower"
		default:
			w.Role = "learner"
		}
	} else if len(members.List) > 0 {
		w.Role = "removed"
	}
	st := c.state()
	if n.ID != c.o.Identity.Node {
		st = State{}
		if err := c.ask(ctx, n, &st); err != nil {
			w.Problem = err.Error()
			return w
		}
	}
	w.Up, w.Position, w.DiskFull = st.Ready, st.Position, st.DiskFull
	if st.Version != "" {
		w.Version = st.Version
	}
	return w
}

func (c *Cluster) ask(ctx context.Context, n Node, st *State) error {
	if c.o.Net == nil {
		return problem.New(problem.Unsupported, "this node has no listener for peers")
	}
	return c.caller.call(ctx, n.Target, pathState, nil, st)
}

// Add makes node a member that is reached at address. It receives everything once it is started, and votes when it has caught up.
func (c *Cluster) Add(ctx context.Context, node log.NodeID, address string) error {
	if node < 1 || node > log.MaxNodeID {
		return problem.New(problem.BadRequest, "node ids are between 1 and %d", log.MaxNodeID)
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return problem.New(problem.BadRequest, "%q is no address", address).WithHint("give host:port of the node's cluster.raft")
	}
	if c.o.Net == nil {
		return problem.New(problem.Unsupported, "this node has no listener for peers").WithHint("set cluster.raft, restart it, and add the node then")
	}
	members, err := c.o.Log.Members(ctx)
	if err != nil {
		return leaderless(err)
	}
	if m, ok := members.Of(node); ok {
		return problem.New(problem.BadRequest, "node %d is a member already, as replica %d", node, m.Replica).
			WithHint("if it has lost its data, replace it")
	}
	return c.invite(ctx, members, node, address)
}

// invite enters node under a new replica. Its address comes first, or nobody could reach it; a row whose replica is no member does no harm.
func (c *Cluster) invite(ctx context.Context, members log.Members, node log.NodeID, address string) error {
	r := members.NextReplica(node)
	if err := c.put(ctx, Node{ID: node, Replica: r, State: invited, Target: log.TargetOf(node), Raft: address}); err != nil {
		return leaderless(err)
	}
	return leaderless(c.o.Log.AddMember(ctx, members, r))
}

// Remove takes node out of the cluster for good. Its process ends by itself when it hears of it.
func (c *Cluster) Remove(ctx context.Context, node log.NodeID) error {
	members, err := c.o.Log.Members(ctx)
	if err != nil {
		return leaderless(err)
	}
	if _, known, err := c.node(node); err != nil {
		return err
	} else if _, ok := members.Of(node); !ok && !known {
		return unknownNode(node)
	}
	if err := c.removeReplicas(ctx, node); err != nil {
		return err
	}
	return leaderless(c.drop(ctx, node))
}

// removeReplicas removes every replica of node, one change at a time.
func (c *Cluster) removeReplicas(ctx context.Context, node log.NodeID) error {
	for {
		members, err := c.o.Log.Members(ctx)
		if err != nil {
			return leaderless(err)
		}
		m, ok := members.Of(node)
		if !ok {
			return nil
		}
		if err := c.o.Log.RemoveMember(ctx, members, m.Replica); err != nil {
			return leaderless(err)
		}
	}
}

// Replace gives node, whose data are lost or damaged, a new life: its replica is removed and a new one invited. The node starts under it with an
// empty data directory.
func (c *Cluster) Replace(ctx context.Context, node log.NodeID) error {
	row, known, err := c.node(node)
	if err != nil {
		return err
	}
	if !known {
		return unknownNode(node)
	}
	if node == c.o.Identity.Node {
		return problem.New(problem.BadRequest, "node %d runs and answers this command: it needs no replacement", node).
			WithHint("ask another node")
	}
	if err := c.removeReplicas(ctx, node); err != nil {
		return err
	}
	members, err := c.o.Log.Members(ctx)
	if err != nil {
		return leaderless(err)
	}
	return c.invite(ctx, members, node, row.Raft)
}

// Transfer makes node the leader.
func (c *Cluster) Transfer(ctx context.Context, node log.NodeID) error {
	members, err := c.o.Log.Members(ctx)
	if err != nil {
		return leaderless(err)
	}
	i := slices.IndexFunc(members.List, func(m log.Member) bool { return m.Replica.Node() == node && m.Voter })
	if i < 0 {
		return unknownNode(node)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return leaderless(c.o.Log.TransferLeader(ctx, members.List[i].Replica))
}

func unknownNode(node log.NodeID) error {
	return problem.New(problem.NotFound, "there is no node %d that votes in the cluster", node).WithHint("\"kalam cluster status\" lists the nodes")
}
