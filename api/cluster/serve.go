package cluster

import (
	"context"
	"encoding/json"
	"net/http"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
)

// handler answers the other nodes.
func (c *Cluster) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathState, func(w http.ResponseWriter, _ *http.Request) { answer(w, c.state(), nil) })
	mux.HandleFunc("POST "+pathPlace, func(w http.ResponseWriter, r *http.Request) { question(w, r, c.place) })
	mux.HandleFunc("POST "+pathTake, func(w http.ResponseWriter, r *http.Request) { question(w, r, c.taken) })
	mux.HandleFunc("POST "+pathFlush, func(w http.ResponseWriter, r *http.Request) { question(w, r, c.serveFlush) })
	mux.HandleFunc("POST "+pathKill, func(w http.ResponseWriter, r *http.Request) { question(w, r, c.serveKill) })
	mux.HandleFunc("POST "+pathSpread, func(w http.ResponseWriter, r *http.Request) { question(w, r, c.files.take) })
	mux.HandleFunc("GET "+pathFiles+"{path...}", c.files.serve)
	return mux
}

// question decodes the body, asks f and answers.
func question[Q, A any](w http.ResponseWriter, r *http.Request, f func(context.Context, Q) (A, error)) {
	var q Q
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxMessage)).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a, err := f(r.Context(), q)
	answer(w, a, err)
}

// answer sends v, or a problem as such, or 503 and an error of ours as text.
func answer(w http.ResponseWriter, v any, err error) {
	status := http.StatusOK
	if p := problem.As(err); p != nil {
		status = http.StatusConflict
		v = wire.Error{Code: string(p.Code), Message: p.Message, Hint: p.Hint}
	} else if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// state is what this node tells of itself.
func (c *Cluster) state() State {
	return State{
		Node: c.o.Identity.Node, Replica: c.o.Identity.Replica, Cluster: c.ID(), Ready: true,
		Position: c.o.Log.Position().String(), Version: c.o.Version,
		DiskFull: c.o.Log.DiskFull(),
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
		target := log.TargetOf(asker.Node)
		row = Node{ID: asker.Node, Target: target, Raft: c.o.Book.All()[target]}
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
