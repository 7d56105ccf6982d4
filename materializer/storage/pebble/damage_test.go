package pebble

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/materializer/storage"
)

// sound makes a store with tables on two levels, several syncs, a dropped partition and a reopen, and returns its files and contents.
func sound(t *testing.T) (*vfs.MemFS, string) {
	t.Helper()
	fs := vfs.NewCrashableMem()
	for round := range 3 {
		b, err := Open(Options{Dir: "state", FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		p := storage.PartitionName(fmt.Sprintf("t/%d/0", round))
		if err := b.CreatePartition(p); err != nil {
			t.Fatal(err)
		}
		for i := range 300 {
			if err := b.Put(p, fmt.Appendf(nil, "key %06d", i), fmt.Appendf(nil, "value %d of round %d", i*i, round)); err != nil {
				t.Fatal(err)
			}
			if i%100 == 99 {
				if err := b.Sync(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if round == 1 {
			if err := b.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
				t.Fatal(err)
			}
			if err := b.DropPartition("t/0/0"); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	content, err := readAll(clone(fs))
	if err != nil {
		t.Fatal(err)
	}
	return fs, content
}

func clone(fs *vfs.MemFS) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
}

// readAll opens the store, and prints all it holds, by scan and by key.
func readAll(fs vfs.FS) (content string, err error) {
	b, err := Open(Options{Dir: "state", FS: fs})
	if err != nil {
		return "", err
	}
	defer func() {
		if e := b.Close(); err == nil {
			err = e
		}
	}()
	names, err := b.Partitions()
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, p := range names {
		fmt.Fprintf(&out, "%s\n", p)
		for e, err := range b.Scan(p, storage.Range{}) {
			if err != nil {
				return "", err
			}
			v, err := b.Value(p, e.Key)
			if err != nil {
				return "", fmt.Errorf("%q was scanned, but: %w", e.Key, err)
			}
			if string(v) != string(e.Value) {
				return "", fmt.Errorf("%q has two values", e.Key)
			}
			fmt.Fprintf(&out, "%q %q\n", e.Key, e.Value)
		}
	}
	return out.String(), nil
}

func readFile(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func replaceFile(t *testing.T, fs vfs.FS, name string, content []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func kindOf(name string) string {
	if ext := filepath.Ext(name); ext != "" && !strings.HasPrefix(name, "marker") {
		return ext
	}
	kind, _, _ := strings.Cut(name, "-")
	if strings.HasPrefix(kind, "marker") {
		return "marker"
	}
	return kind
}

// TestBitFlips flips one bit at a time in every kind of file: the store must say so, or be as it was. Never may anything be missing.
func TestBitFlips(t *testing.T) {
	damage(t, 120, func(rng *rand.Rand, content []byte) []byte {
		if len(content) > 0 {
			content[rng.IntN(len(content))] ^= 1 << rng.IntN(8)
		}
		return content
	})
}

// TestTruncation cuts files short.
func TestTruncation(t *testing.T) {
	damage(t, 40, func(rng *rand.Rand, content []byte) []byte {
		if len(content) > 0 {
			content = content[:rng.IntN(len(content))]
		}
		return content
	})
}

// TestZeroedBlocks blanks a stretch, as a lost write does.
func TestZeroedBlocks(t *testing.T) {
	damage(t, 40, func(rng *rand.Rand, content []byte) []byte {
		if len(content) > 0 {
			at := rng.IntN(len(content))
			clear(content[at:min(len(content), at+512)])
		}
		return content
	})
}

// damage hurts each file of a sound store times times.
func damage(t *testing.T, times int, hurt func(*rand.Rand, []byte) []byte) {
	fs, want := sound(t)
	names, err := fs.List("state")
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	found, harmless := map[string]int{}, map[string]int{}
	for _, name := range names {
		path := fs.PathJoin("state", name)
		content := readFile(t, fs, path)
		for range times {
			hurtFS := clone(fs)
			replaceFile(t, hurtFS, path, hurt(rng, append([]byte(nil), content...)))
			got, err := readAll(hurtFS)
			switch {
			case err != nil:
				found[kindOf(name)]++
			case got == want:
				harmless[kindOf(name)]++
			default:
				t.Errorf("%s: damage went unnoticed: %d bytes instead of %d", name, len(got), len(want))
			}
		}
	}
	t.Logf("found: %v, harmless: %v", found, harmless)
}

// TestMissingFiles removes one file at a time.
func TestMissingFiles(t *testing.T) {
	fs, want := sound(t)
	names, err := fs.List("state")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		hurtFS := clone(fs)
		if err := hurtFS.Remove(fs.PathJoin("state", name)); err != nil {
			t.Fatal(err)
		}
		got, err := readAll(hurtFS)
		if err == nil && got != want {
			t.Errorf("without %s the store opens with %d bytes instead of %d", name, len(got), len(want))
		}
		t.Logf("without %s: %v", name, err)
	}
}
