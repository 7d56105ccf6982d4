package flusher

import (
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// flushedRig has a table with two flushes and a tail.
func flushedRig(t *testing.T) (*rig, *materializer.Table) {
	t.Helper()
	r := newRig(t, vfs.NewMem(), nil)
	table := r.createTable(people(2))
	rng := rand.New(rand.NewPCG(3, 4))
	r.withFlusher(func(f *Flusher) {
		for range 2 {
			r.scribble(rng, table, 200)
			r.flush(f, table)
		}
	})
	r.scribble(rng, table, 50)
	return r, table
}

func TestVerifyOverHistory(t *testing.T) {
	t.Parallel()
	r, table := flushedRig(t)
	ends := r.manifest(table).Flushed
	for _, trimmed := range []log.Offset{0, 30, min(ends[0], ends[1])} {
		r.trim(trimmed)
		v := r.view()
		rows, diffs, err := materializer.Verify(t.Context(), v, NewHistory(v, r.ledger, r.store()), io.Discard)
		if err != nil {
			t.Fatalf("log from %d: %v", trimmed, err)
		}
		if rows == 0 || len(diffs) != 0 {
			t.Errorf("log from %d: %d rows, differences %+v", trimmed, rows, diffs)
		}
	}
}

// A flipped bit in any data file is found.
func TestHistoryFindsDamage(t *testing.T) {
	t.Parallel()
	r, table := flushedRig(t)
	rng := rand.New(rand.NewPCG(8, 8))
	for _, f := range r.manifest(table).Files[:10] {
		undo := r.flip(f, rng)
		if err := r.readAll(table); err == nil || !strings.Contains(err.Error(), f.Path) {
			t.Errorf("a flipped bit in %s gave %v", f.Path, err)
		}
		undo()
	}
	if err := r.readAll(table); err != nil {
		t.Error(err)
	}
}

// A manifest that names a file twice, or not at all, is found.
func TestHistoryFindsChangesInTwoFilesOrNone(t *testing.T) {
	t.Parallel()
	r, table := flushedRig(t)
	v := r.view()
	m := r.manifest(table)
	h := NewHistory(v, r.ledger, r.store())
	read := func(m *manifest.Manifest) error {
		for p := range table.Partitions {
			hr := &historyReader{history: h, ctx: t.Context(), table: table, partition: log.Partition{Table: table.ID, ID: log.PartitionID(p)}, manifest: m}
			if err := hr.read(m.Flushed[log.PartitionID(p)], func(materializer.Change) bool { return true }); err != nil {
				return err
			}
		}
		return nil
	}
	if err := read(m); err != nil {
		t.Fatal(err)
	}
	less := *m
	less.Files = m.Files[1:]
	if err := read(&less); err == nil || !strings.Contains(err.Error(), "is in no data file") {
		t.Errorf("a missing file gave %v", err)
	}
	more := *m
	more.Files = append(slices.Clip(more.Files), m.Files[0])
	if err := read(&more); err == nil || !strings.Contains(err.Error(), "two data files") {
		t.Errorf("a file named twice gave %v", err)
	}
}

func (r *rig) readAll(t *materializer.Table) error {
	v := r.view()
	h := NewHistory(v, r.ledger, r.store())
	for p := range t.Partitions {
		end, err := v.End(log.Partition{Table: t.ID, ID: log.PartitionID(p)})
		if err != nil {
			return err
		}
		for _, err := range h.Changes(r.t.Context(), t, log.PartitionID(p), end) {
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// flip changes one bit of a file and returns what puts it back.
func (r *rig) flip(f manifest.File, rng *rand.Rand) func() {
	r.t.Helper()
	place := r.fs.PathJoin(dataDir, f.Path)
	file, err := r.fs.Open(place)
	if err != nil {
		r.t.Fatal(err)
	}
	whole, err := io.ReadAll(file)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		r.t.Fatal(err)
	}
	write := func(b []byte) {
		out, err := r.fs.Create(place, vfs.WriteCategoryUnspecified)
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := out.Write(b); err != nil {
			r.t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			r.t.Fatal(err)
		}
	}
	damaged := append([]byte(nil), whole...)
	damaged[rng.IntN(len(damaged))] ^= 1 << rng.IntN(8)
	write(damaged)
	return func() { write(whole) }
}
