package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"kalamlog.dev/kalam/internal/chaos/cluster"
)

func memberFaults() []*fault {
	return []*fault{
		{name: "wiped-node", nodes: 3, majority: true, short: true, inject: wipe},
		{name: "lagging-follower", nodes: 3, majority: true, inject: lag},
		{name: "members-change", nodes: 3, majority: true, inject: changeMembers},
		{name: "transfer", nodes: 3, majority: true, inject: transfer},
	}
}

// wipe takes all data from a follower and replaces it.
func wipe(ctx context.Context, s *scene) (func(context.Context) error, error) {
	n, err := s.follower(ctx)
	if err != nil {
		return nil, err
	}
	s.strike()
	n.Kill()
	return func(ctx context.Context) error { return s.Replace(ctx, n) }, nil
}

// What is written while a follower is away: more than the Raft log keeps for followers that are late.
const (
	floodRows = 480
	floodSize = 256 << 10 // bytes of a row
)

// lag cuts a follower off until what it has missed is no longer in the Raft log of the others: it needs a snapshot.
func lag(ctx context.Context, s *scene) (func(context.Context) error, error) {
	leader, err := s.leader(ctx)
	if err != nil {
		return nil, err
	}
	table := fmt.Sprintf("flood%d.rows", s.rnd.Uint32())
	namespace, _, _ := strings.Cut(table, ".")
	if _, err := leader.Client.SQL(ctx, fmt.Sprintf("CREATE SCHEMA %s; CREATE TABLE %s (id BIGINT PRIMARY KEY, v TEXT)", namespace, table)); err != nil {
		return nil, fmt.Errorf("make table to flood: %w", err)
	}
	s.strike()
	if err := s.Network.Isolate(s.others(leader)[0].Place); err != nil {
		return nil, err
	}
	filler := strings.Repeat("x", floodSize)
	for i := range floodRows {
		body := strings.NewReader(fmt.Sprintf(`{"id":%d,"v":%q}`, i, filler))
		path := "/v1/tables/" + strings.Replace(table, ".", "/", 1) + "/rows?mode=upsert"
		if err := leader.Client.Call(ctx, http.MethodPost, path, "application/json", body, nil, nil); err != nil {
			return nil, fmt.Errorf("flood: %w", err)
		}
	}
	s.note("%d MiB written without it", floodRows*floodSize>>20)
	return s.heal, nil
}

// changeMembers takes a follower out for good and adds an empty node on its host under a new number.
func changeMembers(ctx context.Context, s *scene) (func(context.Context) error, error) {
	n, err := s.follower(ctx)
	if err != nil {
		return nil, err
	}
	s.strike()
	if err := s.Remove(ctx, n); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return s.Add(ctx, n) }, nil
}

// transfer moves the leadership by command, from node to node.
func transfer(ctx context.Context, s *scene) (func(context.Context) error, error) {
	moves := 0
	for until := time.Now().Add(s.hold); time.Now().Before(until) && ctx.Err() == nil; moves++ {
		n, err := s.follower(ctx)
		if err != nil {
			return nil, err
		}
		if moves == 0 {
			s.strike()
		}
		if err := s.Transfer(ctx, n); err != nil {
			return nil, err
		}
		wait(ctx, 2*time.Second)
	}
	s.note("%d transfers", moves)
	return nothing, nil
}

// replace brings back a node whose data are damaged. A single one has nobody to copy from: it gets its backup.
func (s *scene) replace(ctx context.Context, n *cluster.Node) error {
	if len(s.Nodes()) == 1 {
		n.Kill()
		return errors.Join(n.Restore(), n.Start(ctx))
	}
	return errors.Join(n.DropBackup(), s.Replace(ctx, n))
}
