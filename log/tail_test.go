package log

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kalamlog.dev/kalam/internal/problem"
)

// collect reads t until it has n records.
func collect(t testing.TB, tail *Tail, n, maxBytes int) []Record {
	t.Helper()
	var all []Record
	for len(all) < n {
		records, err := tail.Next(testContext(t), maxBytes)
		if err != nil {
			t.Errorf("after %d of %d records: %v", len(all), n, err)
			return all
		}
		for _, r := range records {
			r.Data = slices.Clone(r.Data)
			all = append(all, r)
		}
	}
	return all
}

func order(a, b Record) int {
	return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Partition.ID, b.Partition.ID), cmp.Compare(a.Offset, b.Offset))
}

func TestTailsFromAnywhereSeeEverythingOnceInOrder(t *testing.T) {
	const table, partitions, writers, each = 3, 4, 8, 60
	rng := newSeed(t)
	o := testOptions(t.TempDir())
	o.SegmentBytes = 4 << 10
	l := openTestLog(t, o)
	first, err := l.Tail(table, partitions, Position{})
	if err != nil {
		t.Fatal(err)
	}
	var writing, reading sync.WaitGroup
	total := writers * each * 3
	seeds := make([]uint64, writers)
	for i := range seeds {
		seeds[i] = rng.Uint64()
	}
	for w := range writers {
		writing.Go(func() { writeRandomly(t, l, rand.New(rand.NewPCG(seeds[w], 2)), table, partitions, each) })
	}
	var all []Record
	reading.Go(func() { all = collect(t, first, total, 1000) })
	writing.Wait()
	reading.Wait()
	if len(all) != total || !slices.IsSortedFunc(all, order) {
		t.Fatalf("%d records, sorted %v", len(all), slices.IsSortedFunc(all, order))
	}
	next := map[Partition]Offset{}
	for _, r := range all {
		if r.Offset != next[r.Partition] {
			t.Fatalf("%v: offset %d follows %d", r.Partition, r.Offset, next[r.Partition])
		}
		next[r.Partition]++
	}
	for range 60 {
		checkTailFrom(t, l, table, partitions, all, rng)
	}
}

func writeRandomly(t *testing.T, l *Log, rng *rand.Rand, table TableID, partitions, n int) {
	for range n {
		var writes []write
		for range 3 {
			p := Partition{table, PartitionID(rng.IntN(partitions))}
			writes = append(writes, write{p, strings.Repeat("d", rng.IntN(300))}, write{Partition{table + 1, 0}, "other table"})
		}
		if _, err := l.Propose(testContext(t), batchOf(writes...)); err != nil {
			t.Error(err)
		}
	}
}

// checkTailFrom starts a tail in the middle of all, possibly within an entry, and compares.
func checkTailFrom(t *testing.T, l *Log, table TableID, partitions int, all []Record, rng *rand.Rand) {
	t.Helper()
	at := rng.IntN(len(all))
	part := Part{Group: groupID, Index: all[at].Index}
	for i := at; i >= 0 && all[i].Index == part.Index; i-- {
		part.Seen++
	}
	if at == len(all)-1 || all[at+1].Index != part.Index {
		part.Seen = uint32([]int{0, int(part.Seen)}[rng.IntN(2)]) // all of the entry, said in either way
	}
	from, err := ParsePosition(PositionOf(part).String())
	if err != nil {
		t.Fatal(err)
	}
	tail, err := l.Tail(table, partitions, from)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	got := collect(t, tail, len(all)-at-1, 1+rng.IntN(5000))
	if !slices.EqualFunc(got, all[at+1:], func(a, b Record) bool { return order(a, b) == 0 && string(a.Data) == string(b.Data) }) {
		t.Fatalf("tail from %s: %d records, want %d", from, len(got), len(all)-at-1)
	}
	if !tail.Position().Covers(l.positionAt(all[len(all)-1].Index)) {
		t.Errorf("tail read everything and stands at %s", tail.Position())
	}
}

func TestTailReturnsWholeEntries(t *testing.T) {
	l := openTestLog(t, testOptions(t.TempDir()))
	for i := range 20 {
		if _, err := l.Propose(testContext(t), batchOf(
			write{Partition{1, 0}, fmt.Sprint("a", i)}, write{Partition{1, 1}, fmt.Sprint("b", i)}, write{Partition{1, 0}, fmt.Sprint("c", i)})); err != nil {
			t.Fatal(err)
		}
	}
	tail, err := l.Tail(1, 2, Position{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		records, err := tail.Next(testContext(t), 1)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range records {
			got = append(got, string(r.Data))
		}
		want := []string{fmt.Sprint("a", i), fmt.Sprint("c", i), fmt.Sprint("b", i)}
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		if p := tail.Position().Part(groupID); i < 19 && p.Index != records[0].Index {
			t.Errorf("position %v behind entry %d", p, records[0].Index)
		}
	}
}

func TestTailPositionMovesWhenItsTableIsQuiet(t *testing.T) {
	l := openTestLog(t, testOptions(t.TempDir()))
	tail, err := l.Tail(99, 2, Position{})
	if err != nil {
		t.Fatal(err)
	}
	proposeN(t, l, 5)
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	if _, err := tail.Next(ctx, 1000); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if !tail.Position().Covers(l.Position()) {
		t.Errorf("tail at %s, log at %s", tail.Position(), l.Position())
	}
}

func TestTailRefusesTheFuture(t *testing.T) {
	l := openTestLog(t, testOptions(t.TempDir()))
	proposeN(t, l, 1)
	future := PositionOf(Part{Group: groupID, Index: l.Position().Part(groupID).Index + 1})
	if _, err := l.Tail(1, 1, future); !problem.Is(err, problem.PositionInvalid) {
		t.Errorf("future position: %v", err)
	}
}

// A waiting reader must be woken by the write itself: the test would take a polling interval otherwise.
func TestReadersAreWokenByTheWrite(t *testing.T) {
	l := openTestLog(t, testOptions(t.TempDir()))
	p := Partition{1, 0}
	tail, err := l.Tail(1, 1, Position{})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		woken := make(chan error, 3)
		go func() { _, err := tail.Next(testContext(t), 1000); woken <- err }()
		go func() { woken <- l.WaitEnd(testContext(t), p, l.End(p)) }()
		want := PositionOf(Part{Group: groupID, Index: l.Position().Part(groupID).Index + 1})
		go func() { woken <- l.Wait(testContext(t), want) }()
		waitFor(t, func() bool {
			part, err := l.store.partition(p)
			return err == nil && part.grown.waiting.Load() == 1 && part.table.grown.waiting.Load() == 1 && l.store.moved.waiting.Load() == 1
		})
		proposeN(t, l, 1)
		for range 3 {
			if err := <-woken; err != nil {
				t.Fatal(err)
			}
		}
	}
}

// waitFor polls until condition holds.
func waitFor(t testing.TB, condition func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("condition does not become true")
		}
	}
}

func TestDropEndsReadersAndRemovesFilesAfterTheCheckpoint(t *testing.T) {
	dir := t.TempDir()
	l := openTestLog(t, testOptions(dir))
	proposeN(t, l, 4)
	tail, err := l.Tail(1, 2, l.Position())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { _, err := tail.Next(testContext(t), 1000); ended <- err }()
	go func() { ended <- l.WaitEnd(testContext(t), Partition{1, 0}, 100) }()
	if err := l.Drop(1); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-ended; !problem.Is(err, problem.Trimmed) {
			t.Errorf("reader of a dropped table: %v", err)
		}
	}
	if _, err := l.Read(Partition{1, 0}, 0, 100); !problem.Is(err, problem.Trimmed) {
		t.Errorf("read of a dropped table: %v", err)
	}
	if names, _ := l.options.FS.List(l.store.tableDir(1)); len(names) != 2 {
		t.Errorf("files went before the checkpoint: %v", names)
	}
	if err := l.Checkpoint(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if names, _ := l.options.FS.List(l.store.dir); len(names) != 0 {
		t.Errorf("left of a dropped table: %v", names)
	}
}

func TestReadAndOffsetAtTime(t *testing.T) {
	o := testOptions(t.TempDir())
	o.SegmentBytes = 2 << 10
	l := openTestLog(t, o)
	p := Partition{1, 0}
	for range 60 {
		if _, err := l.Propose(testContext(t), batchOf(write{p, strings.Repeat("x", 200)}, write{p, "y"})); err != nil {
			t.Fatal(err)
		}
	}
	all, err := l.Read(p, 0, 1<<20)
	if err != nil || len(all) != 120 {
		t.Fatalf("%d records: %v", len(all), err)
	}
	for _, r := range all {
		first := slices.IndexFunc(all, func(x Record) bool { return x.Timestamp >= r.Timestamp })
		offset, at, err := l.OffsetAtTime(p, r.Timestamp)
		if err != nil || offset != Offset(first) || at != r.Timestamp {
			t.Fatalf("time %d: offset %d at %d, want %d: %v", r.Timestamp, offset, at, first, err)
		}
	}
	if offset, _, err := l.OffsetAtTime(p, all[119].Timestamp+1); err != nil || offset != 120 {
		t.Errorf("time after the last: %d, %v", offset, err)
	}
	if one, err := l.Read(p, 33, 0); err != nil || len(one) != 1 || one[0].Offset != 33 {
		t.Errorf("read of one: %v, %v", one, err)
	}
	if none, err := l.Read(p, 120, 10); err != nil || len(none) != 0 {
		t.Errorf("read at the end: %v, %v", none, err)
	}
	if _, err := l.Read(p, 121, 10); !problem.Is(err, problem.OutOfRange) {
		t.Errorf("read beyond the end: %v", err)
	}
	if l.Start(p) != 0 || l.End(p) != 120 || l.End(Partition{9, 9}) != 0 {
		t.Errorf("start %d end %d", l.Start(p), l.End(p))
	}
}
