package flusher

import (
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/materializer"
)

// handClock stands still until it is moved.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newHandClock() *handClock { return &handClock{now: time.Unix(1_700_000_000, 0)} }

// never is a policy that nothing fulfils.
func never(o *Options) { o.Rows, o.Bytes, o.Interval = -1, -1, -1 }

func TestDue(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	r := newRig(t, vfs.NewMem(), func(o *Options) { o.Clock = clock; never(o) })
	table := r.createTable(people(2))
	r.withFlusher(func(f *Flusher) {
		s := newScheduler(f)
		due := func() int {
			t.Helper()
			tables, _, err := s.due()
			if err != nil {
				t.Fatal(err)
			}
			return len(tables)
		}
		o := &f.options
		o.Interval = time.Minute
		if clock.move(time.Hour); due() != 0 {
			t.Error("a table without changes is due")
		}
		r.mustWrite(person(r, table, "ada", 1), person(r, table, "bob", 1), person(r, table, "cyd", 1))
		if due() != 0 {
			t.Error("new changes are due at once")
		}
		if clock.move(59 * time.Second); due() != 0 {
			t.Error("due before the interval is over")
		}
		if clock.move(time.Second); due() != 1 {
			t.Error("not due after the interval")
		}
		o.Interval, o.Rows = -1, 4
		if due() != 0 {
			t.Error("3 changes are due with 4")
		}
		if o.Rows = 3; due() != 1 {
			t.Error("3 changes are not due with 3")
		}
		o.Rows, o.Bytes = -1, 1<<20
		if due() != 0 {
			t.Error("a few bytes are due with 1 MiB")
		}
		if o.Bytes = 100; due() != 1 {
			t.Error("more than 100 bytes are not due")
		}
		r.flush(f, table)
		if o.Rows, o.Interval = 1, time.Second; due() != 0 {
			t.Error("a flushed table is due")
		}
	})
}

func TestTableOptionSetsTheRows(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), never)
	def := people(1)
	def.Options.FlushRows = 2
	table := r.createTable(def)
	r.withFlusher(func(f *Flusher) {
		for n, want := range []int{0, 0, 1} {
			if due, _, err := newScheduler(f).due(); err != nil || len(due) != want {
				t.Errorf("with %d changes %d tables are due, %v", n, len(due), err)
			}
			r.mustWrite(person(r, table, "ada", int64(n)))
		}
	})
}

func TestSchedulerFlushesAndForgets(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), func(o *Options) {
		never(o)
		o.Rows, o.CheckInterval = 2, time.Millisecond
	})
	table := r.createTable(people(1))
	r.withFlusher(func(*Flusher) {
		r.mustWrite(person(r, table, "ada", 1), person(r, table, "ada", 2))
		eventually(t, "a flush", func() bool { return flushNumber(t, r, table) == 1 })
		r.drop(table)
		eventually(t, "the files to go", func() bool {
			paths, err := r.store().List("data")
			return err == nil && len(paths) == 0
		})
	})
}

func flushNumber(t *testing.T, r *rig, table *materializer.Table) int64 {
	t.Helper()
	jobs := r.jobs()
	for _, s := range jobs {
		if s.State == Completed {
			return r.manifest(table).Flush
		}
	}
	return 0
}
