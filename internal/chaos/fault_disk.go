package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"kalamlog.dev/kalam/internal/chaos/cluster"
)

// exitTime is how long a node may take to end after its disk has failed.
const exitTime = 10 * time.Second

func diskFaults() []*fault {
	return []*fault{
		{name: "power-loss-one", nodes: 1, majority: true, short: true, inject: powerLossOne},
		{name: "power-loss-all", nodes: 1, short: true, inject: powerLossAll},
		{name: "pause-power-loss", nodes: 3, inject: pausePowerLoss},
		{name: "sync-error", nodes: 1, majority: true, short: true, inject: syncError},
		{name: "slow-sync", nodes: 1, majority: true, single: true, inject: slowSync},
		{name: "full-disk", nodes: 1, short: true, inject: fullDisk},
		{name: "bit-flip-segment", nodes: 1, majority: true, short: true, inject: damage("segments", cluster.FlipBit)},
		{name: "bit-flip-raft", nodes: 1, majority: true, inject: damage("raft", cluster.FlipBit)},
		{name: "bit-flip-state", nodes: 1, majority: true, inject: damage("state", cluster.FlipBit)},
		{name: "cut-segment", nodes: 1, majority: true, inject: damage("segments", cluster.CutOff)},
		{name: "lying-disks", nodes: 1, teeth: true, inject: lyingDisks},
	}
}

// lyingDisks lets all disks ignore syncs, and takes their power away.
func lyingDisks(ctx context.Context, s *scene) (func(context.Context) error, error) {
	s.strike()
	for _, n := range s.Nodes() {
		n.Disk.Lie()
	}
	wait(ctx, s.hold/2)
	for _, n := range s.Nodes() {
		n.Disk.PowerOff()
	}
	var errs []error
	for _, n := range s.Nodes() {
		errs = append(errs, n.LosePower(0, s.rnd))
	}
	return s.start, errors.Join(errs...)
}

// keepSome draws how many percent of what was not synced survive.
func (s *scene) keepSome() int { return []int{0, 50, 100}[s.rnd.IntN(3)] }

func powerLossOne(ctx context.Context, s *scene) (func(context.Context) error, error) {
	n, err := s.leader(ctx)
	if err != nil {
		return nil, err
	}
	s.strike()
	return s.start, s.losePower(n)
}

func (s *scene) losePower(n *cluster.Node) error {
	keep := s.keepSome()
	pages, names := n.Disk.Unsynced()
	s.note("node %d: %d pages and %d names not synced, %d %% kept", n.ID, pages, names, keep)
	return n.LosePower(keep, s.rnd)
}

// powerLossAll takes the power from all disks at one moment.
func powerLossAll(_ context.Context, s *scene) (func(context.Context) error, error) {
	for _, n := range s.Nodes() {
		n.Disk.PowerOff()
	}
	var errs []error
	for _, n := range s.Nodes() {
		errs = append(errs, s.losePower(n))
	}
	return s.start, errors.Join(errs...)
}

// pausePowerLoss lets a majority sleep while the rest loses power, then the other way round.
func pausePowerLoss(ctx context.Context, s *scene) (func(context.Context) error, error) {
	n, err := s.leader(ctx)
	if err != nil {
		return nil, err
	}
	others := s.others(n)
	for _, other := range others {
		other.Pause()
	}
	wait(ctx, s.hold/4)
	errs := []error{s.losePower(n)}
	for _, other := range others {
		other.Resume()
	}
	errs = append(errs, n.Start(ctx))
	wait(ctx, s.hold/4)
	n.Pause()
	for _, other := range others {
		errs = append(errs, s.losePower(other))
	}
	n.Resume()
	return s.start, errors.Join(errs...)
}

// syncError fails one sync: the node must end and acknowledge nothing on top of it.
func syncError(ctx context.Context, s *scene) (func(context.Context) error, error) {
	n, err := s.leader(ctx)
	if err != nil {
		return nil, err
	}
	s.strike()
	n.Disk.FailSync(1 + s.rnd.IntN(20))
	if err := n.AwaitExit(ctx, exitTime); err != nil {
		if failed := n.Disk.FailedSyncs(); failed == 0 {
			return nil, errors.Join(errors.New("no sync came to fail"), err)
		}
		s.violation("a failed sync ends the node", "node %d: %v", n.ID, err)
	}
	return s.start, s.losePower(n) // what was not synced cannot be trusted: the pages are gone
}

func slowSync(ctx context.Context, s *scene) (func(context.Context) error, error) {
	n, err := s.leader(ctx)
	if err != nil {
		return nil, err
	}
	s.strike()
	n.Disk.DelaySync(200 * time.Millisecond)
	return func(context.Context) error {
		n.Disk.DelaySync(0)
		return nil
	}, nil
}

// fullDisk leaves a leader a little space, which its writes use up. It must refuse writes, live on, and recover by itself.
func fullDisk(ctx context.Context, s *scene) (func(context.Context) error, error) {
	n, err := s.leader(ctx)
	if err != nil {
		return nil, err
	}
	s.strike()
	n.Disk.LimitSpace(2 << 20)
	return func(ctx context.Context) error {
		running := n.Running()
		n.Disk.FreeSpace()
		if !running {
			s.violation("a full disk ends no node", "node %d ended", n.ID)
		}
		return s.start(ctx)
	}, nil
}

// damage harms a file of a stopped node. It must be found, by the node that does not start or by kalam verify, or the data must be
// identical, which the checks of the round and of the end see to. A node whose damage is found is replaced.
func damage(kind string, do func(*os.File, *rand.Rand) (string, error)) func(context.Context, *scene) (func(context.Context) error, error) {
	return func(ctx context.Context, s *scene) (func(context.Context) error, error) {
		n, err := s.follower(ctx)
		if err != nil {
			return nil, err
		}
		s.strike()
		n.Kill()
		if err := n.Backup(); err != nil {
			return nil, err
		}
		what, err := n.Damage(kind, s.rnd, do)
		if err != nil {
			return nil, err
		}
		s.note("node %d: %s", n.ID, what)
		return func(ctx context.Context) error { return s.afterDamage(ctx, n) }, nil
	}
}

func (s *scene) afterDamage(ctx context.Context, n *cluster.Node) error {
	verified := n.Verify(ctx)
	started := n.Start(ctx)
	if started != nil {
		s.note("it does not start: %s", lastLine(started))
	}
	if verified != nil {
		s.note("verify: %s", lastLine(verified))
	}
	if started == nil && verified == nil {
		s.note("it starts, and verify finds nothing")
		return n.DropBackup()
	}
	return s.replace(ctx, n)
}

// lastLine returns the line of an error that says why, shortened.
func lastLine(err error) string {
	why := ""
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "kalam: ") || why == "" {
			why = line
		}
	}
	return why[:min(len(why), 300)]
}
