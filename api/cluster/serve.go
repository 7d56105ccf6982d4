package cluster

import (
	"context"
	"encoding/json"
	"net/http"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
)

// handler answers the other nodes.
func (c *Cluster) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathState, func(w http.ResponseWriter, _ *http.Request) { answer(w, c.state(), nil) })
	mux.HandleFunc("POST "+pathPlace, func(w http.ResponseWriter, r *http.Request) { question(w, r, c.place) })
	mux.HandleFunc("POST "+pathTake, func(w http.ResponseWriter, r *http.Request) { question(w, r, c.taken) })
	return mux
}

// question decodes the body, asks f and answers.
func question(w http.ResponseWriter, r *http.Request, f func(context.Context, State) (Place, error)) {
	var st State
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&st); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p, err := f(r.Context(), st)
	answer(w, p, err)
}

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// state is what this node tells of itself.
func (c *Cluster) state() State {
	return State{
		Node: c.o.Identity.Node, Replica: c.o.Identity.Replica, Cluster: c.ID(), Ready: true, Leads: c.o.Log.Leads(),
		Position: c.o.Log.Position().String(), Version: c.o.Version,
	}
}

// place answers a node that asks where it belongs.
func (c *Cluster) place(ctx context.Context, asker State) (Place, error) {
	members, err := c.o.Log.Members(ctx) // what it includes is applied here on return
	if err != nil {
		return Place{}, err
	}
	p := Place{Cluster: c.ID(), Addresses: c.o.Book.All()}
	m, ok := members.Of(asker.Node)
	if !ok {
		return p, nil
	}
	p.Known, p.Replica, p.Voter = true, m.Replica, m.Voter
	row, ok, err := c.node(asker.Node)
	p.Used = ok && row.Replica == m.Replica && row.State == running
	return p, err
}

// taken notes that a replica starts to run.
func (c *Cluster) taken(ctx context.Context, asker State) (Place, error) {
	row, ok, err := c.node(asker.Node)
	if err != nil {
		return Place{}, err
	}
	if ok && row.Replica == asker.Replica && row.State == running {
		return c.place(ctx, asker)
	}
	if !ok {
		row = Node{ID: asker.Node, Target: log.TargetOf(asker.Node), Raft: c.o.Book.All()[log.TargetOf(asker.Node)]}
	}
	row.Replica, row.State = asker.Replica, running
	if err := c.put(ctx, row); err != nil {
		return Place{}, err
	}
	return c.place(ctx, asker)
}

// leaderless explains why nothing can be changed now; nil stays nil.
func leaderless(err error) error {
	if err == nil || problem.As(err) != nil {
		return err
	}
	return problem.New(problem.Internal, "the members of the cluster cannot be changed").Because(err)
}
