package cluster

import (
	"context"
	"time"

	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// Flusher runs flush jobs on this node: *flusher.Flusher.
type Flusher interface {
	Flush(ctx context.Context, t *materializer.Table) (string, error)
	Kill(ctx context.Context, id string) error
}

// Jobs starts and kills flush jobs on the node that leads, wherever it is asked. Safe for concurrent use.
type Jobs struct {
	cluster *Cluster
	local   Flusher
}

// Jobs returns the Jobs of the cluster, of which f runs those of this node. Other nodes can ask from then on.
func (c *Cluster) Jobs(f Flusher) *Jobs {
	j := &Jobs{cluster: c, local: f}
	c.jobs.Store(j)
	return j
}

// jobRequest asks the leader to start a job of a table, or to kill one.
type jobRequest struct {
	Table log.TableID `json:"table,omitempty"`
	Job   string      `json:"job,omitempty"`
}

// Flush starts a flush of t, or answers with the one that is active, and returns the job's id.
func (j *Jobs) Flush(ctx context.Context, t *materializer.Table) (string, error) {
	var id string
	err := j.onLeader(ctx, func() (err error) {
		id, err = j.local.Flush(ctx, t)
		return err
	}, pathFlush, jobRequest{Table: t.ID}, &id)
	return id, err
}

// Kill cancels a job.
func (j *Jobs) Kill(ctx context.Context, id string) error {
	return j.onLeader(ctx, func() error { return j.local.Kill(ctx, id) }, pathKill, jobRequest{Job: id}, new(string))
}

// leaderWait is how long a request waits for a leader, leaderPoll how often it looks.
const (
	leaderWait = 10 * time.Second
	leaderPoll = 100 * time.Millisecond
)

// onLeader runs here if this node leads, else asks the leader. While there is none it waits a while.
func (j *Jobs) onLeader(ctx context.Context, here func() error, path string, q jobRequest, answer *string) error {
	c := j.cluster
	ctx, cancel := context.WithTimeout(ctx, leaderWait)
	defer cancel()
	for {
		leader := c.o.Log.Leader()
		if c.o.Net == nil || leader.Replica == c.o.Identity.Replica {
			return here()
		}
		err := errNotLeader()
		if leader.Replica != 0 {
			err = c.caller.callLong(ctx, c.targetOf(leader), path, q, answer)
		}
		if err == nil || !problem.Is(err, problem.Overloaded) && problem.As(err) != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return problem.New(problem.Overloaded, "the node that runs jobs does not answer").WithHint("see \"kalam cluster status\" and try again").Because(err)
		case <-time.After(leaderPoll):
		}
	}
}

// targetOf returns where the leader is reached.
func (c *Cluster) targetOf(leader log.Leader) string {
	if n, ok, err := c.node(leader.Node()); err == nil && ok {
		return n.Target
	}
	return log.TargetOf(leader.Node())
}

func errNotLeader() error {
	return problem.New(problem.Overloaded, "this node does not lead")
}

// serveFlush answers Flush of another node.
func (c *Cluster) serveFlush(ctx context.Context, q jobRequest) (string, error) {
	j := c.jobs.Load()
	if j == nil || !c.o.Log.Leads() {
		return "", errNotLeader()
	}
	t := c.o.State.Catalog().TableByID(q.Table)
	if t == nil {
		return "", problem.New(problem.UnknownTable, "the table with id %d does not exist", q.Table)
	}
	return j.local.Flush(identity.NewContext(ctx, identity.Root), t)
}

// serveKill answers Kill of another node.
func (c *Cluster) serveKill(ctx context.Context, q jobRequest) (string, error) {
	j := c.jobs.Load()
	if j == nil || !c.o.Log.Leads() {
		return "", errNotLeader()
	}
	return q.Job, j.local.Kill(identity.NewContext(ctx, identity.Root), q.Job)
}
