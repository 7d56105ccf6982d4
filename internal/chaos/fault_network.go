package chaos

import (
	"context"
	"errors"
)

func networkFaults() []*fault {
	return []*fault{
		{name: "isolate-leader", nodes: 3, majority: true, short: true, inject: isolateLeader},
		{name: "isolate-follower", nodes: 3, majority: true, inject: isolateFollower},
		{name: "deaf-leader", nodes: 3, majority: true, inject: deafLeader},
		{name: "mute-leader", nodes: 3, majority: true, inject: muteLeader},
		{name: "majority-ring", nodes: 3, majority: true, inject: majorityRing},
		{name: "packet-loss", nodes: 3, majority: true, short: true, inject: packetLoss},
		{name: "reset", nodes: 3, majority: true, inject: resetConnections},
		{name: "slow-link", nodes: 3, inject: slowLink},
	}
}

func (s *scene) heal(context.Context) error { return s.Network.Heal() }

func isolateLeader(ctx context.Context, s *scene) (func(context.Context) error, error) {
	n, err := s.leader(ctx)
	if err != nil {
		return nil, err
	}
	s.strike()
	return s.heal, s.Network.Isolate(n.Place)
}

func isolateFollower(ctx context.Context, s *scene) (func(context.Context) error, error) {
	n, err := s.follower(ctx)
	if err != nil {
		return nil, err
	}
	s.strike()
	return s.heal, s.Network.Isolate(n.Place)
}

// deafLeader lets the leader send and hear nothing.
func deafLeader(ctx context.Context, s *scene) (func(context.Context) error, error) {
	n, err := s.leader(ctx)
	if err != nil {
		return nil, err
	}
	s.strike()
	var errs []error
	for _, other := range s.others(n) {
		errs = append(errs, s.Network.CutOneWay(other.Place, n.Place))
	}
	return s.heal, errors.Join(errs...)
}

// muteLeader lets the leader hear and reach nobody.
func muteLeader(ctx context.Context, s *scene) (func(context.Context) error, error) {
	n, err := s.leader(ctx)
	if err != nil {
		return nil, err
	}
	s.strike()
	var errs []error
	for _, other := range s.others(n) {
		errs = append(errs, s.Network.CutOneWay(n.Place, other.Place))
	}
	return s.heal, errors.Join(errs...)
}

// majorityRing cuts the leader from one other node: both still reach a majority, by the third.
func majorityRing(ctx context.Context, s *scene) (func(context.Context) error, error) {
	n, err := s.leader(ctx)
	if err != nil {
		return nil, err
	}
	other := s.others(n)[0]
	s.strike()
	return s.heal, errors.Join(s.Network.CutOneWay(n.Place, other.Place), s.Network.CutOneWay(other.Place, n.Place))
}

func packetLoss(_ context.Context, s *scene) (func(context.Context) error, error) {
	return s.heal, s.Network.Lose(5)
}

func resetConnections(_ context.Context, s *scene) (func(context.Context) error, error) {
	return s.heal, s.Network.Reset(1)
}

func slowLink(_ context.Context, s *scene) (func(context.Context) error, error) {
	return s.heal, s.Network.Slow(300)
}
