package log

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/lni/dragonboat/v4/statemachine"
)

// snapshotOf returns the snapshot of a replica that has applied all of s.
func snapshotOf(t *testing.T, s *script) []byte {
	t.Helper()
	r, err := openRig(vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if err := s.run(r); err != nil {
		t.Fatal(err)
	}
	view, err := r.replica.prepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.replica.saveSnapshot(view, &b, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPowerLossAtEveryOperationOfARestore(t *testing.T) {
	rng := newSeed(t)
	restoreEverywhere(t, makeScript(rng, 30), rng, func(err error) bool { return false })
}

// A snapshot lacks what the leader has deleted, so an old state that finds the new segments may miss changes that it has. It must say so, until the
// snapshot is restored again.
func TestPowerLossAtEveryOperationOfARestoreAfterDeletions(t *testing.T) {
	rng := newSeed(t)
	restoreEverywhere(t, makeCutScript(rng, 30), rng, func(err error) bool {
		_, damage := errors.AsType[*CorruptionError](err)
		return damage
	})
}

// restoreEverywhere stops a restore of s before every operation. What is left then must be as before the restore, or say what tolerated accepts.
func restoreEverywhere(t *testing.T, s *script, rng *rand.Rand, tolerated func(error) bool) {
	snapshot := snapshotOf(t, s)
	behind := *s
	behind.updates = s.updates[:12]
	for k, total := 0, 1; k < total; k++ {
		base := vfs.NewCrashableMem()
		r, err := openRig(base)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(behind.run(r), r.replica.sync()); err != nil {
			t.Fatal(err)
		}
		r.close()
		images, operations := restoreAt(t, base, snapshot, k, rng)
		total = operations
		for i, image := range images {
			if err := s.finish(image); err != nil && !tolerated(err) {
				t.Fatalf("crash before operation %d of %d, image %d: %v", k, total, i, err)
			}
			again(t, s, image, snapshot)
		}
	}
}

// restoreAt restores snapshot over what base has and returns images of a power loss before operation k.
func restoreAt(t *testing.T, base *vfs.MemFS, snapshot []byte, k int, rng *rand.Rand) ([]*vfs.MemFS, int) {
	var images []*vfs.MemFS
	inject, count := atOperation(k, func() error {
		for _, percent := range []int{0, 50, 100} {
			images = append(images, base.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
		}
		return nil
	})
	r, err := openRig(errorfs.Wrap(base, inject))
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if err := r.replica.restoreSnapshot(bytes.NewReader(snapshot), nil); err != nil {
		t.Fatal(err)
	}
	return images, int(count.Load())
}

// again restores once more, as the group does when a restore did not end, over what s left in image.
func again(t *testing.T, s *script, image *vfs.MemFS, snapshot []byte) {
	t.Helper()
	r, err := openRig(image)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if err := r.replica.restoreSnapshot(bytes.NewReader(snapshot), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.verify(r); err != nil {
		t.Fatalf("after restoring: %v", err)
	}
}

func TestDamagedSnapshotIsRefused(t *testing.T) {
	rng := newSeed(t)
	s := makeCutScript(rng, 20)
	snapshot := snapshotOf(t, s)
	segments := bytes.Index(snapshot, []byte(`{"Checkpoint"`)) // the Fold's part is the Fold's affair
	for range 200 {
		damaged := bytes.Clone(snapshot)
		bit := rng.IntN(8 * segments)
		damaged[bit/8] ^= 1 << (bit % 8)
		r, err := openRig(vfs.NewMem())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.replica.restoreSnapshot(bytes.NewReader(damaged), nil); err == nil {
			t.Errorf("bit %d of %d flipped and not noticed", bit, 8*segments)
		} else if r.failed == nil {
			t.Errorf("bit %d: the replica goes on after %v", bit, err)
		}
		r.close()
	}
}

func TestSnapshotStops(t *testing.T) {
	s := makeCutScript(newSeed(t), 5)
	r, err := openRig(vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if err := s.run(r); err != nil {
		t.Fatal(err)
	}
	view, err := r.replica.prepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	close(stop)
	if err := r.replica.saveSnapshot(view, &bytes.Buffer{}, stop); !errors.Is(err, statemachine.ErrSnapshotStopped) {
		t.Errorf("stopped save: %v", err)
	}
	if err := r.replica.restoreSnapshot(bytes.NewReader([]byte{snapshotVersion, 0}), stop); !errors.Is(err, statemachine.ErrSnapshotStopped) {
		t.Errorf("stopped restore: %v", err)
	}
	if err := s.verify(r); err != nil {
		t.Errorf("after stopping: %v", err)
	}
}
