package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"kalamlog.dev/kalam/internal/chaos/cluster"
)

// pauseTime is longer than two election timeouts.
const pauseTime = 5 * time.Second

func processFaults() []*fault {
	return []*fault{
		{name: "kill-leader", nodes: 1, majority: true, short: true, inject: killLeader},
		{name: "kill-majority", nodes: 3, inject: killMajority},
		{name: "kill-all", nodes: 1, short: true, inject: killAll},
		{name: "pause-leader", nodes: 1, majority: true, short: true, inject: pauseLeader},
		{name: "rolling-restart", nodes: 1, majority: true, inject: rollingRestart},
		{name: "clock-skew", nodes: 1, majority: true, short: true, inject: skewClock},
	}
}

func killLeader(ctx context.Context, s *scene) (func(context.Context) error, error) {
	n, err := s.leader(ctx)
	if err != nil {
		return nil, err
	}
	s.strike()
	n.Kill()
	return s.start, nil
}

func killMajority(_ context.Context, s *scene) (func(context.Context) error, error) {
	for _, n := range s.majority() {
		n.Kill()
	}
	return s.start, nil
}

func killAll(_ context.Context, s *scene) (func(context.Context) error, error) {
	return s.start, cluster.Each(s.Nodes(), func(n *cluster.Node) error {
		n.Kill()
		return nil
	})
}

// pauseLeader stops the leader for long enough that another is elected, and lets it go on in the belief that it leads.
func pauseLeader(ctx context.Context, s *scene) (func(context.Context) error, error) {
	n, err := s.leader(ctx)
	if err != nil {
		return nil, err
	}
	s.strike()
	n.Pause()
	wait(ctx, min(s.hold, pauseTime))
	n.Resume()
	return nothing, nil
}

// rollingRestart ends and starts the nodes one after the other, as an upgrade does.
func rollingRestart(ctx context.Context, s *scene) (func(context.Context) error, error) {
	for _, n := range s.others(nil) {
		if err := n.Stop(ctx); err != nil {
			return nil, err
		}
		if err := n.Start(ctx); err != nil {
			return nil, err
		}
		wait(ctx, s.hold/time.Duration(2*len(s.Nodes())))
	}
	return nothing, nil
}

// skewClock restarts a node with a clock that is an hour off.
func skewClock(ctx context.Context, s *scene) (func(context.Context) error, error) {
	n, err := s.leader(ctx)
	if err != nil {
		return nil, err
	}
	off := time.Hour
	if s.rnd.IntN(2) == 0 {
		off = -off
	}
	s.note("node %d by %v", n.ID, off)
	restart := func(ctx context.Context) error {
		if err := n.Stop(ctx); err != nil {
			return err
		}
		return n.Start(ctx)
	}
	s.strike()
	n.SetClock(off)
	if err := restart(ctx); err != nil {
		return nil, err
	}
	if err := clockIsOff(ctx, s, n, off); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		n.SetClock(0)
		return restart(ctx)
	}, nil
}

// clockIsOff lets the node write down the time.
func clockIsOff(ctx context.Context, s *scene, n *cluster.Node, off time.Duration) error {
	schema := fmt.Sprintf("clock%d", s.rnd.Uint32())
	results, err := n.Client.SQL(ctx, fmt.Sprintf(`CREATE SCHEMA %[1]s; CREATE TABLE %[1]s.t (id BIGINT PRIMARY KEY, written TIMESTAMPTZ DEFAULT now());
		INSERT INTO %[1]s.t (id) VALUES (1); SELECT written FROM %[1]s.t`, schema))
	if err != nil {
		return fmt.Errorf("write down the time: %w", err)
	}
	var text string
	if err := json.Unmarshal(results[3].Rows[0][0], &text); err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return err
	}
	if d := time.Until(at) - off; d.Abs() > time.Minute {
		return fmt.Errorf("node %d wrote %s: its clock is not off by %v", n.ID, text, off)
	}
	return nil
}

// wait waits, or until ctx is done.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
