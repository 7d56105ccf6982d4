package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kalamlog.dev/kalam/internal/problem"
)

// deleteBefore deletes the changes of p before offset, as whoever decides on retention does. A proposal that a lost leader has swallowed is made again:
// twice is as good as once.
func deleteBefore(t testing.TB, l *Log, p Partition, offset Offset) {
	t.Helper()
	records, err := l.Read(p, offset-1, 1)
	if err != nil {
		t.Error(err)
		return
	}
	batch := batchOf(deletion(p, Start{Offset: offset, Index: records[0].Index}))
	_, err = l.Propose(testContext(t), batch)
	if problem.Is(err, problem.Timeout) {
		_, err = l.Propose(testContext(t), batch)
	}
	if err != nil {
		t.Error(err)
	}
}

func segmentFiles(t testing.TB, l *Log, p Partition) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(l.options.Dir, "segments", fmt.Sprint(p.Table), fmt.Sprint(p.ID), "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// eventually polls until holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick, deadline := time.NewTicker(5*time.Millisecond), time.NewTimer(20*time.Second)
	defer tick.Stop()
	defer deadline.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func smallSegments(dir string) Options {
	o := testOptions(dir)
	o.SegmentBytes, o.CheckpointInterval = 4<<10, 50*time.Millisecond
	return o
}

func fill(t testing.TB, l *Log, p Partition, n int) {
	t.Helper()
	for i := range n {
		if _, err := l.Propose(testContext(t), batchOf(write{p, fmt.Sprintf("%d %s", i, strings.Repeat("x", 100))})); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDeletedPrefixIsGoneForReadersAtOnceAndFromDiskLater(t *testing.T) {
	p := Partition{5, 0}
	dir := t.TempDir()
	l := openTestLog(t, smallSegments(dir))
	fill(t, l, p, 400)
	before := len(segmentFiles(t, l, p))
	deleteBefore(t, l, p, 300)
	if start := l.Start(p); start != 300 {
		t.Errorf("start %d", start)
	}
	if _, err := l.Read(p, 299, 1); !problem.Is(err, problem.Trimmed) {
		t.Errorf("read before the start: %v", err)
	}
	if records, err := l.Read(p, 300, 1); err != nil || len(records) != 1 || records[0].Offset != 300 {
		t.Errorf("read at the start: %v, %v", records, err)
	}
	if offset, _, err := l.OffsetAtTime(p, 0); err != nil || offset != 300 {
		t.Errorf("the first offset at any time is %d, %v", offset, err)
	}
	eventually(t, "old segments are deleted", func() bool { return len(segmentFiles(t, l, p)) <= before/4+1 })
	infos, err := l.Segments(p)
	if err != nil || infos[0].Base > 300 || infos[0].End <= 300 || infos[len(infos)-1].End != 400 {
		t.Errorf("segments %+v, %v", infos, err)
	}
	for i, info := range infos[1:] {
		if info.Base != infos[i].End || !infos[i].Sealed || infos[i].Bytes == 0 {
			t.Errorf("segments %+v", infos)
		}
	}
	deleteBefore(t, l, p, 400)
	eventually(t, "all segments are deleted", func() bool { return len(segmentFiles(t, l, p)) == 0 })
	if infos, err := l.Segments(p); err != nil || len(infos) != 0 {
		t.Errorf("segments %+v, %v", infos, err)
	}
	fill(t, l, p, 3)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openTestLog(t, smallSegments(dir))
	if start, end := l.Start(p), l.End(p); start != 400 || end != 403 {
		t.Errorf("from %d to %d after a restart", start, end)
	}
	if records, err := l.Read(p, 400, 1<<20); err != nil || len(records) != 3 {
		t.Errorf("%d records after a restart, %v", len(records), err)
	}
}

// The open segment must not keep what is before the start for ever, however little is written.
func TestSegmentWithTheStartInItIsNotAppendedTo(t *testing.T) {
	p := Partition{5, 0}
	dir := t.TempDir()
	l := openTestLog(t, smallSegments(dir))
	for round := range 4 {
		fill(t, l, p, 3)
		deleteBefore(t, l, p, l.End(p)-1)
		if round == 1 {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = openTestLog(t, smallSegments(dir))
		}
	}
	eventually(t, "one segment is left", func() bool { return len(segmentFiles(t, l, p)) == 1 })
}

func TestTailKnowsWhatItHasMissed(t *testing.T) {
	l := openTestLog(t, smallSegments(t.TempDir()))
	a, b := Partition{5, 0}, Partition{5, 1}
	var positions []Position
	for range 10 {
		r, err := l.Propose(testContext(t), batchOf(write{a, "a0"}, write{a, "a1"}, write{b, "b"}))
		if err != nil {
			t.Fatal(err)
		}
		positions = append(positions, r.Position)
	}
	within := func(i int, seen uint32) Position {
		return PositionOf(Part{Group: groupID, Index: positions[i].Part(groupID).Index, Seen: seen})
	}
	deleteBefore(t, l, a, 8) // the changes of the first four entries
	for _, c := range []struct {
		name string
		from Position
		want int // records to come; -1: trimmed
	}{
		{"the beginning", Position{}, -1},
		{"an entry that is gone", positions[2], -1},
		{"within the last one gone", within(3, 1), -1},
		{"the last one gone", positions[3], 18},
		{"within the first one kept", within(4, 1), 17},
		{"the last", positions[9], 0},
	} {
		tail, err := l.Tail(5, 2, c.from)
		if c.want < 0 {
			if !problem.Is(err, problem.Trimmed) {
				t.Errorf("from %s: %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("from %s: %v", c.name, err)
			continue
		}
		if got := collect(t, tail, c.want, 1<<20); len(got) != c.want {
			t.Errorf("from %s: %d records, want %d", c.name, len(got), c.want)
		}
		tail.Close()
	}
	if _, err := l.Tail(6, 2, Position{}); err != nil {
		t.Errorf("a table that was never written: %v", err)
	}
}

// A tail that is overtaken must learn of it, whether its files still exist or not.
func TestRunningTailIsToldThatItWasOvertaken(t *testing.T) {
	p := Partition{5, 0}
	l := openTestLog(t, smallSegments(t.TempDir()))
	fill(t, l, p, 300)
	tails := make([]*Tail, 3)
	for i := range tails {
		var err error
		if tails[i], err = l.Tail(5, 1, Position{}); err != nil {
			t.Fatal(err)
		}
		if got := collect(t, tails[i], 50*i, 1); len(got) != 50*i {
			t.Fatalf("%d records", len(got))
		}
	}
	deleteBefore(t, l, p, 200)
	end := func(tail *Tail) error {
		for {
			if _, err := tail.Next(testContext(t), 1); err != nil {
				return err
			}
		}
	}
	if err := end(tails[0]); !problem.Is(err, problem.Trimmed) {
		t.Errorf("before the files are deleted: %v", err)
	}
	eventually(t, "old segments are deleted", func() bool { return len(segmentFiles(t, l, p)) < 25 })
	for _, tail := range tails[1:] {
		if err := end(tail); !problem.Is(err, problem.Trimmed) {
			t.Errorf("after the files were deleted: %v", err)
		}
	}
}

// Readers race with deletion: each sees dense offsets up to the point where it is told that it is too late.
func TestReadersBesideDeletion(t *testing.T) {
	rng := newSeed(t)
	p := Partition{5, 0}
	o := smallSegments(t.TempDir())
	o.OpenFiles = 4
	l := openTestLog(t, o)
	ctx, stop := context.WithCancel(testContext(t))
	defer stop()
	var readers sync.WaitGroup
	var trimmed, read [4]int
	for i := range read {
		slow := rand.New(rand.NewPCG(rng.Uint64(), 7))
		readers.Go(func() { trimmed[i], read[i] = readBeside(ctx, t, l, p, i%2 == 0, slow) })
	}
	for range 60 {
		fill(t, l, p, 40)
		if start, end := l.Start(p), l.End(p); end-start > 150 {
			deleteBefore(t, l, p, start+Offset(1+rng.IntN(int(end-start))))
		}
		if err := l.Checkpoint(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	readers.Wait()
	t.Logf("read %v, told to start again %v", read, trimmed)
	eventually(t, "old segments are deleted", func() bool { return len(segmentFiles(t, l, p)) < 20 })
	for i := range read {
		if read[i] == 0 {
			t.Errorf("reader %d read nothing", i)
		}
	}
}

// readBeside reads p over and over, by a Tail or by Read, until ctx ends.
func readBeside(ctx context.Context, t *testing.T, l *Log, p Partition, tailing bool, slow *rand.Rand) (trimmed, read int) {
	for ctx.Err() == nil {
		next := l.Start(p)
		more := func() ([]Record, error) { return l.Read(p, next, 2000) }
		if tailing {
			tail, err := l.Tail(p.Table, 1, l.Position())
			if err != nil {
				t.Error(err)
				return trimmed, read
			}
			next = tail.cursors[0].reader.want
			more = func() ([]Record, error) { return tail.Next(ctx, 2000) }
		}
		for {
			records, err := more()
			if problem.Is(err, problem.Trimmed) {
				trimmed++
				break
			}
			if ctx.Err() != nil {
				return trimmed, read
			}
			if err != nil {
				t.Errorf("after %d: %v", next, err)
				return trimmed, read
			}
			for _, r := range records {
				if r.Offset != next {
					t.Errorf("offset %d where %d is due", r.Offset, next)
					return trimmed, read
				}
				next++
				read++
			}
			if slow.IntN(3) == 0 { // falls behind
				_ = l.WaitEnd(ctx, p, l.End(p)+Offset(slow.IntN(100)))
			}
		}
	}
	return trimmed, read
}

// A kill in the middle of a deletion leaves files that the next start deletes, of a partition that nobody uses too.
func TestDeletionGoesOnAfterARestart(t *testing.T) {
	p := Partition{5, 0}
	dir := t.TempDir()
	l := openTestLog(t, smallSegments(dir))
	fill(t, l, p, 200)
	files := segmentFiles(t, l, p)
	kept := map[string][]byte{}
	for _, path := range files[1:5] {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		kept[path] = data
	}
	deleteBefore(t, l, p, 190)
	eventually(t, "old segments are deleted", func() bool { return len(segmentFiles(t, l, p)) < 4 })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for path, data := range kept { // as if these had not been deleted yet
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l = openTestLog(t, smallSegments(dir))
	eventually(t, "what was left is deleted", func() bool { return len(segmentFiles(t, l, p)) < 4 })
	if records, err := l.Read(p, 190, 1<<20); err != nil || len(records) != 10 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

// A missing file that no deletion accounts for is damage, even beside deletions.
func TestMissingSegmentIsFoundAfterADeletion(t *testing.T) {
	rng := newSeed(t)
	for range 30 {
		s := makeCutScript(rng, 40)
		base, _ := finished(t, s)
		r, err := openRig(base)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.run(r), r.replica.sync(), r.findLeftovers(), r.checkDeleted()); err != nil {
			t.Fatal(err)
		}
		files := map[string]bool{} // whether the file holds kept changes
		for id := range s.model {
			infos, err := partInfos(r, id)
			if err != nil {
				t.Fatal(err)
			}
			for _, info := range infos {
				files[base.PathJoin(rigDir, "segments", fmt.Sprint(id.Table), fmt.Sprint(id.ID), segmentName(info.Base))] = true
			}
		}
		r.close()
		for path := range files {
			image := edit(t, base, path, func(b []byte) []byte { return b })
			if err := image.Remove(path); err != nil {
				t.Fatal(err)
			}
			r, err := openRig(image)
			if err != nil {
				t.Fatal(err)
			}
			if _, damage := errors.AsType[*CorruptionError](s.verify(r)); !damage {
				t.Errorf("%s is missing unnoticed", path)
			}
			r.close()
		}
	}
}

func partInfos(r *rig, id Partition) ([]SegmentInfo, error) {
	p, err := r.store.partition(id)
	if err == nil {
		err = p.load()
	}
	if err != nil {
		return nil, err
	}
	return p.describe(), nil
}

// A node that gets a snapshot after deletions starts where the others do.
func TestSnapshotAfterDeletion(t *testing.T) {
	w := newNetwork(t, 3)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	options := func(node int) Options {
		o := w.options(dirs[node-1], FirstIdentity(NodeID(node), 1, 2, 3))
		o.SegmentBytes, o.CheckpointInterval = 4<<10, 50*time.Millisecond
		return o
	}
	logs := openNodes(t, options(1), options(2), options(3))
	p, all := Partition{1, 0}, Partition{2, 0}
	writeTo(t, logs[0], 50)
	closeNodes(t, logs[2])
	if _, err := logs[0].Barrier(testContext(t)); err != nil {
		t.Fatal(err)
	}
	writeTo(t, logs[0], 300)
	deleteBefore(t, logs[0], p, 100)
	deleteBefore(t, logs[0], all, logs[0].End(all))
	for _, l := range logs[:2] {
		eventually(t, "old segments are deleted on every node", func() bool { return len(segmentFiles(t, l, all)) == 0 })
	}
	for _, l := range logs[:2] {
		if err := l.Checkpoint(testContext(t)); err != nil {
			t.Fatal(err)
		}
		snapshotAndForget(t, l)
	}
	want, err := logs[0].Barrier(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	logs[2] = openNodes(t, options(3))[0]
	if logs[2].replica.restored.Load() == 0 {
		t.Error("the node caught up without a snapshot")
	}
	for _, l := range logs {
		if err := l.Wait(testContext(t), want); err != nil {
			t.Fatal(err)
		}
	}
	compareFromStart(t, logs)
	writeTo(t, logs[2], 20)
	if want, err = logs[2].Barrier(testContext(t)); err != nil {
		t.Fatal(err)
	}
	for _, l := range logs {
		if err := l.Wait(testContext(t), want); err != nil {
			t.Fatal(err)
		}
	}
	compareFromStart(t, logs)
	closeNodes(t, logs...)
	logs = openNodes(t, options(1), options(2), options(3))
	compareFromStart(t, logs)
	closeNodes(t, logs...)
}

func compareFromStart(t *testing.T, logs []*Log) {
	t.Helper()
	for _, p := range []Partition{{1, 0}, {1, 1}, {1, 2}, {2, 0}} {
		start := logs[0].Start(p)
		want, err := logs[0].Read(p, start, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range logs[1:] {
			if l.Start(p) != start {
				t.Errorf("%v starts at %d on node %d, at %d on the first", p, l.Start(p), l.options.Identity.Node, start)
			}
			got, err := l.Read(p, start, 1<<30)
			if err != nil || !slices.EqualFunc(got, want, func(a, b Record) bool { return a.Offset == b.Offset && string(a.Data) == string(b.Data) }) {
				t.Errorf("%v on node %d: %d records, want %d, %v", p, l.options.Identity.Node, len(got), len(want), err)
			}
		}
	}
}

// fingerprint lists the files below dir with their sizes and times.
func fingerprint(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// An idle log writes nothing, opens nothing, and a partition without changes has no folder.
func TestIdleLogCostsNothing(t *testing.T) {
	dir := t.TempDir()
	l := openTestLog(t, smallSegments(dir))
	fill(t, l, Partition{5, 0}, 50)
	if end := l.End(Partition{6, 0}) + l.Start(Partition{6, 0}); end != 0 {
		t.Errorf("a partition never written ends at %d", end)
	}
	if records, err := l.Read(Partition{6, 0}, 0, 100); err != nil || len(records) != 0 {
		t.Errorf("a partition never written: %v, %v", records, err)
	}
	if infos, err := l.Segments(Partition{6, 0}); err != nil || len(infos) != 0 {
		t.Errorf("a partition never written: %v, %v", infos, err)
	}
	eventually(t, "the last checkpoint", func() bool { return l.floor.durable() == Index(l.store.applied.Load()) })
	if err := l.Checkpoint(testContext(t)); err != nil { // waits for the one under way
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "segments", "6")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a table never written has a folder: %v", err)
	}
	before := fingerprint(t, dir)
	idle := time.NewTimer(8 * keeperTick) // some ticks of every clock there is: Raft's, the keeper's
	defer idle.Stop()
	<-idle.C
	if after := fingerprint(t, dir); after != before {
		t.Errorf("files changed while idle:\n%s\n%s", before, after)
	}
}

// The Raft log gives its files back after checkpoints, under load too.
func TestRaftLogStaysSmall(t *testing.T) {
	dir := t.TempDir()
	o := testOptions(dir)
	o.CheckpointBytes, o.CheckpointInterval = 4<<20, 50*time.Millisecond
	l := openTestLog(t, o)
	const written = 320 << 20
	data := strings.Repeat("x", 512<<10)
	most := int64(0)
	for range written / len(data) {
		if _, err := l.Propose(testContext(t), batchOf(write{Partition{5, 0}, data})); err != nil {
			t.Fatal(err)
		}
		most = max(most, sizeOf(t, filepath.Join(dir, "raft")))
	}
	eventually(t, "the last checkpoint", func() bool { return l.floor.durable() == Index(l.store.applied.Load()) })
	eventually(t, "the Raft log is small", func() bool { return sizeOf(t, filepath.Join(dir, "raft")) < 150<<20 })
	t.Logf("%d MiB written, the Raft log took up to %d MiB, %d MiB at the end", written>>20, most>>20, sizeOf(t, filepath.Join(dir, "raft"))>>20)
	if most > 260<<20 {
		t.Errorf("the Raft log took %d MiB while %d MiB were written", most>>20, written>>20)
	}
}

// sizeOf returns the bytes of the files below dir.
func sizeOf(t testing.TB, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
