package flusher

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
)

func TestFlushWritesEachChangeOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), nil)
	table := r.createTable(people(3))
	rng := rand.New(rand.NewPCG(1, 2))
	r.withFlusher(func(f *Flusher) {
		for i := range 4 {
			r.scribble(rng, table, 300)
			s := r.flush(f, table)
			if want := fmt.Sprintf("data/default.people-%d/%d-%s", table.ID, i+1, strings.TrimPrefix(s.ID, "flush-")); s.Location != want || s.Rows == 0 || s.Progress != 1 {
				t.Errorf("status is %+v, want location %s", s, want)
			}
			if m := r.check(table); m.Flush != int64(i+1) {
				t.Errorf("flush %d has number %d", i+1, m.Flush)
			}
		}
	})
}

func TestEmptyFlushCompletesAndCommitsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), nil)
	table := r.createTable(people(2))
	r.withFlusher(func(f *Flusher) {
		for range 2 {
			if s := r.flush(f, table); s.Rows != 0 || s.Location != "" || s.Progress != 1 || s.Finished == 0 {
				t.Errorf("status is %+v", s)
			}
		}
		if m := r.check(table); m.Flush != 0 || len(m.Files) != 0 {
			t.Errorf("manifest is %+v", m)
		}
		r.mustWrite(person(r, table, "ada", 1))
		r.flush(f, table)
		r.flush(f, table)
		if m := r.check(table); m.Flush != 1 || len(m.Files) != 1 || m.Files[0].Shard != "a" {
			t.Errorf("manifest is %+v", m)
		}
	})
}

func TestSystemTablesAreNotFlushed(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), nil)
	r.withFlusher(func(f *Flusher) {
		_, err := f.Flush(t.Context(), r.m.Catalog().TableByID(materializer.SystemJobs))
		if !problem.Is(err, problem.Unsupported) {
			t.Errorf("flush of a system table: %v", err)
		}
	})
}
