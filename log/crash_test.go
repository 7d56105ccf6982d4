package log

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// atOperation calls do before the k-th operation on a file system, counted from 0; do's error is injected.
func atOperation(k int, do func() error) (errorfs.Injector, *atomic.Int64) {
	var count atomic.Int64
	return errorfs.InjectorFunc(func(errorfs.Op) error {
		if count.Add(1) == int64(k)+1 {
			return do()
		}
		return nil
	}), &count
}

// crashAt runs s and returns the images that a power loss before operation k may leave, and how many operations there were.
func crashAt(t *testing.T, s *script, base *vfs.MemFS, k int, rng *rand.Rand) ([]*vfs.MemFS, int) {
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
	if err := s.run(r); err != nil {
		t.Fatal(err)
	}
	return images, int(count.Load())
}

func TestPowerLossAtEveryOperation(t *testing.T) {
	rng := newSeed(t)
	s := makeCutScript(rng, 30)
	for k, total := 0, 1; k < total; k++ {
		var images []*vfs.MemFS
		images, total = crashAt(t, s, vfs.NewCrashableMem(), k, rng)
		for i, image := range images {
			if err := s.finish(image); err != nil {
				t.Fatalf("crash before operation %d of %d, image %d: %v", k, total, i, err)
			}
		}
	}
}

func TestPowerLossWhileRecoveringFromPowerLoss(t *testing.T) {
	rng := newSeed(t)
	for range 60 {
		s := makeCutScript(rng, 25)
		_, total := crashAt(t, s, vfs.NewCrashableMem(), -1, rng)
		images, _ := crashAt(t, s, vfs.NewCrashableMem(), rng.IntN(total), rng)
		for range 3 {
			if len(images) == 0 {
				break
			}
			image := images[rng.IntN(len(images))]
			images, _ = crashAt(t, s, image, rng.IntN(total), rng)
		}
		for i, image := range images {
			if err := s.finish(image); err != nil {
				t.Fatalf("image %d: %v", i, err)
			}
		}
	}
}

var errInjected = errors.New("injected")

func TestFailureOfEveryOperation(t *testing.T) {
	rng := newSeed(t)
	s := makeCutScript(rng, 30)
	for k, total := 0, 1; k < total; k++ {
		base := vfs.NewCrashableMem()
		inject, count := atOperation(k, func() error { return errInjected })
		err := runFailing(s, errorfs.Wrap(base, inject))
		total = int(count.Load())
		if err != nil && !errors.Is(err, errInjected) {
			t.Fatalf("operation %d failed: %v", k, err)
		}
		for _, percent := range []int{0, 50, 100} {
			image := base.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			if err := s.finish(image); err != nil {
				t.Fatalf("operation %d of %d failed, then power loss with %d%%: %v", k, total, percent, err)
			}
		}
		if err := s.finish(base); err != nil {
			t.Fatalf("operation %d of %d failed, then kill: %v", k, total, err)
		}
		if err == nil && total <= k {
			break
		}
	}
}

// runFailing runs s on fs. After a failure the replica must take nothing more.
func runFailing(s *script, fs vfs.FS) error {
	r, err := openRig(fs)
	if err != nil {
		return err
	}
	defer r.close()
	err = s.run(r)
	if err == nil || r.failed == nil {
		return err
	}
	if _, err := r.replica.apply([]committed{{1 << 40, appendEntry(nil, 0, nil)}}); err == nil {
		return fmt.Errorf("an update was applied after %w", r.failed)
	}
	if err := r.replica.beforeDurable(); err == nil {
		return fmt.Errorf("the state could become durable after %w", r.failed)
	}
	var m *mismatch
	if verr := s.verify(r); errors.As(verr, &m) {
		return verr
	}
	return err
}
