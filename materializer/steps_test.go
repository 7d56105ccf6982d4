package materializer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestStepsDoNotMatter applies the same entries in steps of other lengths, as a restart or a slow follower does: tables are made, filled and dropped
// within a step. The state depends on the entries alone.
func TestStepsDoNotMatter(t *testing.T) {
	entries := crashHistory(t, rand.New(rand.NewPCG(3, 3)))
	whole := openRig(t, vfs.NewCrashableMem())
	whole.run(entries, 0, func(int) {})
	want := dumpState(t, whole.m)
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 4))
			r := openRig(t, vfs.NewCrashableMem())
			longest := []int{2, 10, len(entries)}[rng.IntN(3)]
			if seed == 0 {
				longest = 0 // all in one
			}
			for at := 0; at < len(entries); {
				n := len(entries) - at
				if longest > 0 {
					n = min(n, 1+rng.IntN(longest))
				}
				s := r.begin()
				for _, e := range entries[at : at+n] {
					s.entry(e...)
				}
				s.commit()
				at += n
			}
			if got := dumpState(t, r.m); !slices.Equal(got, want) {
				t.Errorf("%d entries give another state in other steps", len(entries))
			}
		})
	}
}
