package log

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/lni/dragonboat/v4/statemachine"

	"kalamlog.dev/kalam/internal/problem"
)

// backupOf returns the runs and the Fold's stream of what l has now, and the index.
func backupOf(t *testing.T, l *Log) (runs, fold []byte, at Index) {
	t.Helper()
	release := l.Hold()
	defer release()
	m, ok := l.options.Fold.(*mapFold)
	if !ok {
		t.Fatal("not a test fold")
	}
	view, err := m.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	at = m.state.Checkpoint.Index
	var out bytes.Buffer
	ids, err := l.store.listPartitions()
	if err != nil {
		t.Fatal(err)
	}
	pieces := 0
	for _, id := range ids {
		all, err := l.Runs(id, l.Start(id), l.End(id))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			pieces++
			if err := l.SaveRun(&out, r, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if pieces < 4 {
		t.Errorf("the backup has only %d pieces", pieces)
	}
	var state bytes.Buffer
	if err := m.Save(view, &state, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), state.Bytes(), at
}

// noteGap puts a gap into the state.
func noteGap(m *mapFold, g Gap) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.Gaps = append(m.state.Gaps, g)
}

// restoreTo makes dir of a backup and returns the gap that its log then has.
func restoreTo(t *testing.T, dir string, runs, fold io.Reader, node NodeID) Gap {
	t.Helper()
	if err := PrepareRestore(dir); err != nil {
		t.Fatal(err)
	}
	o := testOptions(dir)
	o.Identity = FirstIdentity(node, node)
	o.SegmentBytes = 8 << 10
	r, err := BeginRestore(o)
	if err != nil {
		t.Fatal(err)
	}
	gap, err := r.Load(SnapshotStream(runs, fold))
	if err != nil {
		t.Fatal(err)
	}
	m, _ := o.Fold.(*mapFold)
	noteGap(m, gap)
	receipt, err := r.Propose(testContext(t), batchOf(write{Partition{9, 0}, "restored"}))
	if err != nil {
		t.Fatal(err)
	}
	if got := receipt.Position.Part(groupID).Index; got != gap.To {
		t.Errorf("the first entry has index %d, want %d", got, gap.To)
	}
	if _, err := ReadIdentity(dir); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("half a restore is taken for a node: %v", err)
	}
	if err := r.Finish(7); err != nil {
		t.Fatal(err)
	}
	if err := FinishRestore(dir, o.Identity); err != nil {
		t.Fatal(err)
	}
	return gap
}

func allOf(t *testing.T, l *Log, p Partition) []string {
	t.Helper()
	var all []string
	for at := l.Start(p); at < l.End(p); {
		records, err := l.Read(p, at, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			all = append(all, string(r.Data))
			at = r.Offset + 1
		}
	}
	return all
}

// A restored log has what the backup has, goes on behind a gap, survives restarts, and other nodes join it although its Raft log begins in the middle.
func TestRestoredLogLivesOn(t *testing.T) {
	o := testOptions(t.TempDir())
	o.SegmentBytes = 8 << 10
	source := openTestLog(t, o)
	writeTo(t, source, 400)
	runs, fold, at := backupOf(t, source)
	want := allOf(t, source, Partition{1, 0})
	writeTo(t, source, 100) // after the backup: lost
	late := source.Position()

	dir := filepath.Join(t.TempDir(), "restored")
	gap := restoreTo(t, dir, bytes.NewReader(runs), bytes.NewReader(fold), 1)
	if gap.After != at || gap.To <= late.Part(groupID).Index {
		t.Fatalf("gap %+v, the backup is at %d, the log came to %s", gap, at, late)
	}
	w := newNetwork(t, 3)
	l := openNodes(t, w.options(dir, FirstIdentity(1, 1)))[0]
	if got := allOf(t, l, Partition{1, 0}); !slices.Equal(got, want) {
		t.Fatalf("restored %d changes, want %d", len(got), len(want))
	}
	if term := l.Leader().Term; term <= 8 {
		t.Errorf("term %d does not follow that of the backup", term)
	}
	if err := l.Reach(testContext(t), late); !problem.Is(err, problem.Trimmed) {
		t.Errorf("a position that was lost: %v", err)
	}
	if _, err := l.Tail(1, 1, late); !problem.Is(err, problem.Trimmed) {
		t.Errorf("a tail from a position that was lost: %v", err)
	}
	if err := l.Reach(testContext(t), PositionOf(Part{Group: groupID, Index: at})); err != nil {
		t.Errorf("the position of the backup: %v", err)
	}
	writeTo(t, l, 50)
	if err := l.Checkpoint(testContext(t)); err != nil {
		t.Fatal(err)
	}
	writeTo(t, l, 20)
	closeNodes(t, l)
	l = openNodes(t, w.options(dir, FirstIdentity(1, 1)))[0]
	logs := []*Log{l}
	ids := []Identity{FirstIdentity(1, 1)}
	dirs := []string{dir}
	for i := range 2 {
		m := membersOf(t, l)
		r := m.NextReplica(NodeID(i + 2))
		if err := l.AddMember(testContext(t), m, r); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, t.TempDir())
		joined := openNodes(t, w.options(dirs[i+1], JoiningIdentity(r, "")))[0]
		if joined.replica.restored.Load() == 0 {
			t.Errorf("node %d got no snapshot", i+2)
		}
		if err := joined.Promote(testContext(t), membersOf(t, joined), r); err != nil {
			t.Fatal(err)
		}
		id := JoiningIdentity(r, "")
		id.Voter = true
		ids, logs = append(ids, id), append(logs, joined)
		writeTo(t, joined, 20)
	}
	catchUp(t, logs...)
	compareNodes(t, logs)
	for _, one := range logs {
		if err := one.Lost(late); !problem.Is(err, problem.Trimmed) {
			t.Errorf("node %d takes a position that was lost: %v", one.options.Identity.Node, err)
		}
	}
	closeNodes(t, logs...)
	logs = openNodes(t, w.options(dirs[1], ids[1]), w.options(dirs[2], ids[2]))
	writeTo(t, logs[0], 10)
	catchUp(t, logs...)
	compareNodes(t, logs)
	closeNodes(t, logs...)
}

// A power loss right behind FinishRestore, or a kill while the restored node first runs, loses nothing.
func TestRestoredLogAfterKill(t *testing.T) {
	o := testOptions(t.TempDir())
	o.SegmentBytes = 8 << 10
	source := openTestLog(t, o)
	writeTo(t, source, 300)
	runs, fold, _ := backupOf(t, source)
	dir := filepath.Join(t.TempDir(), "restored")
	restoreTo(t, dir, bytes.NewReader(runs), bytes.NewReader(fold), 1)
	image := copyOf(t, dir)
	for range 3 {
		l := openTestLog(t, testOptions(image))
		writeTo(t, l, 30)
		want := allOf(t, l, Partition{1, 0})
		next := copyOf(t, image) // as a kill leaves it
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = openTestLog(t, testOptions(next))
		if got := allOf(t, l, Partition{1, 0}); !slices.Equal(got, want) {
			t.Fatalf("%d changes after the kill, want %d", len(got), len(want))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		image = next
	}
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestRestoreRefuses(t *testing.T) {
	o := testOptions(t.TempDir())
	o.SegmentBytes = 8 << 10
	source := openTestLog(t, o)
	writeTo(t, source, 300)
	runs, fold, _ := backupOf(t, source)
	used := t.TempDir()
	if err := os.WriteFile(filepath.Join(used, "letter.txt"), []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := PrepareRestore(used); err == nil {
		t.Error("a directory with something else in it was taken")
	}
	for name, stream := range map[string][]byte{
		"a flipped bit":         flipped(runs, len(runs)/2),
		"a run without its end": runs[:len(runs)-5],
		"no runs":               nil,
	} {
		dir := t.TempDir()
		if err := PrepareRestore(dir); err != nil {
			t.Fatal(err)
		}
		r, err := BeginRestore(testOptions(dir))
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Load(SnapshotStream(bytes.NewReader(stream), bytes.NewReader(fold)))
		if name == "no runs" && err == nil {
			err = r.Check(Partition{1, 0})
		}
		if err == nil {
			t.Errorf("%s was restored", name)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(testContext(t), testOptions(dir)); err == nil {
			t.Errorf("%s: half a restore was opened", name)
		}
		restoreTo(t, dir, bytes.NewReader(runs), bytes.NewReader(fold), 1) // again, over what is left
	}
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 4
	return b
}

// A state that was emptied for a snapshot and never filled is accepted only to be filled: nothing is applied, and nothing ends well, before.
func TestRestoreCutOffIsTakenUpAgain(t *testing.T) {
	s := makeScript(newSeed(t), 30)
	snapshot := snapshotOf(t, s)
	behind := *s
	behind.updates = s.updates[:12]
	fs := vfs.NewMem()
	r, err := openRig(fs)
	if err != nil {
		t.Fatal(err)
	}
	if err := behind.run(r); err != nil {
		t.Fatal(err)
	}
	if err := r.replica.sync(); err != nil {
		t.Fatal(err)
	}
	r.fold.onRestore = func() error { return errors.New("cut off") }
	if err := r.replica.restoreSnapshot(bytes.NewReader(snapshot), nil); err == nil {
		t.Fatal("the restore was not cut off")
	}
	r.close()
	for range 2 { // a restart may be cut off as well
		if r, err = openRig(fs); err != nil {
			t.Fatalf("the node does not start: %v", err)
		}
		if r.replica.checkpoint.Index != 0 {
			t.Fatal("the state was not emptied")
		}
		if r.replica.whole() == nil {
			t.Error("an empty state counts as whole")
		}
		r.close()
	}
	if r, err = openRig(fs); err != nil {
		t.Fatal(err)
	}
	if _, err := r.replica.apply(s.updates[0]); err == nil {
		t.Error("an entry was applied to a state that is not whole")
	}
	r.close()
	if r, err = openRig(fs); err != nil {
		t.Fatal(err)
	}
	if err := r.replica.restoreSnapshot(bytes.NewReader(snapshot), nil); err != nil {
		t.Fatal(err)
	}
	if err := r.replica.whole(); err != nil {
		t.Error(err)
	}
	if err := s.verify(r); err != nil {
		t.Error(err)
	}
	r.close()
	if err := fs.Remove(fs.PathJoin(rigDir, "state.json")); err != nil {
		t.Fatal(err)
	}
	if r, err := openRig(fs); err == nil {
		r.close()
		t.Error("a state that went back in time was accepted after the snapshot had been taken up")
	}
}

// A follower is killed while it takes up a snapshot, when its old state is gone and the new one not there. It starts again, is given the snapshot once more, and has
// everything; it acknowledges nothing before.
func TestFollowerKilledWhileItTakesUpASnapshot(t *testing.T) {
	w := newNetwork(t, 3)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	options := func(node int) Options { return w.options(dirs[node-1], FirstIdentity(NodeID(node), 1, 2, 3)) }
	logs := openNodes(t, options(1), options(2), options(3))
	writeTo(t, logs[0], 50)
	catchUp(t, logs...)
	if err := logs[2].Checkpoint(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if logs[2].floor.durable() == 0 {
		t.Fatal("the follower has no checkpoint that it could fall behind")
	}
	closeNodes(t, logs[2])
	if _, err := logs[0].Barrier(testContext(t)); err != nil {
		t.Fatal(err)
	}
	writeTo(t, logs[0], 300)
	for _, l := range logs[:2] {
		if err := l.Checkpoint(testContext(t)); err != nil {
			t.Fatal(err)
		}
		snapshotAndForget(t, l)
	}
	killed := ""
	o := options(3)
	m, _ := o.Fold.(*mapFold)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	m.onRestore = func() error {
		killed = copyOf(t, dirs[2]) // what a kill at this moment leaves
		cancel()
		return statemachine.ErrSnapshotStopped
	}
	if l, err := Open(ctx, o); err == nil {
		closeNodes(t, l)
		t.Fatal("the follower opened although its snapshot was not taken up")
	}
	if killed == "" {
		t.Fatal("no snapshot was taken up")
	}
	if _, err := os.Stat(filepath.Join(killed, "segments"+takingSuffix)); err != nil {
		t.Fatalf("the mark is not there: %v", err)
	}
	offline := w.options(killed, FirstIdentity(3, 1, 2, 3))
	offline.Network, offline.Offline = nil, true
	if l, err := Open(testContext(t), offline); !errors.Is(err, errNotWhole) {
		if l != nil {
			closeNodes(t, l)
		}
		t.Errorf("half a state is opened for reading: %v", err)
	}
	writeTo(t, logs[0], 20)
	logs[2] = openNodes(t, w.options(killed, FirstIdentity(3, 1, 2, 3)))[0]
	if logs[2].replica.restored.Load() == 0 {
		t.Error("the snapshot was not taken up again")
	}
	catchUp(t, logs...)
	compareNodes(t, logs)
	if _, err := os.Stat(filepath.Join(killed, "segments"+takingSuffix)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the mark is still there: %v", err)
	}
	closeNodes(t, logs[0])                                     // the two that are left are a majority only together
	if _, err := logs[2].Barrier(testContext(t)); err != nil { // a write sent to a leader that is gone would have to time out
		t.Fatal(err)
	}
	writeTo(t, logs[2], 10)
	catchUp(t, logs[1], logs[2])
	compareNodes(t, logs[1:])
	closeNodes(t, logs[1:]...)
}
