package chaos

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kalamlog.dev/kalam/internal/chaos/check"
	"kalamlog.dev/kalam/internal/chaos/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFaultsAreChosen(t *testing.T) {
	t.Parallel()
	names := func(o Options) string {
		chosen, err := o.choose()
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, f := range chosen {
			all = append(all, f.name)
		}
		return strings.Join(all, " ")
	}
	if all := names(Options{Nodes: 3}); all != strings.ReplaceAll(strings.Join(Names(), " "), " lying-disks", "") {
		t.Errorf("all faults: %s", all)
	}
	one := names(Options{Nodes: 1})
	if strings.Contains(one, "isolate") || !strings.Contains(one, "power-loss-all") {
		t.Errorf("of one node: %s", one)
	}
	if short := names(Options{Nodes: 1, Short: true}); len(short) >= len(one) || !strings.Contains(short, "kill-all") {
		t.Errorf("the short form: %s", short)
	}
	if only := names(Options{Nodes: 3, Short: true, Only: []string{"slow-sync", "kill-all"}}); only != "kill-all slow-sync" {
		t.Errorf("those asked for: %s", only)
	}
	for _, wrong := range []Options{{Nodes: 3, Only: []string{"kil-all"}}, {Nodes: 1, Only: []string{"isolate-leader"}}} {
		if _, err := wrong.choose(); err == nil {
			t.Errorf("%v is accepted", wrong.Only)
		}
	}
}

func TestMajority(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault fault
		nodes int
		want  bool
	}{
		{fault{majority: true}, 3, true},
		{fault{majority: true}, 1, false},
		{fault{single: true}, 1, true},
		{fault{}, 3, false},
	} {
		if got := c.fault.keepsMajority(c.nodes); got != c.want {
			t.Errorf("%+v with %d nodes: %v", c.fault, c.nodes, got)
		}
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	ops := []history.Op{
		{Kind: history.Insert, Table: history.Events, Outcome: history.OK, Invoke: 2e9, Return: 3e9, Retried: "timeout"},
		{Kind: history.Upsert, Table: history.Registers, Outcome: history.OK, Invoke: 2e9, Return: 2.5e9},
		{Kind: history.Add, Table: history.Counters, Outcome: history.OK, Invoke: 2e9, Return: 2.2e9},
		{Kind: history.CAS, Table: history.Registers, Outcome: history.Fail, Code: "version_conflict"},
		{Kind: history.CAS, Table: history.Registers, Outcome: history.Info, Code: "timeout"},
	}
	var during, after Result
	logs := map[string]history.Log{history.Events: {0: {{}, {}}}, history.Registers: {1: {{}}}}
	during.measure(ops, check.Fault{Began: 1e9, Ended: 5e9}, logs)
	after.measure(ops, check.Fault{Began: 1e9, Ended: 1.5e9}, logs)
	if during.Paused != 2800*time.Millisecond || during.Healed != 0 || after.Paused != 500*time.Millisecond || after.Healed != 1500*time.Millisecond {
		t.Errorf("paused for %v, %v; after the end %v, %v", during.Paused, after.Paused, during.Healed, after.Healed)
	}
	during.Fault, after.Fault = "during", "after"
	after.violate("rule", "it broke %d times", 2)
	after.note("node %d", 3)
	r := &Report{Seed: 7, Nodes: 3}
	r.add(during)
	r.add(after)
	r.add(Result{Fault: "(the end)"})
	var b strings.Builder
	if err := r.WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	want := `Nodes: 3. Seed: 7.

| fault | operations | ok | failed | unknown | changes | longest pause of writes | first after its end | violations |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
| during | 5 | 3 | 1 | 1 | 3 | 2.8s | 0s | 0 |
| after | 5 | 3 | 1 | 1 | 3 | 500ms | 1.5s | 1 |
| (the end) | | | | | | | | 0 |
`
	if b.String() != want || r.Violations() != 1 {
		t.Errorf("%d violations, report\n%s\nwant\n%s", r.Violations(), b.String(), want)
	}
	for _, text := range []string{"timeout 1, version_conflict 1", "sent again after: timeout 1", "node 3", "VIOLATION rule: it broke 2 times"} {
		if !strings.Contains(after.line(), text) {
			t.Errorf("%q is not told in %s", text, after.line())
		}
	}
}

// A run outside a sandbox must not touch the machine's network.
func TestRunNeedsSandbox(t *testing.T) {
	t.Parallel()
	if _, err := Run(context.Background(), Options{Nodes: 1, Dir: t.TempDir(), Out: &strings.Builder{}}); err == nil || !strings.Contains(err.Error(), "sandbox") {
		t.Errorf("outside a sandbox: %v", err)
	}
	if _, err := Run(context.Background(), Options{Nodes: 1, Only: []string{"x"}}); err == nil {
		t.Error("a fault that does not exist is run")
	}
}
