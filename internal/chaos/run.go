package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kalamlog.dev/kalam/internal/chaos/check"
	"kalamlog.dev/kalam/internal/chaos/cluster"
)

// Options say what to run.
type Options struct {
	Binary string    // path of kalam
	Dir    string    // an empty directory for everything; kept when something is violated
	Nodes  int       // 1 or 3
	Seed   uint64    // of what is drawn
	Only   []string  // names of faults; empty: all that make sense
	Short  bool      // fewer faults, for less time
	Flush  bool      // move changes to Parquet every few seconds
	Rate   int       // operations a second, of all clients together
	Out    io.Writer // progress and report
}

// Names returns the names of all faults.
func Names() []string {
	var names []string
	for _, f := range faults() {
		names = append(names, f.name)
	}
	return names
}

// choose returns the faults to run.
func (o *Options) choose() ([]*fault, error) {
	var chosen []*fault
	for _, name := range o.Only {
		if !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("no fault is called %s: there are %s", name, strings.Join(Names(), ", "))
		}
	}
	for _, f := range faults() {
		asked := slices.Contains(o.Only, f.name)
		if f.nodes > o.Nodes {
			if asked {
				return nil, fmt.Errorf("%s needs %d nodes", f.name, f.nodes)
			}
			continue
		}
		if asked || len(o.Only) == 0 && !f.teeth && (f.short || !o.Short) {
			chosen = append(chosen, f)
		}
	}
	return chosen, nil
}

// times are how long the parts of a round take.
type times struct{ quiet, hold, calm time.Duration }

func (o *Options) times() times {
	if o.Short {
		return times{quiet: 2 * time.Second, hold: 6 * time.Second, calm: 2 * time.Second}
	}
	return times{quiet: 5 * time.Second, hold: 20 * time.Second, calm: 5 * time.Second}
}

// Run runs every fault in turn and writes the report. The error says why the run could not be completed; what was violated is in the
// report. The process must be inside a network sandbox.
func Run(ctx context.Context, o Options) (*Report, error) {
	chosen, err := o.choose()
	if err != nil {
		return nil, err
	}
	r := &run{Options: o, rnd: rand.New(rand.NewPCG(o.Seed, 0)), report: &Report{Seed: o.Seed, Nodes: o.Nodes}}
	if r.cluster, err = cluster.New(cluster.Options{Binary: o.Binary, Dir: o.Dir, Nodes: o.Nodes, Flush: o.Flush}); err != nil {
		return nil, err
	}
	err = r.all(ctx, chosen)
	return r.report, errors.Join(err, r.cluster.Close())
}

// run is the state of a run.
type run struct {
	Options
	rnd     *rand.Rand
	cluster *cluster.Cluster
	report  *Report
}

func (r *run) say(format string, args ...any) { fmt.Fprintf(r.Out, format+"\n", args...) }

func (r *run) all(ctx context.Context, chosen []*fault) error {
	if err := r.cluster.Start(ctx); err != nil {
		return err
	}
	var before []check.Usage
	for i, f := range chosen {
		round, err := r.newRound(i+1, f)
		if err != nil {
			return err
		}
		failed := round.play(ctx)
		if failed != nil {
			round.result.violate("the round comes to its end", "%v", failed)
		}
		r.report.add(round.result)
		r.say("   %s", round.result.line())
		if failed != nil {
			if err := r.mend(ctx); err != nil {
				return fmt.Errorf("go on after %s: %w", f.name, err)
			}
		}
		if before == nil { // the first load has filled what is filled once
			if before, err = r.usage(ctx); err != nil {
				return err
			}
		}
	}
	return r.finish(ctx, before)
}

// mend brings everything back to health for the next round.
func (r *run) mend(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, n := range r.cluster.Nodes() {
		n.Disk.FreeSpace()
		n.Disk.DelaySync(0)
		n.Disk.FailSync(0)
		if n.Running() {
			n.Resume()
		}
	}
	return errors.Join(r.cluster.Network.Heal(), r.cluster.Start(ctx))
}

// usage asks every node what it holds.
func (r *run) usage(ctx context.Context) ([]check.Usage, error) {
	var all []check.Usage
	for _, n := range r.cluster.Nodes() {
		u, err := n.Usage(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

// idleTime is how long servers may take to let go of what clients held.
const idleTime = 20 * time.Second

// finish judges the servers themselves: what they hold when idle, that they end cleanly, and that their state is the fold of their log.
func (r *run) finish(ctx context.Context, before []check.Usage) error {
	result := Result{Fault: "(the end)"}
	defer func() {
		r.report.add(result)
		r.say("== the end\n   %s", result.details())
	}()
	deadline := time.Now().Add(idleTime)
	for {
		after, err := r.usage(ctx)
		if err != nil {
			return err
		}
		result.Violations = nil
		for i := range after {
			result.Violations = append(result.Violations, check.Resources(i+1, before[i], after[i])...)
		}
		if len(result.Violations) == 0 || time.Now().After(deadline) {
			result.note("node 1 holds %s, after the first round %s", after[0], before[0])
			break
		}
		wait(ctx, time.Second)
	}
	if err := r.cluster.Stop(ctx); err != nil {
		result.violate("clean exit", "%v", err)
	}
	for _, n := range r.cluster.Nodes() {
		if err := n.Verify(ctx); err != nil {
			result.violate("state is the fold", "kalam verify, node %d: %v", n.ID, err)
		}
	}
	return nil
}

// folder makes the directory of a round's history.
func (r *run) folder(namespace string) (string, error) {
	dir := filepath.Join(r.Dir, "history", namespace)
	return dir, os.MkdirAll(dir, 0o755)
}
