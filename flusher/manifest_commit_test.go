package flusher

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// commit applies all batches of c as of a fresh view.
func (r *rig) commit(c *manifest.Commit, limit int) (batches int, err error) {
	r.t.Helper()
	bs, err := c.Batches(r.view(), limit)
	if err != nil {
		return 0, err
	}
	for _, b := range bs {
		if _, err := r.writer().Write(r.t.Context(), b); err != nil {
			return len(bs), err
		}
	}
	return len(bs), nil
}

// Random superseded offsets, over chunk and 32-bit borders, in one batch or many, read back as the union of all commits.
func TestManifestSupersededEqualsModel(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{manifest.DefaultBatchBytes, 1000, 1} {
		r := newRig(t, vfs.NewMem(), nil)
		table := r.createTable(people(3))
		rng := rand.New(rand.NewPCG(uint64(limit), 1))
		model := map[log.PartitionID]*roaring64.Bitmap{}
		for flush := range 5 {
			c := &manifest.Commit{Table: table, Flush: int64(flush + 1), Now: 1, Superseded: map[log.PartitionID]*roaring64.Bitmap{}, Flushed: map[log.PartitionID]log.Offset{}}
			for p := range log.PartitionID(2) {
				bits := roaring64.New()
				for range 300 {
					base := []uint64{0, 1<<20 - 10, 1 << 21, 1<<32 - 100, 1 << 40}[rng.IntN(5)]
					bits.Add(base + rng.Uint64N(200))
				}
				c.Superseded[p] = bits
				if model[p] == nil {
					model[p] = roaring64.New()
				}
				model[p].Or(bits)
				c.Flushed[p] = 1<<41 + log.Offset(flush)
			}
			n, err := r.commit(c, limit)
			if err != nil {
				t.Fatal(err)
			}
			if (n == 1) != (limit == manifest.DefaultBatchBytes) {
				t.Errorf("a limit of %d bytes gave %d batches", limit, n)
			}
		}
		m := r.manifest(table)
		if len(m.Superseded) != 2 || !m.Superseded[0].Equals(model[0]) || !m.Superseded[1].Equals(model[1]) {
			t.Errorf("limit %d: superseded is %v, want %v", limit, m.Superseded, model)
		}
		if want := map[log.PartitionID]log.Offset{0: 1<<41 + 4, 1: 1<<41 + 4, 2: 0}; m.Flush != 5 || !maps.Equal(m.Flushed, want) {
			t.Errorf("manifest is flush %d, %v", m.Flush, m.Flushed)
		}
	}
}

func TestManifestFilesReadBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), nil)
	table := r.createTable(people(2))
	var want []manifest.File
	for i := range 30 {
		want = append(want, manifest.File{
			Path: fmt.Sprintf("data/x/1/%02d.parquet", i), Shard: strconv.Itoa(i), Strategy: "hash", Flush: 1, Schema: 1, Rows: int64(i), Bytes: int64(i) << 33,
			Checksum: []byte{0, 0xff, byte(i)}, Offsets: map[log.PartitionID]manifest.Range{0: {First: log.Offset(i), Last: 1 << 50}, 1: {}}, Created: 1,
		})
	}
	if _, err := r.commit(&manifest.Commit{Table: table, Flush: 1, Files: want, Now: 1}, 1000); err != nil {
		t.Fatal(err)
	}
	if got := r.manifest(table).Files; fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("files read back are\n%+v, want\n%+v", got, want)
	}
}

// Of two flushes built on the same view one is refused, whichever partitions they have moved.
func TestManifestRefusesTheSecondOfTwoCommits(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), nil)
	table := r.createTable(people(4))
	for flush := range int64(3) {
		v := r.view()
		build := func(p log.PartitionID, path string) *materializer.Batch {
			t.Helper()
			c := &manifest.Commit{Table: table, Flush: flush + 1, Now: 1, Files: []manifest.File{{Path: path}}, Flushed: map[log.PartitionID]log.Offset{p: log.Offset(flush + 1)}}
			bs, err := c.Batches(v, manifest.DefaultBatchBytes)
			if err != nil || len(bs) != 1 {
				t.Fatal(len(bs), err)
			}
			return bs[0]
		}
		first, second := build(0, fmt.Sprint("a", flush)), build(3, fmt.Sprint("b", flush))
		if _, err := r.writer().Write(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		if _, err := r.writer().Write(t.Context(), second); !problem.Is(err, problem.VersionConflict) && !problem.Is(err, problem.DuplicateKey) {
			t.Errorf("the second commit of flush %d: %v", flush+1, err)
		}
		m := r.manifest(table)
		var paths []string
		for _, f := range m.Files {
			paths = append(paths, f.Path)
		}
		if want := []string{"a0", "a1", "a2"}[:flush+1]; m.Flush != flush+1 || !slices.Equal(paths, want) || m.Flushed[3] != 0 {
			t.Errorf("manifest is %+v", m)
		}
	}
}

func TestManifestNeverGoesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), nil)
	table := r.createTable(people(1))
	if _, err := r.commit(&manifest.Commit{Table: table, Flush: 3, Flushed: map[log.PartitionID]log.Offset{0: 10}}, 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := r.commit(&manifest.Commit{Table: table, Flush: 4, Flushed: map[log.PartitionID]log.Offset{0: 9}}, 1000); err == nil {
		t.Error("a commit that goes back was built")
	}
	b, err := manifest.Fence(r.view(), table)
	if err != nil {
		t.Fatal(err)
	}
	r.mustWrite(b.Mutations...)
	if m := r.manifest(table); m.Flush != 3 || m.Flushed[0] != 10 {
		t.Errorf("the fence changed the manifest to %+v", m)
	}
}
