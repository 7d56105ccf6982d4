package flusher

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
)

// TestCrashAtEveryStep stops a flush, as a crash does, before its n-th step for every n, throws away all, half or none of what was not
// synced, and starts again.
func TestCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, unsynced := range []int{0, 50, 100} {
		t.Run(strconv.Itoa(unsynced), func(t *testing.T) {
			t.Parallel()
			for n := 0; ; n++ {
				if !crashAt(t, n, unsynced) {
					t.Logf("%d steps", n)
					return
				}
			}
		})
	}
}

// crashAt reports whether the flush had an n-th step.
func crashAt(t *testing.T, n, unsynced int) bool {
	t.Helper()
	mem := vfs.NewCrashableMem()
	rng := rand.New(rand.NewPCG(uint64(n), uint64(unsynced)))
	broken := &fault{left: -1, crash: true}
	r := newRig(t, mem, func(o *Options) { o.Writer = faultyWriter{o.Writer, broken} })
	syncRoot(t, mem)
	r.fs, r.letters = errorfs.Wrap(mem, broken), 2
	table := r.createTable(people(2))
	r.scribble(rng, table, 60)
	r.withFlusher(func(f *Flusher) { r.flush(f, table) })
	r.scribble(rng, table, 60)

	f := r.open()
	<-f.recovered
	broken.left = n
	// Neither of these has an answer when everything fails.
	_, _ = flushAndWait(t, f, table)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	hit := broken.heal()

	r.fs = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rng})
	committed := r.manifest(table).Flush
	if committed != 1 && committed != 2 {
		t.Fatalf("step %d: flush %d is committed", n, committed)
	}
	r.scribble(rng, table, 20)
	r.withFlusher(func(f *Flusher) {
		<-f.recovered
		r.allJobsEnd(f)
		r.check(table)
		r.flush(f, table)
		if m := r.check(table); m.Flush < 2 {
			t.Errorf("step %d: flush %d is committed", n, m.Flush)
		}
	})
	if t.Failed() {
		t.Fatalf("crash before step %d", n)
	}
	return hit
}

// TestFaultAtEveryStep fails one step of a flush alone. The job may fail; the next one makes up for it.
func TestFaultAtEveryStep(t *testing.T) {
	t.Parallel()
	for n := 0; ; n++ {
		broken := &fault{left: -1}
		r := newRig(t, errorfs.Wrap(vfs.NewMem(), broken), func(o *Options) { o.Writer = faultyWriter{o.Writer, broken} })
		r.letters = 2
		table := r.createTable(people(2))
		r.scribble(rand.New(rand.NewPCG(uint64(n), 7)), table, 60)
		r.withFlusher(func(f *Flusher) {
			<-f.recovered
			broken.left = n
			s, err := flushAndWait(t, f, table)
			hit := broken.heal()
			if err != nil {
				t.Fatalf("step %d: %v", n, err)
			}
			if !hit && s.State != Completed {
				t.Fatalf("step %d: %+v", n, s)
			}
			if s.State == Failed && s.Error == "" {
				t.Errorf("step %d: a failed job without an error", n)
			}
			r.flush(f, table)
		})
		// A file that could not be removed after the fault goes at the next start.
		r.withFlusher(func(f *Flusher) {
			<-f.recovered
			r.allJobsEnd(f)
			r.check(table)
		})
		if t.Failed() {
			t.Fatalf("fault at step %d", n)
		}
		if !broken.hit {
			t.Logf("%d steps", n)
			return
		}
	}
}

// A commit that was sent before a crash and arrives after the next start's clean-up must not name files that are gone.
func TestLateCommitIsFenced(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), nil)
	table := r.createTable(people(2))
	r.mustWrite(person(r, table, "ada", 1))
	r.withFlusher(func(f *Flusher) { r.flush(f, table) })
	r.mustWrite(person(r, table, "ada", 2), person(r, table, "bob", 1))

	var late []*materializer.Batch
	holding := r.options()
	holding.Writer = &holdingWriter{Writer: r.writer(), held: &late}
	f, err := New(holding)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := flushAndWait(t, f, table); err != nil || s.State != Failed {
		t.Fatalf("job without an answer ended as %+v, %v", s, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if len(late) == 0 {
		t.Fatal("no commit was sent")
	}
	if paths, err := r.store().List("data"); err != nil || len(paths) != 3 {
		t.Fatalf("files of a commit in doubt are %v, %v", paths, err)
	}
	r.withFlusher(func(f *Flusher) {
		<-f.recovered
		if paths, err := r.store().List("data"); err != nil || len(paths) != 1 {
			t.Fatalf("files after the start are %v, %v", paths, err)
		}
		if _, err := r.writer().Write(t.Context(), late[0]); err == nil {
			t.Error("the late commit was applied")
		}
		r.flush(f, table)
		r.check(table)
	})
}

// A flush whose commit is in doubt keeps its folder: the next one must not write over files that may yet be named.
func TestCommitInDoubtKeepsItsFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), nil)
	table := r.createTable(people(2))
	r.mustWrite(person(r, table, "ada", 1), person(r, table, "bob", 1))
	var late []*materializer.Batch
	o := r.options()
	o.Writer = &holdingWriter{Writer: r.writer(), held: &late, once: true}
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := flushAndWait(t, f, table); err != nil {
		t.Fatal(err)
	}
	before, err := r.store().List("data")
	if err != nil {
		t.Fatal(err)
	}
	s := r.flush(f, table)
	for _, path := range before {
		if strings.HasPrefix(path, s.Location) {
			t.Errorf("the second flush wrote to %s, where %s was", s.Location, path)
		}
	}
	if len(before) == 0 {
		t.Error("the flush in doubt has left no file")
	}
	if _, err := r.writer().Write(t.Context(), late[0]); err == nil {
		t.Error("the late commit was applied")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	r.withFlusher(func(f *Flusher) {
		<-f.recovered
		r.check(table)
	})
}

// allJobsEnd waits until no job in system.jobs is active.
func (r *rig) allJobsEnd(f *Flusher) {
	r.t.Helper()
	for _, s := range r.jobs() {
		if s.State.Ended() {
			continue
		}
		if _, err := f.Wait(shortContext(r.t), s.ID); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, s := range r.jobs() {
		if !s.State.Ended() {
			r.t.Errorf("job is still %+v", s)
		}
	}
}

func (r *rig) jobs() []Status {
	r.t.Helper()
	v := r.view()
	var all []Status
	for row, err := range v.Scan(v.Catalog().TableByID(materializer.SystemJobs), 0, storage.Range{}) {
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, decodeStatus(row.Row))
	}
	return all
}

// syncRoot makes the data directory itself survive a crash.
func syncRoot(t *testing.T, fs vfs.FS) {
	t.Helper()
	d, err := fs.OpenDir("")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
