package check

import (
	"fmt"
	"slices"
	"testing"

	"kalamlog.dev/kalam/internal/chaos/history"
)

// eventLog is a table of inserts in two partitions.
func eventLog(n int) history.Log {
	l := history.Log{}
	for i := range n {
		p := int32(i % 2)
		l[p] = append(l[p], history.Change{Key: fmt.Sprintf("k%d", i), Value: fmt.Sprintf("v%d", i)})
	}
	return l
}

// shown makes what a correct reader was shown of the changes [from, to), in the order in which eventLog made them.
func shown(from, to int) []history.Seen {
	var seen []history.Seen
	for i := from; i < to; i++ {
		seen = append(seen, history.Seen{
			Kind: history.Changed, Partition: int32(i % 2), Offset: int64(i / 2), Key: fmt.Sprintf("k%d", i), Value: fmt.Sprintf("v%d", i),
			Cursor: fmt.Sprintf("1:%d", i+10),
		})
	}
	return seen
}

func tailTrail(n int) *history.Trail {
	t := &history.Trail{Name: "reader", How: history.Tail, Table: history.Events}
	t.Seen = append(t.Seen, history.Seen{Kind: history.Opened})
	t.Seen = append(t.Seen, shown(0, n/2)...)
	t.Seen = append(t.Seen, history.Seen{Kind: history.Broken}, history.Seen{Kind: history.Opened, Session: 1, Cursor: "1:5"})
	t.Seen = append(t.Seen, shown(n/2, n)...)
	t.Seen = append(t.Seen, history.Seen{Kind: history.Progress, Cursor: fmt.Sprintf("1:%d", n+20)})
	return t
}

func snapshotTrail(n int) *history.Trail {
	t := &history.Trail{Name: "reader", How: history.Snapshot, Table: history.Events}
	for session, at := range []int{n / 3, n / 2} {
		t.Seen = append(t.Seen, history.Seen{Kind: history.Opened, Session: session})
		for _, s := range shown(0, at) {
			s.Kind, s.Cursor = history.Row, ""
			t.Seen = append(t.Seen, s)
		}
		t.Seen = append(t.Seen, history.Seen{Kind: history.Ready, Cursor: fmt.Sprintf("1:%d", at+9)})
		t.Seen = append(t.Seen, shown(at, n)...)
	}
	return t
}

func TestCorrectReadersPass(t *testing.T) {
	t.Parallel()
	const n = 60
	l := eventLog(n)
	branch := tailTrail(n)
	branch.How, branch.Starts, branch.Seen = history.Branch, map[int32]int64{0: 10, 1: 10}, shown(20, n)
	for _, trail := range []*history.Trail{tailTrail(n), snapshotTrail(n), branch} {
		if got := Trail(trail, l); len(got) > 0 {
			t.Errorf("%s: %v", trail.How, got)
		}
	}
}

func TestBrokenReadersAreFound(t *testing.T) {
	t.Parallel()
	const n = 60
	remove := func(at int) func(*history.Trail) {
		return func(t *history.Trail) { t.Seen = append(t.Seen[:at], t.Seen[at+1:]...) }
	}
	for _, c := range []struct {
		name, rule string
		trail      *history.Trail
		break_     func(*history.Trail)
	}{
		{"a gap", "reliable", tailTrail(n), remove(5)},
		{"a gap at the cut", "reliable", tailTrail(n), remove(n/2 + 3)},
		{"nothing of the end", "reliable", tailTrail(n), func(t *history.Trail) { t.Seen = t.Seen[:len(t.Seen)-3] }},
		{"a change twice", "unique", tailTrail(n), func(t *history.Trail) { t.Seen = append(t.Seen, t.Seen[5]) }},
		{"a change twice after the cut", "unique", tailTrail(n), func(t *history.Trail) {
			t.Seen[n/2+2] = t.Seen[n/2-1] // where the first change after the cut was due, one of before it
		}},
		{"swapped", "reliable", tailTrail(n), func(t *history.Trail) { t.Seen[5], t.Seen[7] = t.Seen[7], t.Seen[5] }},
		{"another value", "reliable", tailTrail(n), func(t *history.Trail) { t.Seen[5].Value = "other" }},
		{"a delete that was none", "reliable", tailTrail(n), func(t *history.Trail) { t.Seen[5].Kind = history.Deleted }},
		{"a reset", "resumable", tailTrail(n), func(t *history.Trail) { t.Seen[5].Kind = history.Reset }},
		{"progress too early", "bookmarked", tailTrail(n), func(t *history.Trail) {
			t.Seen[n/2+1] = history.Seen{Kind: history.Progress, Cursor: "1:45"}
		}},
		{"no position", "bookmarked", tailTrail(n), func(t *history.Trail) { t.Seen[5].Cursor = "x" }},
		{"beyond the log", "reliable", tailTrail(n), func(t *history.Trail) { t.Seen[5].Offset = 1000 }},
		{"a row is left out", "initial", snapshotTrail(n), remove(5)},
		{"a row in both", "initial", snapshotTrail(n), func(t *history.Trail) { t.Seen[n/3].Offset = t.Seen[n/3+2].Offset }},
		{"a gap at the switch", "initial", snapshotTrail(n), remove(n/3 + 2)},
		{"a row twice", "unique", snapshotTrail(n), func(t *history.Trail) { t.Seen[3] = t.Seen[5] }},
		{"never ready", "initial", snapshotTrail(n), func(t *history.Trail) {
			t.Seen = slices.DeleteFunc(t.Seen, func(s history.Seen) bool { return s.Kind == history.Ready })
		}},
		{"rows that nobody asked for", "initial", tailTrail(n), func(t *history.Trail) { t.Seen[5].Kind = history.Row }},
	} {
		c.break_(c.trail)
		expectRule(t, c.name, Trail(c.trail, eventLog(n)), c.rule)
	}
}

func TestCommitsNeverGoBack(t *testing.T) {
	t.Parallel()
	op := func(kind history.Kind, offset, invoke, ret int64) history.Op {
		return history.Op{Kind: kind, Key: "g", Offset: offset, Invoke: invoke, Return: ret, Outcome: history.OK}
	}
	good := []history.Op{
		op(history.Commit, 5, 0, 10), op(history.Fetched, 5, 11, 12), op(history.Commit, 9, 12, 20), op(history.Fetched, 5, 13, 15), op(history.Fetched, 9, 13, 15),
	}
	if got := Groups(good); len(got) > 0 {
		t.Error(got)
	}
	expectRule(t, "a commit is forgotten", Groups(append(good, op(history.Fetched, 5, 21, 22))), "commits never go back")
	expectRule(t, "a fetch goes back", Groups([]history.Op{op(history.Fetched, 9, 1, 2), op(history.Fetched, 5, 3, 4)}), "commits never go back")
}

func TestLivenessAndResources(t *testing.T) {
	t.Parallel()
	const second = int64(1e9)
	op := func(table string, invoke, ret int64) history.Op {
		return history.Op{Kind: history.Insert, Table: table, Invoke: invoke, Return: ret, Outcome: history.OK}
	}
	fault := Fault{Name: "f", Began: 10 * second, Ended: 20 * second, Majority: true}
	ops := []history.Op{
		op("a", 11*second, 14*second), op("b", 11*second, 12*second), op("a", 15*second, 16*second), op("b", 15*second, 16*second),
		op("a", 21*second, 22*second), op("b", 21*second, 23*second),
	}
	if got := Liveness(ops, fault, "a", "b"); len(got) > 0 {
		t.Error(got)
	}
	if pause, where := LongestPause(ops, fault.Began, fault.Ended, "a", "b"); pause.Seconds() != 4 {
		t.Errorf("a pause of %v on %s", pause, where)
	}
	expectRule(t, "never", Liveness(ops, fault, "a", "b", "c"), "writes go on")
	ops[0] = op("a", 9*second, 9*second)
	expectRule(t, "too late", Liveness(ops, fault, "a", "b"), "writes go on")
	fault.Majority = false
	if got := Liveness(ops, fault, "a", "b"); len(got) > 0 {
		t.Error(got)
	}
	expectRule(t, "nothing after the end", Liveness(ops[:5], fault, "a", "b"), "writes go on")
	ops[5] = op("b", 31*second, 32*second)
	expectRule(t, "too late after the end", Liveness(ops, fault, "a", "b"), "writes go on")

	before := Usage{Files: 50, Goroutines: 100, Resident: 100 << 20}
	if got := Resources(1, before, before); len(got) > 0 {
		t.Error(got)
	}
	for _, after := range []Usage{{Files: 500}, {Goroutines: 1000}, {Resident: 2 << 30}} {
		expectRule(t, after.String(), Resources(1, before, after), "resources")
	}
}
