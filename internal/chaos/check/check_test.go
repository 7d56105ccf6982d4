package check

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kalamlog.dev/kalam/internal/chaos/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("KALAM_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("KALAM_SEED=%d", seed)
	return seed
}

// world is a correct history: concurrent clients of one table of events and one of registers, as a correct server would answer.
type world struct {
	rnd       *rand.Rand
	ops       []history.Op
	events    history.Log
	registers history.Log
	counters  history.Log
}

// newWorld lets clients do operations that overlap. The effect of each is at a random moment between its call and its return.
func newWorld(seed uint64, n int) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 0)), events: history.Log{}, registers: history.Log{}, counters: history.Log{}}
	version := map[string]int64{}
	value := map[string]string{}
	counters := map[string]int64{}
	for _, k := range []string{"r0", "r1"} {
		version[k] = -1
	}
	for _, k := range []string{"c0", "c1"} {
		w.counters[0] = append(w.counters[0], history.Change{Key: k, Value: "0"})
	}
	free := make([]int64, 4) // when each client may go on
	for i := range n {
		effect := int64(i+1) * 1000
		client := w.rnd.IntN(len(free))
		for free[client] >= effect { // the effect of the last one is in the past, so its return can be moved there
			client = (client + 1) % len(free)
		}
		op := history.Op{Client: "w" + strconv.Itoa(client), ID: i, Value: fmt.Sprintf("v%d", i), Attempts: 1, Outcome: history.OK}
		op.Invoke = max(free[client]+1, effect-1-w.rnd.Int64N(2500))
		op.Return = effect + 1 + w.rnd.Int64N(900)
		free[client] = op.Return
		switch w.rnd.IntN(6) {
		case 0, 1:
			op.Kind, op.Table, op.Key, op.Partition = history.Insert, history.Events, op.Value, int32(w.rnd.IntN(2))
			op.Offset = int64(len(w.events[op.Partition]))
			w.events[op.Partition] = append(w.events[op.Partition], history.Change{Key: op.Key, Value: op.Value})
		case 2:
			op.Kind, op.Table, op.Partition, op.Value = history.Count, history.Events, int32(w.rnd.IntN(2)), ""
			op.Offset = int64(len(w.events[op.Partition]))
		case 3:
			op.Kind, op.Table, op.Key = history.Add, history.Counters, "c"+strconv.Itoa(w.rnd.IntN(2))
			counters[op.Key]++
			w.counters[0] = append(w.counters[0], history.Change{Key: op.Key, Value: strconv.FormatInt(counters[op.Key], 10)})
		default:
			op.Table, op.Key = history.Registers, "r"+strconv.Itoa(w.rnd.IntN(2))
			switch w.rnd.IntN(3) {
			case 0:
				op.Kind, op.Fresh, op.Value, op.Offset = history.Read, true, value[op.Key], version[op.Key]
			case 1:
				op.Kind, op.Expect = history.CAS, version[op.Key]
				if w.rnd.IntN(3) == 0 {
					op.Expect, op.Outcome, op.Code = version[op.Key]+5, history.Fail, codeConflict
				}
			default:
				op.Kind = history.Upsert
			}
			if op.Kind != history.Read && op.Outcome == history.OK {
				op.Offset = int64(len(w.registers[0]))
				w.registers[0] = append(w.registers[0], history.Change{Key: op.Key, Value: op.Value})
				version[op.Key], value[op.Key] = op.Offset, op.Value
			}
		}
		if op.Kind.Writes() && op.Outcome == history.OK && w.rnd.IntN(10) == 0 { // the answer is lost
			op.Outcome, op.Return, op.Offset, op.Code = history.Info, history.Never, -1, "timeout"
		}
		w.ops = append(w.ops, op)
	}
	return w
}

// all runs every check of writers' histories.
func (w *world) all() []Violation {
	return slices.Concat(
		Log(history.Events, w.ops, w.events), Log(history.Registers, w.ops, w.registers), Counters(w.ops, w.counters),
		Appends(w.ops, w.events), Registers(w.ops, w.registers),
	)
}

// pick returns a random operation that the condition holds for.
func (w *world) pick(t *testing.T, want func(*history.Op) bool) *history.Op {
	t.Helper()
	start := w.rnd.IntN(len(w.ops))
	for i := range w.ops {
		if op := &w.ops[(start+i)%len(w.ops)]; want(op) {
			return op
		}
	}
	t.Fatal("no such operation")
	return nil
}

func expectRule(t *testing.T, what string, got []Violation, rule string) {
	t.Helper()
	for _, v := range got {
		if v.Check == rule {
			return
		}
	}
	t.Errorf("%s: nobody complains of %q; found %v", what, rule, got)
}

func TestCorrectHistoriesPass(t *testing.T) {
	t.Parallel()
	seed := testSeed(t)
	for i := range uint64(20) {
		if got := newWorld(seed+i, 400).all(); len(got) > 0 {
			t.Fatalf("seed %d: %v", seed+i, got)
		}
	}
}

func TestBrokenHistoriesAreFound(t *testing.T) {
	t.Parallel()
	seed := testSeed(t)
	acked := func(kind history.Kind) func(*history.Op) bool {
		return func(op *history.Op) bool { return op.Kind == kind && op.Outcome == history.OK }
	}
	for _, c := range []struct {
		name, rule string
		break_     func(*testing.T, *world)
	}{
		{"an acknowledged insert is lost", "acknowledged is kept", func(t *testing.T, w *world) {
			op := w.pick(t, acked(history.Insert))
			w.events[op.Partition] = slices.Delete(w.events[op.Partition], int(op.Offset), int(op.Offset)+1)
		}},
		{"the last acknowledged insert is lost", "acknowledged is kept", func(t *testing.T, w *world) {
			op := w.pick(t, func(op *history.Op) bool {
				return acked(history.Insert)(op) && op.Offset == int64(len(w.events[op.Partition])-1)
			})
			w.events[op.Partition] = w.events[op.Partition][:op.Offset]
		}},
		{"a retry is applied twice", "nothing twice", func(t *testing.T, w *world) {
			op := w.pick(t, acked(history.Insert))
			w.events[op.Partition] = append(w.events[op.Partition], w.events[op.Partition][op.Offset])
		}},
		{"a refused write is applied", "failed is not applied", func(t *testing.T, w *world) {
			op := w.pick(t, acked(history.Insert))
			op.Outcome = history.Fail
		}},
		{"a change that nobody made", "only what was tried", func(_ *testing.T, w *world) {
			w.events[0] = append(w.events[0], history.Change{Key: "ghost", Value: "ghost"})
		}},
		{"two changes are swapped", "offsets as told", func(t *testing.T, w *world) {
			op := w.pick(t, func(op *history.Op) bool { return acked(history.Insert)(op) && op.Offset > 0 })
			changes := w.events[op.Partition]
			changes[op.Offset], changes[op.Offset-1] = changes[op.Offset-1], changes[op.Offset]
		}},
		{"another key", "offsets as told", func(t *testing.T, w *world) {
			op := w.pick(t, acked(history.Insert))
			w.events[op.Partition][op.Offset].Key = "other"
		}},
		{"a read of what is not in the log", "read is in the log", func(t *testing.T, w *world) {
			op := w.pick(t, func(op *history.Op) bool { return acked(history.Read)(op) && op.Offset >= 0 })
			op.Value = "dirty"
		}},
		{"a read beyond the log", "read is in the log", func(t *testing.T, w *world) {
			op := w.pick(t, func(op *history.Op) bool { return acked(history.Read)(op) && op.Offset >= 0 })
			op.Offset = int64(len(w.registers[0])) + 3
		}},
		{"a client's writes change places", "a client's order", func(t *testing.T, w *world) {
			w.swapSequential(t)
		}},
		{"writes are ordered against time", "real-time order", func(t *testing.T, w *world) {
			w.swapSequential(t)
		}},
		{"an append is told another's offset", "the log is linearizable", func(t *testing.T, w *world) {
			w.swapSequential(t)
		}},
		{"a count misses an acknowledged append", "the log is linearizable", func(t *testing.T, w *world) {
			op := w.pick(t, func(op *history.Op) bool { return acked(history.Count)(op) && op.Offset > 20 })
			op.Offset -= 20
		}},
		{"a fresh read is stale", "registers are linearizable", func(t *testing.T, w *world) {
			op := w.pick(t, func(op *history.Op) bool {
				return acked(history.Read)(op) && op.Offset >= 0 && w.overwritten(op)
			})
			for o := op.Offset - 1; o >= 0; o-- { // the value before, long since replaced
				if c := w.registers[0][o]; c.Key == op.Key && op.Offset-o > 10 {
					op.Offset, op.Value = o, c.Value
					return
				}
			}
			op.Offset, op.Value = -1, ""
		}},
		{"a compare-and-set at a wrong version succeeds", "registers are linearizable", func(t *testing.T, w *world) {
			op := w.pick(t, func(op *history.Op) bool { return acked(history.CAS)(op) && op.Expect >= 0 })
			op.Expect++
		}},
		{"a conflict that is none", "registers are linearizable", func(t *testing.T, w *world) {
			w.falseConflict(t)
		}},
		{"a counter counts twice", "counters count by one", func(_ *testing.T, w *world) {
			last := &w.counters[0][len(w.counters[0])-1]
			n, _ := strconv.Atoi(last.Value)
			last.Value = strconv.Itoa(n + 1)
		}},
		{"an acknowledged count is lost", "counted once", func(_ *testing.T, w *world) {
			n := len(w.counters[0])
			w.counters[0] = w.counters[0][:n/2]
		}},
		{"a count too many", "counted once", func(t *testing.T, w *world) {
			op := w.pick(t, acked(history.Add))
			for range 400 {
				w.counters[0] = append(w.counters[0], history.Change{Key: op.Key, Value: strconv.FormatInt(next(w.counters[0], op.Key), 10)})
			}
		}},
	} {
		for i := range uint64(5) {
			w := newWorld(seed+i, 400)
			c.break_(t, w)
			expectRule(t, fmt.Sprintf("%s, seed %d", c.name, seed+i), w.all(), c.rule)
		}
	}
}

func next(changes []history.Change, key string) (n int64) {
	for _, c := range changes {
		if c.Key == key {
			n, _ = strconv.ParseInt(c.Value, 10, 64)
		}
	}
	return n + 1
}

// overwritten reports whether the row was written often before op began.
func (w *world) overwritten(op *history.Op) bool {
	n := 0
	for i := range w.ops {
		if o := &w.ops[i]; o.Table == op.Table && o.Key == op.Key && o.Kind.Writes() && o.Outcome == history.OK && o.Return < op.Invoke {
			n++
		}
	}
	return n > 5
}

// swapSequential swaps two inserts of one client in the log, and what they were told.
func (w *world) swapSequential(t *testing.T) {
	t.Helper()
	for i := range w.ops {
		for j := i + 1; j < len(w.ops); j++ {
			a, b := &w.ops[i], &w.ops[j]
			if a.Client == b.Client && a.Kind == history.Insert && b.Kind == history.Insert && a.Partition == b.Partition &&
				a.Outcome == history.OK && b.Outcome == history.OK {
				changes := w.events[a.Partition]
				changes[a.Offset], changes[b.Offset] = changes[b.Offset], changes[a.Offset]
				a.Offset, b.Offset = b.Offset, a.Offset
				return
			}
		}
	}
	t.Fatal("no two such operations")
}

// falseConflict lets a lone compare-and-set at the right version fail.
func (w *world) falseConflict(t *testing.T) {
	t.Helper()
	end := w.ops[len(w.ops)-1].Return
	for i := range w.ops {
		if w.ops[i].Return != history.Never {
			end = max(end, w.ops[i].Return)
		}
	}
	last := int64(-1)
	for o, c := range w.registers[0] {
		if c.Key == "r0" {
			last = int64(o)
		}
	}
	w.ops = slices.DeleteFunc(w.ops, func(op history.Op) bool { return op.Outcome == history.Info && op.Table == history.Registers })
	w.ops = append(w.ops, history.Op{
		Client: "late", ID: 1, Kind: history.CAS, Table: history.Registers, Key: "r0", Value: "late", Expect: last,
		Invoke: end + 1, Return: end + 2, Outcome: history.Fail, Code: codeConflict,
	})
}

func TestRowsAndLogsAreCompared(t *testing.T) {
	t.Parallel()
	w := newWorld(testSeed(t), 200)
	rows := w.registers.Fold()
	if got := slices.Concat(SameRows("node 1", w.registers, rows), SameLog("node 1", w.events, w.events)); len(got) > 0 {
		t.Fatal(got)
	}
	rows["r0"] = "other"
	expectRule(t, "another value", SameRows("node 1", w.registers, rows), "state is the fold")
	delete(rows, "r0")
	expectRule(t, "a row is missing", SameRows("node 1", w.registers, rows), "state is the fold")
	rows = w.registers.Fold()
	rows["ghost"] = ""
	expectRule(t, "a row too many", SameRows("node 1", w.registers, rows), "state is the fold")

	short := history.Log{0: w.events[0][:len(w.events[0])-1], 1: w.events[1]}
	expectRule(t, "a short log", SameLog("node 2", w.events, short), "one log")
	expectRule(t, "a long log", SameLog("node 2", short, w.events), "one log")
	other := history.Log{0: slices.Clone(w.events[0]), 1: w.events[1]}
	other[0][2].Value = "other"
	expectRule(t, "another log", SameLog("node 2", w.events, other), "one log")
}

func TestManyViolationsAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(testSeed(t), 400)
	got := Log(history.Events, w.ops, history.Log{})
	if len(got) != maxOfOne+1 || !strings.Contains(got[maxOfOne].What, "in all") {
		t.Errorf("%d violations: %v", len(got), got)
	}
}
