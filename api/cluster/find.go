package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"kalamlog.dev/kalam/internal/peer"
	"kalamlog.dev/kalam/log"
)

// Seat is where a node looks for its place.
type Seat struct {
	Dir    string                // data directory; must exist
	Node   log.NodeID            // as configured
	Peers  map[log.NodeID]string // as configured, addresses
	Net    *peer.Net             // nil: the node is alone
	Book   *peer.Book            // gets the addresses that a member tells; with Net
	Logger *slog.Logger
}

// pollEvery is how often a node without a place asks again, tellEvery after how many tries it says what it waits for.
const (
	pollEvery = 250 * time.Millisecond
	tellEvery = 40
)

// Find returns the identity under which the node starts, and makes it durable. A directory that has one keeps it, unless the members say
// that it was removed or replaced. An empty one gets its place from the members; if no cluster exists yet, a majority of the configured nodes form it together. Find waits
// as long as neither is possible.
func Find(ctx context.Context, s Seat) (log.Identity, error) {
	id, err := log.ReadIdentity(s.Dir)
	switch {
	case err == nil:
		if err := s.confirm(ctx, id); err != nil {
			return log.Identity{}, err
		}
		return id, nil
	case !errors.Is(err, fs.ErrNotExist):
		return log.Identity{}, err
	}
	if s.Net == nil {
		id = log.FirstIdentity(s.Node, s.Node)
	} else if id, err = s.search(ctx); err != nil {
		return log.Identity{}, err
	}
	if err := log.WriteIdentity(s.Dir, id); err != nil {
		return log.Identity{}, err
	}
	return id, s.take(ctx, id)
}

// take tells the members that a replica that joins is used from now on: should its data be lost it must not start again from nothing. A replica of
// a cluster that is only being formed has nobody to tell; it registers when it runs.
func (s Seat) take(ctx context.Context, id log.Identity) error {
	if len(id.Members) > 0 {
		return nil
	}
	c := newCaller(s.Net)
	defer c.close()
	for {
		for _, node := range slices.Sorted(maps.Keys(s.Peers)) {
			if node != s.Node && c.call(ctx, log.TargetOf(node), pathTake, State{Node: s.Node, Replica: id.Replica}, new(Place)) == nil {
				return nil
			}
		}
		s.Logger.Warn("waiting for a member of the cluster to take this node in")
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
}

// confirm refuses an identity that is not, or no longer, this node's.
func (s Seat) confirm(ctx context.Context, id log.Identity) error {
	if id.Node != s.Node {
		return fmt.Errorf("the data in %s are those of node %d, cluster.node_id is %d", s.Dir, id.Node, s.Node)
	}
	if s.Net == nil {
		if len(id.Members) != 1 {
			return fmt.Errorf("the data in %s are those of a node of a cluster: set cluster.raft and cluster.peers", s.Dir)
		}
		return nil
	}
	c := newCaller(s.Net)
	defer c.close()
	place, err := s.ask(ctx, c)
	if err != nil || place == nil {
		return nil // nobody can tell now: start, and hear it from the leader
	}
	switch {
	case id.Cluster != "" && place.Cluster != "" && place.Cluster != id.Cluster:
		return fmt.Errorf("the data in %s belong to cluster %s, the peers are cluster %s", s.Dir, id.Cluster, place.Cluster)
	case !place.Known:
		return fmt.Errorf("node %d was removed from the cluster: to add it again, empty %s and run \"kalam cluster add %d=HOST:PORT\" against a member", id.Node, s.Dir, id.Node)
	case place.Replica != id.Replica:
		return fmt.Errorf("node %d was replaced: the data in %s are of no use any more, empty it and start again", id.Node, s.Dir)
	case !place.Used:
		return s.take(ctx, id)
	}
	return nil
}

// search finds a place for an empty directory.
func (s Seat) search(ctx context.Context) (log.Identity, error) {
	first := s.first()
	s.announce(first)
	if len(first) == 1 && len(s.Peers) <= 1 {
		return log.FirstIdentity(s.Node, s.Node), nil
	}
	c := newCaller(s.Net)
	defer c.close()
	for tries := 0; ; tries++ {
		id, why, err := s.try(ctx, c, first)
		if err != nil || id.Replica != 0 {
			return id, err
		}
		if tries%tellEvery == 0 {
			s.Logger.Warn("this node has no place in a cluster yet, waiting", "reason", why)
		}
		select {
		case <-ctx.Done():
			return log.Identity{}, context.Cause(ctx)
		case <-time.After(pollEvery):
		}
	}
}

// first returns the nodes that would form a new cluster: those configured, if this one is among them.
func (s Seat) first() []log.NodeID {
	if len(s.Peers) == 0 {
		return []log.NodeID{s.Node}
	}
	if _, ok := s.Peers[s.Node]; !ok {
		return nil
	}
	return slices.Sorted(maps.Keys(s.Peers))
}

// announce lets the others know that this node has no place yet.
func (s Seat) announce(first []log.NodeID) {
	s.Net.Handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != pathState {
			http.Error(w, "the node is starting", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(State{Node: s.Node, First: first})
	}))
}

// try looks once. Without an identity and error, why says what is missing.
func (s Seat) try(ctx context.Context, c caller, first []log.NodeID) (id log.Identity, why string, err error) {
	states, unreachable := s.states(ctx, c)
	formed := slices.ContainsFunc(states, func(st State) bool { return st.Replica != 0 })
	if formed {
		return s.join(ctx, c)
	}
	for _, st := range states {
		if !slices.Equal(st.First, first) {
			return id, "", fmt.Errorf("node %d and node %d are configured with different cluster.peers: %v and %v", s.Node, st.Node, first, st.First)
		}
	}
	switch {
	case len(first) == 0:
		return id, "no member of a cluster answers: " + unreachable, nil
	case 2*(len(states)+1) <= len(first):
		return id, "a new cluster needs a majority of its nodes to be up: " + unreachable, nil
	}
	return log.FirstIdentity(s.Node, first...), "", nil
}

// join takes the place that a member knows of.
func (s Seat) join(ctx context.Context, c caller) (id log.Identity, why string, err error) {
	place, err := s.ask(ctx, c)
	switch {
	case err != nil || place == nil:
		return id, "the cluster does not answer yet", nil //nolint:nilerr // asked again
	case !place.Known:
		return id, fmt.Sprintf("run \"kalam cluster add %d=HOST:PORT\" against a member", s.Node), nil
	case place.Used:
		return id, "", fmt.Errorf("the cluster has had node %d before, and its data are not in %s: if they are lost, run \"kalam cluster replace %d\" "+
			"against a member and start this node again", s.Node, s.Dir, s.Node)
	}
	for target, address := range place.Addresses {
		s.Book.Set(target, address)
	}
	id = log.JoiningIdentity(place.Replica, place.Cluster)
	id.Voter = place.Voter
	return id, "", nil
}

// states asks every other configured node.
func (s Seat) states(ctx context.Context, c caller) (states []State, unreachable string) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var silent []string
	for node := range s.Peers {
		if node == s.Node {
			continue
		}
		wg.Go(func() {
			var st State
			err := c.call(ctx, log.TargetOf(node), pathState, nil, &st)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				silent = append(silent, err.Error())
				return
			}
			states = append(states, st)
		})
	}
	wg.Wait()
	slices.Sort(silent)
	return states, strings.Join(silent, "; ")
}

// ask returns what the first member that answers knows of this node's place, nil if none does.
func (s Seat) ask(ctx context.Context, c caller) (*Place, error) {
	var errs []error
	for _, node := range slices.Sorted(maps.Keys(s.Peers)) {
		if node == s.Node {
			continue
		}
		place := new(Place)
		if err := c.call(ctx, log.TargetOf(node), pathPlace, State{Node: s.Node}, place); err != nil {
			errs = append(errs, err)
			continue
		}
		return place, nil
	}
	return nil, errors.Join(errs...)
}
