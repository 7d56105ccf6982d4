package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"time"

	"kalamlog.dev/kalam/internal/chaos/check"
	"kalamlog.dev/kalam/internal/chaos/history"
	"kalamlog.dev/kalam/internal/chaos/load"
)

// round is one fault under one load, with tables of its own.
type round struct {
	run      *run
	fault    *fault
	load     *load.Load
	recorder *history.Recorder
	scene    *scene
	window   check.Fault
	result   Result
}

func (r *run) newRound(number int, f *fault) (*round, error) {
	namespace := fmt.Sprintf("c%02d_%s", number, strings.ReplaceAll(f.name, "-", "_"))
	dir, err := r.folder(namespace)
	if err != nil {
		return nil, err
	}
	seed := r.rnd.Uint64()
	x := &round{run: r, fault: f, recorder: history.NewRecorder(dir), result: Result{Fault: f.name}}
	var targets []load.Target
	for _, n := range r.cluster.Nodes() {
		targets = append(targets, load.Target{ID: n.Place, URL: n.Client.URL, Kafka: n.Kafka})
	}
	x.load = load.New(load.Options{Namespace: namespace, Targets: targets, Recorder: x.recorder, Seed: seed, Writers: 6, Rate: r.Rate})
	x.scene = &scene{
		Cluster: r.cluster, rnd: rand.New(rand.NewPCG(seed, 1)), hold: r.times().hold, note: x.result.note, violation: x.result.violate,
		strike: func() { x.window.Began = x.recorder.Now() },
	}
	x.window = check.Fault{Name: f.name, Majority: f.keepsMajority(r.Nodes)}
	return x, nil
}

// play runs the round. The error says why it could not be completed.
func (x *round) play(ctx context.Context) (err error) {
	t := x.run.times()
	x.run.say("== %s", x.fault.name)
	defer func() { err = errors.Join(err, x.recorder.Close()) }()
	defer x.load.Abandon()
	if err := x.load.Prepare(ctx); err != nil {
		return err
	}
	x.load.Start(ctx)
	wait(ctx, t.quiet)
	if err := x.strike(ctx, t.hold); err != nil {
		return err
	}
	x.settle(ctx, t.calm)
	if err := ctx.Err(); err != nil {
		return err
	}
	x.load.Quiesce()
	end, err := x.readBack(ctx)
	if err != nil {
		return err
	}
	x.load.Finish(ctx, end.ends, 30*time.Second)
	x.judge(end)
	return nil
}

// strike injects the fault, holds it and ends it.
func (x *round) strike(ctx context.Context, hold time.Duration) error {
	x.window.Began = x.recorder.Now()
	began := time.Now()
	heal, err := x.fault.inject(ctx, x.scene)
	if err != nil {
		return fmt.Errorf("inject: %w", err)
	}
	wait(ctx, hold-time.Since(began))
	if err := heal(ctx); err != nil {
		return fmt.Errorf("heal: %w", err)
	}
	x.window.Ended = x.recorder.Now()
	return nil
}

// settle lets the load go on until every table has taken a write, and for a while in any case.
func (x *round) settle(ctx context.Context, calm time.Duration) {
	wait(ctx, calm)
	deadline := time.Now().Add(check.HealTime)
	for !x.recorder.AckedSince(x.window.Ended, load.Tables()...) && time.Now().Before(deadline) && ctx.Err() == nil {
		wait(ctx, 50*time.Millisecond)
	}
}

// end is what the nodes say when all is over.
type end struct {
	ends map[string]map[int32]int64
	rows []map[string]load.Rows   // by node, table
	logs []map[string]history.Log // likewise
}

// readBack reads everything from every node, when nothing changes any more.
func (x *round) readBack(ctx context.Context) (*end, error) {
	rows, err := x.stableRows(ctx)
	if err != nil {
		return nil, err
	}
	e := &end{ends: map[string]map[int32]int64{}, rows: rows}
	for table, r := range rows[0] {
		e.ends[table] = r.Ends
	}
	for node := range x.run.cluster.Nodes() {
		logs := map[string]history.Log{}
		for _, table := range load.Tables() {
			if logs[table], err = x.load.ReadTopic(ctx, node, table, e.ends[table]); err != nil {
				return nil, err
			}
		}
		e.logs = append(e.logs, logs)
	}
	return e, nil
}

// stableTime is how long writes of unknown outcome may still come through after the last client has given up, and a node that
// was behind may take to catch up.
const stableTime = 30 * time.Second

// stableRows reads all tables through all nodes until two readings in a row agree, with each other and between nodes. Nodes that
// do not come to agree are left to the checks.
func (x *round) stableRows(ctx context.Context) ([]map[string]load.Rows, error) {
	deadline := time.Now().Add(stableTime)
	var before []map[string]load.Rows
	for {
		now, err := x.allRows(ctx)
		if err == nil && reflect.DeepEqual(before, now) && same(now) {
			return now, nil
		}
		if late := time.Now().After(deadline); ctx.Err() != nil || late && err == nil {
			return now, errors.Join(err, ctx.Err())
		} else if late {
			x.result.violate("what was acknowledged can be read", "%v", err)
			x.load.ForgetPosition() // the judges may find more in what is left
			return x.allRows(ctx)
		}
		before = now
		wait(ctx, 300*time.Millisecond)
	}
}

func same(nodes []map[string]load.Rows) bool {
	for _, n := range nodes[1:] {
		if !reflect.DeepEqual(n, nodes[0]) {
			return false
		}
	}
	return true
}

func (x *round) allRows(ctx context.Context) (all []map[string]load.Rows, err error) {
	for node := range x.run.cluster.Nodes() {
		tables := map[string]load.Rows{}
		for _, table := range load.Tables() {
			if tables[table], err = x.load.ReadTable(ctx, node, table); err != nil {
				return nil, err
			}
		}
		all = append(all, tables)
	}
	return all, nil
}

// judge runs every check.
func (x *round) judge(e *end) {
	ops := x.recorder.Snapshot()
	logs := e.logs[0]
	v := slices.Concat(
		check.Log(history.Events, ops, logs[history.Events]), check.Log(history.Registers, ops, logs[history.Registers]),
		check.Counters(ops, logs[history.Counters]), check.Registers(ops, logs[history.Registers]), check.Appends(ops, logs[history.Events]),
		check.Groups(ops), check.Liveness(ops, x.window, load.Tables()...),
	)
	for node := range e.rows {
		for _, table := range load.Tables() {
			what := fmt.Sprintf("%s at node %d", table, node+1)
			v = append(v, check.SameRows(what, logs[table], e.rows[node][table].Values)...)
			if !maps.Equal(e.rows[node][table].Ends, e.ends[table]) {
				v = append(v, check.Violation{Check: "one log", What: fmt.Sprintf("%s ends at %v, node 1 at %v", what, e.rows[node][table].Ends, e.ends[table])})
			}
			v = append(v, check.SameLog(what, logs[table], e.logs[node][table])...)
		}
	}
	for _, t := range x.recorder.Trails() {
		v = append(v, check.Trail(t, logs[t.Table])...)
	}
	x.result.Violations = append(x.result.Violations, v...)
	x.result.measure(ops, x.window, logs)
}
