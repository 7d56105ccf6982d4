package chaos

import (
	"context"
	"math/rand/v2"
	"time"

	"kalamlog.dev/kalam/internal/chaos/cluster"
)

// fault is one way to break things.
type fault struct {
	name  string
	nodes int // it makes sense with so many, at least
	// majority says that a majority of three can serve all the time, but for an election.
	majority bool
	// single says that even a single node serves all the time.
	single bool
	short  bool // part of the short form
	teeth  bool // no server can stand it: it shows that the judges find what is lost, and runs only when it is asked for
	inject func(context.Context, *scene) (heal func(context.Context) error, err error)
}

// keepsMajority reports whether writes must go on during the fault.
func (f *fault) keepsMajority(nodes int) bool { return f.single || f.majority && nodes >= 3 }

// scene is what a fault works on.
type scene struct {
	*cluster.Cluster
	rnd  *rand.Rand
	hold time.Duration // how long the fault lasts
	// strike says that the harm is done now; without it, the moment of injection counts.
	strike func()
	note   func(format string, args ...any)
	// violation records a promise that the fault itself saw broken.
	violation func(rule, format string, args ...any)
}

// leader returns the node that leads.
func (s *scene) leader(ctx context.Context) (*cluster.Node, error) {
	place, err := s.Leader(ctx)
	if err != nil {
		return nil, err
	}
	return s.Node(place), nil
}

// others returns all nodes but one, in a random order.
func (s *scene) others(n *cluster.Node) []*cluster.Node {
	var others []*cluster.Node
	for _, i := range s.rnd.Perm(len(s.Nodes())) {
		if other := s.Nodes()[i]; other != n {
			others = append(others, other)
		}
	}
	return others
}

// follower returns a random node that does not lead; the only one of a single node.
func (s *scene) follower(ctx context.Context) (*cluster.Node, error) {
	leader, err := s.leader(ctx)
	if err != nil || len(s.Nodes()) == 1 {
		return leader, err
	}
	return s.others(leader)[0], nil
}

// majority returns a random majority of the nodes.
func (s *scene) majority() []*cluster.Node {
	return s.others(nil)[:len(s.Nodes())/2+1]
}

// start starts every node that does not run.
func (s *scene) start(ctx context.Context) error { return s.Start(ctx) }

// faults returns every fault, in the order in which they are run.
func faults() []*fault {
	all := []*fault{{
		name: "none", nodes: 1, majority: true, single: true, short: true,
		inject: func(context.Context, *scene) (func(context.Context) error, error) { return nothing, nil },
	}}
	all = append(all, processFaults()...)
	all = append(all, networkFaults()...)
	all = append(all, diskFaults()...)
	all = append(all, memberFaults()...)
	return all
}

func nothing(context.Context) error { return nil }
