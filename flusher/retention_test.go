package flusher

import (
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// retentionRig has a clock and a Flusher whose scheduler is driven by hand.
type retentionRig struct {
	*rig
	clock *handClock
	f     *Flusher
	r     *retention
}

func newRetentionRig(t *testing.T, change func(*Options)) *retentionRig {
	t.Helper()
	clock := newHandClock()
	r := newRig(t, vfs.NewMem(), func(o *Options) {
		o.Clock = clock
		never(o)
		if change != nil {
			change(o)
		}
	})
	f := r.open()
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return &retentionRig{rig: r, clock: clock, f: f, r: newRetention(f)}
}

// look runs retention as if its turn had come.
func (r *retentionRig) look() {
	r.t.Helper()
	clear(r.r.next)
	if err := r.r.run(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *retentionRig) starts(t *materializer.Table) (starts []log.Offset) {
	for p := range t.Partitions {
		starts = append(starts, r.Start(log.Partition{Table: t.ID, ID: log.PartitionID(p)}))
	}
	return starts
}

func (r *retentionRig) verify() {
	r.t.Helper()
	rows, diffs, err := materializer.Verify(r.t.Context(), r.view(), NewHistory(r.view(), r.ledger, r.store()), io.Discard)
	if err != nil || len(diffs) > 0 || rows == 0 {
		r.t.Fatalf("verify: %d rows, %+v, %v", rows, diffs, err)
	}
}

func TestRetentionByAge(t *testing.T) {
	t.Parallel()
	r := newRetentionRig(t, func(o *Options) { o.RetentionAge = time.Hour })
	table := r.createTable(people(1))
	rng := rand.New(rand.NewPCG(1, 2))
	r.scribble(rng, table, 100)
	end := log.Offset(len(r.mu.records[log.Partition{Table: table.ID}]))
	r.clock.move(2 * time.Hour)
	if r.look(); r.starts(table)[0] != 0 {
		t.Errorf("unflushed changes are gone: the log starts at %d", r.starts(table)[0])
	}
	r.flush(r.f, table)
	r.clock.move(-2 * time.Hour)
	if r.look(); r.starts(table)[0] != 0 {
		t.Errorf("new changes are gone: the log starts at %d", r.starts(table)[0])
	}
	r.clock.move(65 * time.Minute)
	if r.look(); r.starts(table)[0] != 0 {
		t.Errorf("the log moved for less than a tenth: it starts at %d", r.starts(table)[0])
	}
	r.scribble(rng, table, 20)
	r.clock.move(2 * time.Minute)
	if r.look(); r.starts(table)[0] != end {
		t.Errorf("the log starts at %d, want %d", r.starts(table)[0], end)
	}
	s, err := r.view().Start(log.Partition{Table: table.ID})
	if want := r.mu.records[log.Partition{Table: table.ID}][end-1].Index; err != nil || s.Index != want {
		t.Errorf("the last change removed is of entry %d, want %d, %v", s.Index, want, err)
	}
	r.verify()
	written := r.mu.index
	if r.look(); r.mu.index != written {
		t.Error("retention writes although nothing is to be done")
	}
}

func TestRetentionOptions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		options materializer.TableOptions
		kind    materializer.TableKind
		age     time.Duration
		bytes   int64
	}{
		{"the server's", materializer.TableOptions{}, materializer.Shared, time.Hour, 5000},
		{"the table's", materializer.TableOptions{Retention: time.Minute, RetentionBytes: 7}, materializer.Shared, time.Minute, 7},
		{"unlimited", materializer.TableOptions{Retention: materializer.Unlimited, RetentionBytes: materializer.Unlimited}, materializer.Shared, 0, 0},
		{"a TTL", materializer.TableOptions{TTL: time.Second}, materializer.Stream, time.Second, 5000},
		{"a long TTL", materializer.TableOptions{TTL: 2 * time.Hour}, materializer.Stream, time.Hour, 5000},
		{"a TTL, else unlimited", materializer.TableOptions{TTL: 2 * time.Hour, Retention: materializer.Unlimited}, materializer.Stream, 2 * time.Hour, 5000},
		{"a TTL of no stream", materializer.TableOptions{TTL: time.Second}, materializer.Shared, time.Hour, 5000},
	} {
		r := retention{flusher: &Flusher{options: Options{RetentionAge: time.Hour, RetentionBytes: 5000}}}
		table := &materializer.Table{ID: materializer.FirstUserTable, Kind: c.kind, Options: c.options}
		if age, bytes := r.age(table), r.bytes(table); age != c.age || bytes != c.bytes {
			t.Errorf("%s: %s and %d bytes, want %s and %d", c.name, age, bytes, c.age, c.bytes)
		}
	}
	r := retention{flusher: &Flusher{options: Options{RetentionAge: -1, RetentionBytes: -1}}}
	table := &materializer.Table{ID: materializer.FirstUserTable}
	if age, bytes := r.age(table), r.bytes(table); age != 0 || bytes != 0 {
		t.Errorf("never: %s and %d bytes", age, bytes)
	}
}

func TestRetentionByBytes(t *testing.T) {
	t.Parallel()
	r := newRetentionRig(t, func(o *Options) { o.RetentionAge, o.RetentionBytes = -1, 5000 })
	table := r.createTable(people(2))
	rng := rand.New(rand.NewPCG(1, 2))
	r.scribble(rng, table, 150)
	if r.look(); r.starts(table)[0]+r.starts(table)[1] != 0 {
		t.Errorf("unflushed changes are gone: %v", r.starts(table))
	}
	r.flush(r.f, table)
	r.scribble(rng, table, 5)
	r.look()
	kept := 0
	for p := range table.Partitions {
		infos, err := r.Segments(log.Partition{Table: table.ID, ID: log.PartitionID(p)})
		if err != nil {
			t.Fatal(err)
		}
		kept += len(infos)
	}
	if kept != 5 {
		t.Errorf("%d segments of 1000 bytes are kept of a log of 5000: %v", kept, r.starts(table))
	}
	r.verify()
}

// The rows of a stream go for good once they are older than its TTL: from the log, from the manifest, and then their files.
func TestStreamsExpire(t *testing.T) {
	t.Parallel()
	r := newRetentionRig(t, func(o *Options) { o.FileGrace = time.Minute })
	table := r.createTable(&materializer.Table{
		Name: "events", Kind: materializer.Stream, Partitions: 2, Options: materializer.TableOptions{TTL: time.Hour},
		Versions: []*materializer.Schema{{Version: 1, Columns: []materializer.Column{{Name: "n", Type: expr.Type{Kind: expr.BigInt}}}}},
	})
	write := func(n int) {
		for i := range n {
			m, err := table.NewRow(materializer.Insert, []expr.Value{expr.IntOf(expr.BigInt, int64(i))})
			if err != nil {
				t.Fatal(err)
			}
			m.Partition.ID = log.PartitionID(i % 2)
			r.mustWrite(m)
		}
	}
	paths := func() int {
		list, err := r.store().List("")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	write(40)
	r.flush(r.f, table)
	first := paths()
	write(20)
	r.flush(r.f, table)
	r.look()
	if m := r.manifest(table); len(m.Files) != paths() || first == 0 || paths() <= first {
		t.Fatalf("%d files in the manifest, %d in the store", len(m.Files), paths())
	}
	// The second flush is as old as the clock says, the changes are all of the same moment: so move it to before the TTL of the second.
	r.clock.move(67 * time.Minute)
	write(6)
	r.flush(r.f, table)
	number := r.manifest(table).Flush
	r.look()
	m := r.manifest(table)
	if got := r.starts(table); got[0] != 33 || got[1] != 33 {
		t.Errorf("the log starts at %v", got) // the ledger's timestamps stand still: everything flushed goes
	}
	if m.Flush <= number {
		t.Errorf("the manifest changed and is still number %d", m.Flush)
	}
	for _, f := range m.Files {
		if f.Flush <= 2 {
			t.Errorf("%s is not expired", f.Path)
		}
	}
	before := paths()
	if r.look(); paths() != before {
		t.Error("files are removed while a query may read them")
	}
	r.clock.move(time.Minute)
	if r.look(); paths() != len(m.Files) {
		t.Errorf("%d files are left, %d are named", paths(), len(m.Files))
	}
	s, err := r.view().Start(log.Partition{Table: table.ID, ID: 1})
	if err != nil || s.Expired != 30 {
		t.Errorf("expired up to %d, %v", s.Expired, err)
	}
	r.verify()
	write(4)
	r.flush(r.f, table)
	r.verify()
}

// A flush that was planned before files expired is refused and done again.
func TestExpiryFencesFlushes(t *testing.T) {
	t.Parallel()
	r := newRetentionRig(t, nil)
	table := r.createTable(&materializer.Table{
		Name: "events", Kind: materializer.Stream, Partitions: 1, Options: materializer.TableOptions{TTL: time.Hour},
		Versions: []*materializer.Schema{{Version: 1, Columns: []materializer.Column{{Name: "n", Type: expr.Type{Kind: expr.BigInt}}}}},
	})
	m, err := table.NewRow(materializer.Insert, []expr.Value{expr.IntOf(expr.BigInt, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r.mustWrite(m)
	r.flush(r.f, table)
	r.mustWrite(m)
	stale, err := r.f.fenceBatch(table.ID) // built as a commit is
	if err != nil {
		t.Fatal(err)
	}
	r.clock.move(2 * time.Hour)
	r.look()
	if _, err := r.writer().Write(t.Context(), stale); !problem.Is(err, problem.VersionConflict) {
		t.Errorf("a commit from before the expiry: %v", err)
	}
}

// What is dropped takes its starts with it.
func TestDroppedTableForgetsItsStarts(t *testing.T) {
	t.Parallel()
	r := newRetentionRig(t, func(o *Options) { o.RetentionAge = time.Hour })
	table := r.createTable(people(1))
	r.mustWrite(person(r.rig, table, "ada", 1))
	r.flush(r.f, table)
	r.clock.move(2 * time.Hour)
	if r.look(); r.starts(table)[0] != 1 {
		t.Fatalf("the log starts at %v", r.starts(table))
	}
	r.drop(table)
	if err := r.f.forgetDropped(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, err := r.view().Start(log.Partition{Table: table.ID}); err != nil || s.Offset != 0 {
		t.Errorf("start %+v, %v", s, err)
	}
	r.look()
}

// System tables that change all the time do not grow the log for ever; the catalog's log stays whole.
func TestSystemTablesLeaveTheLog(t *testing.T) {
	t.Parallel()
	r := newRetentionRig(t, nil)
	table := r.createTable(people(1))
	rng := rand.New(rand.NewPCG(1, 2))
	jobs := r.m.Catalog().TableByID(materializer.SystemJobs)
	r.scribble(rng, table, 10)
	r.flush(r.f, table)
	r.clock.move(23 * time.Hour)
	if r.look(); r.starts(jobs)[0] != 0 {
		t.Errorf("the log of system.jobs starts at %d after a day", r.starts(jobs)[0])
	}
	r.clock.move(4 * time.Hour)
	r.scribble(rng, table, 10)
	r.flush(r.f, table)
	before := len(r.jobs())
	if r.look(); r.starts(jobs)[0] == 0 {
		t.Error("the log of system.jobs has all there ever was")
	}
	if start := r.starts(r.m.Catalog().TableByID(materializer.SystemTables))[0]; start != 0 {
		t.Errorf("the catalog's log starts at %d", start)
	}
	if n := len(r.jobs()); n != before || n == 0 {
		t.Errorf("system.jobs has %d rows, not %d", n, before)
	}
	r.verify()
	r.clock.move(48 * time.Hour)
	r.look()
	r.verify()
}
