package log

import (
	"errors"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/internal/problem"
)

// smallDisk is a file system that says how much is free.
type smallDisk struct {
	vfs.FS
	free atomic.Int64
}

func (d *smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: uint64(d.free.Load())}, nil
}

const testReserve = 64 << 20

func newTestSpace(t *testing.T, free int64) (*space, *smallDisk) {
	t.Helper()
	d := &smallDisk{FS: vfs.NewMem()}
	d.free.Store(free)
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	return newSpace(&Options{FS: d, MinFreeBytes: testReserve, Logger: slog.New(slog.DiscardHandler)}, m), d
}

// TestBurstBetweenLooks: what was admitted and written since the last look counts, so writers cannot run into the reserve between two looks.
func TestBurstBetweenLooks(t *testing.T) {
	s, _ := newTestSpace(t, 2*testReserve+40<<20)
	under := 0
	for s.admit(t.Context(), 1<<20) == nil {
		under++
	}
	if under != 10 {
		t.Errorf("%d MiB are under way with room for %d bytes each in 40 MiB", under, spread)
	}
	if s.full() {
		t.Error("what is under way does not make a disk full")
	}
	for range under {
		s.underWay.Add(-1 << 20)
	}
	s.written.Store(40<<20 + 1)
	if err := s.admit(t.Context(), 1); !problem.Is(err, problem.DiskFull) || !s.full() {
		t.Errorf("after 40 MiB were written: %v", err)
	}
}

// TestWritingLooks: after enough bytes the file system is asked, without waiting for the keeper.
func TestWritingLooks(t *testing.T) {
	s, d := newTestSpace(t, 10*testReserve)
	d.free.Store(testReserve - 1)
	for range 2 {
		if err := s.admit(t.Context(), lookAfter/2); err != nil {
			t.Fatal(err)
		}
		s.done(lookAfter / 2)
	}
	if err := s.admit(t.Context(), 1); !problem.Is(err, problem.DiskFull) {
		t.Errorf("the disk was filled by somebody else: %v", err)
	}
	d.free.Store(10 * testReserve)
	s.look()
	if err := s.admit(t.Context(), 1); err != nil {
		t.Errorf("there is room again: %v", err)
	}
}

func TestBallastComesAndGoes(t *testing.T) {
	s, d := newTestSpace(t, 10*testReserve)
	there := func() bool {
		_, err := d.Stat(ballastFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return err == nil
	}
	for _, step := range []struct {
		free int64
		want bool
	}{
		{10 * testReserve, true}, {testReserve * 7 / 8, true}, {testReserve / 2, false}, {testReserve, false}, {2*testReserve - 1, false}, {2 * testReserve, true},
	} {
		d.free.Store(step.free)
		s.look()
		if there() != step.want {
			t.Errorf("free %d MiB: there %v", step.free>>20, there())
		}
		if enough := step.free >= 2*testReserve; s.lacking.Load() == enough {
			t.Errorf("free %d MiB: writes are refused %v", step.free>>20, s.lacking.Load())
		}
	}
	// It is given up before anything is opened.
	d.free.Store(0)
	newSpace(&Options{FS: d, MinFreeBytes: testReserve, Logger: slog.New(slog.DiscardHandler)}, s.metrics)
	if there() {
		t.Error("a start on a full disk keeps the ballast")
	}
}

// TestFullDiskRecovers: writes are refused while the disk, or those of peers, are full, reads are not, and both end by themselves.
func TestFullDiskRecovers(t *testing.T) {
	d := &smallDisk{FS: vfs.Default}
	d.free.Store(10 * testReserve)
	var peers atomic.Bool
	o := testOptions(t.TempDir())
	o.FS, o.MinFreeBytes, o.PeersFull = d, testReserve, peers.Load
	l := openTestLog(t, o)
	proposeN(t, l, 3)
	refused := func() bool {
		_, err := l.Propose(testContext(t), batchOf(write{Partition{1, 0}, "x"}))
		if err != nil && !problem.Is(err, problem.DiskFull) {
			t.Fatal(err)
		}
		return err != nil
	}
	d.free.Store(testReserve * 7 / 8)
	waitFor(t, refused)
	if !l.DiskFull() || !problem.Is(l.Room(), problem.DiskFull) {
		t.Error("the log does not say that its disk is full")
	}
	if got := len(readAll(t, l, Partition{1, 0})); got == 0 {
		t.Error("nothing can be read")
	}
	if _, err := l.Barrier(testContext(t)); err != nil {
		t.Errorf("raft on a full disk: %v", err)
	}
	if err := l.Checkpoint(testContext(t)); err != nil {
		t.Errorf("checkpoint on a full disk: %v", err)
	}
	if _, err := l.Propose(Freeing(testContext(t)), batchOf(write{Partition{1, 0}, "x"})); err != nil {
		t.Errorf("what frees space: %v", err)
	}
	d.free.Store(testReserve / 3)
	waitFor(t, func() bool {
		_, err := l.Propose(Freeing(testContext(t)), batchOf(write{Partition{1, 0}, "x"}))
		return problem.Is(err, problem.DiskFull)
	})
	d.free.Store(10 * testReserve)
	waitFor(t, func() bool { return !refused() })
	if l.DiskFull() || l.Room() != nil {
		t.Error("the log does not say that there is room again")
	}
	peers.Store(true)
	if !refused() {
		t.Error("a write was taken that full peers cannot store")
	}
	if l.DiskFull() {
		t.Error("this node's own disk is not full")
	}
}
