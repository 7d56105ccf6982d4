package log

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// finished returns a file system with all of s, durable, and the names of its segment and index files.
func finished(t *testing.T, s *script) (*vfs.MemFS, []string) {
	t.Helper()
	base := vfs.NewCrashableMem()
	r, err := openRig(base)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.run(r), r.replica.sync(), r.store.saveIndexes()); err != nil {
		t.Fatal(err)
	}
	r.close()
	var files []string
	for _, p := range r.store.loadedPartitions() {
		names, err := base.List(p.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			files = append(files, base.PathJoin(p.dir, name))
		}
	}
	return base, files
}

// edit replaces path's bytes in a copy of base.
func edit(t *testing.T, base *vfs.MemFS, path string, change func([]byte) []byte) *vfs.MemFS {
	t.Helper()
	image := base.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	data, err := readFile(image, path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := image.Create(path, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(change(data))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return image
}

// checkDamage verifies that image holds what s made or is refused for the damage in path.
func checkDamage(t *testing.T, s *script, image *vfs.MemFS, path, what string) (harmless bool) {
	t.Helper()
	r, err := openRig(image)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	err = s.verify(r)
	if err == nil {
		return true
	}
	damage, ok := errors.AsType[*CorruptionError](err)
	if !ok {
		t.Errorf("%s of %s: %v", what, path, err)
	} else if !strings.HasPrefix(path, damage.Path) {
		t.Errorf("%s of %s is blamed on %s", what, path, damage.Path)
	}
	return false
}

func TestBitFlipsInSegmentsAreFoundOrHarmless(t *testing.T) {
	rng := newSeed(t)
	s := makeScript(rng, 40)
	base, files := finished(t, s)
	found := map[string]int{}
	for range 2000 {
		path := files[rng.IntN(len(files))]
		image := edit(t, base, path, func(b []byte) []byte {
			if len(b) > 0 {
				bit := rng.IntN(8 * len(b))
				b[bit/8] ^= 1 << (bit % 8)
			}
			return b
		})
		outcome := "found"
		if checkDamage(t, s, image, path, "a flip") {
			outcome = "harmless"
		}
		found[filepath.Ext(path)+" "+outcome]++
	}
	t.Logf("%v", found)
	if found[".log harmless"] > 0 || found[".log found"] == 0 {
		t.Error("a flipped bit of a segment went unnoticed")
	}
}

func TestShortenedAndMissingSegmentsAreFound(t *testing.T) {
	rng := newSeed(t)
	s := makeScript(rng, 40)
	base, files := finished(t, s)
	for _, path := range files {
		isLog := filepath.Ext(path) == segmentSuffix
		for range 5 {
			image := edit(t, base, path, func(b []byte) []byte { return b[:rng.IntN(len(b)+1)] })
			before, _ := base.Stat(path)
			after, _ := image.Stat(path)
			if checkDamage(t, s, image, path, "truncation") && isLog && after.Size() < before.Size() {
				t.Errorf("%s was cut from %d to %d bytes unnoticed", path, before.Size(), after.Size())
			}
		}
		image := edit(t, base, path, func(b []byte) []byte { return b })
		if err := image.Remove(path); err != nil {
			t.Fatal(err)
		}
		r, err := openRig(image)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.verify(r); (err != nil) != isLog {
			t.Errorf("%s removed: %v", path, err)
		}
		r.close()
	}
}

// An index that belongs to another time of the same segment must not lead astray.
func TestStaleIndexIsMadeAnew(t *testing.T) {
	rng := newSeed(t)
	s, other := makeScript(rng, 40), makeScript(rng, 40)
	base, files := finished(t, s)
	foreign, _ := finished(t, other)
	for _, path := range files {
		data, err := readFile(foreign, path)
		if filepath.Ext(path) != indexSuffix || err != nil {
			continue
		}
		image := edit(t, base, path, func([]byte) []byte { return data })
		checkDamage(t, s, image, strings.TrimSuffix(path, indexSuffix)+segmentSuffix, "an index of another segment in place")
	}
}

func TestOpenRefusesStateThatWentBack(t *testing.T) {
	dir := t.TempDir()
	l := openTestLog(t, testOptions(dir))
	state := filepath.Join(dir, "state.json")
	proposeN(t, l, 10)
	if err := l.Checkpoint(testContext(t)); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	proposeN(t, l, 10)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"older": old, "empty": nil} {
		if data == nil {
			err = os.Remove(state)
		} else {
			err = os.WriteFile(state, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if l, err := Open(testContext(t), testOptions(dir)); err == nil {
			l.Close()
			t.Errorf("opened with %s state", name)
		} else if !strings.Contains(err.Error(), "went back in time") {
			t.Errorf("%s state: %v", name, err)
		}
	}
}

func TestOpenRefusesRaftLogThatIsGone(t *testing.T) {
	dir := t.TempDir()
	l := openTestLog(t, testOptions(dir))
	proposeN(t, l, 10)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "raft")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it must not heal by being tried
		l, err := Open(testContext(t), testOptions(dir))
		var damage *CorruptionError
		if !errors.As(err, &damage) || damage.Path != filepath.Join(dir, "raft") {
			t.Errorf("raft log removed: %v", err)
		}
		if err == nil {
			l.Close()
		}
	}
}

func TestOpenRefusesDamagedFloor(t *testing.T) {
	mem := vfs.NewMem()
	fl, err := openFloor(mem, "floor")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := errors.Join(fl.raise(Index(10*i+1)), fl.harden(Index(10*i))); err != nil {
			t.Fatal(err)
		}
	}
	want := fl.state
	if err := fl.close(); err != nil {
		t.Fatal(err)
	}
	data, err := readFile(mem, "floor")
	if err != nil {
		t.Fatal(err)
	}
	reopen := func(data []byte) (*floor, error) {
		// A vfs.File may change what it is given to write, and does so in race builds.
		if err := replaceFile(mem, "floor", bytes.Clone(data)); err != nil {
			t.Fatal(err)
		}
		return openFloor(mem, "floor")
	}
	fl, err = reopen(data)
	if err != nil || fl.state != want {
		t.Fatalf("floor %v, want %v: %v", fl.state, want, err)
	}
	fl.close()
	for slot := range 2 {
		data[slot*floorSlotSize+17] ^= 4
		fl, err := reopen(data)
		switch slot {
		case 0:
			if err != nil || fl.state.checkpoint+10 < want.checkpoint {
				t.Fatalf("one slot damaged: %v", err)
			}
			fl.close()
		case 1:
			if damage := (*CorruptionError)(nil); !errors.As(err, &damage) {
				t.Errorf("both slots damaged: %v", err)
			}
		}
	}
}

func proposeN(t testing.TB, l *Log, n int) {
	t.Helper()
	for i := range n {
		if _, err := l.Propose(testContext(t), batchOf(write{Partition{1, PartitionID(i % 2)}, "some change"})); err != nil {
			t.Fatal(err)
		}
	}
}
