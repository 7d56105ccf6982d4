package flusher

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/flusher/objstore"
	"kalamlog.dev/kalam/flusher/shard"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

const dataDir = "kalam-data"

// rig is a ledger, a file system and Flushers over them.
type rig struct {
	*ledger
	fs      vfs.FS
	change  func(*Options)
	letters int // how many first letters scribble uses, and so how many files a flush writes
}

func newRig(t testing.TB, fs vfs.FS, change func(*Options)) *rig {
	t.Helper()
	if err := fs.MkdirAll(dataDir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &rig{ledger: newLedger(t), fs: fs, change: change, letters: 30}
}

func (r *rig) store() objstore.Store { return objstore.NewDir(r.fs, dataDir) }

// options has no scheduler and small limits, so that little data makes many chunks.
func (r *rig) options() Options {
	r.t.Helper()
	strategies, err := shard.NewRegistry(4)
	if err != nil {
		r.t.Fatal(err)
	}
	o := Options{Log: r.ledger, State: r.m, Writer: r.writer(), Store: r.store(), Strategies: strategies, CheckInterval: -1}
	if r.change != nil {
		r.change(&o)
	}
	return o
}

func (r *rig) open() *Flusher {
	r.t.Helper()
	f, err := New(r.options())
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

// withFlusher runs do with a Flusher that is closed afterwards.
func (r *rig) withFlusher(do func(f *Flusher)) {
	r.t.Helper()
	f := r.open()
	defer func() {
		if err := f.Close(); err != nil {
			r.t.Error(err)
		}
	}()
	do(f)
}

// flush flushes t and expects it to complete.
func (r *rig) flush(f *Flusher, t *materializer.Table) Status {
	r.t.Helper()
	s, err := flushAndWait(r.t, f, t)
	if err != nil {
		r.t.Fatal(err)
	}
	if s.State != Completed {
		r.t.Fatalf("job ended as %+v", s)
	}
	return s
}

func flushAndWait(t testing.TB, f *Flusher, table *materializer.Table) (Status, error) {
	ctx := shortContext(t)
	id, err := f.Flush(ctx, table)
	if err != nil {
		return Status{}, err
	}
	return f.Wait(ctx, id)
}

func shortContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

func (r *rig) manifest(t *materializer.Table) *manifest.Manifest {
	r.t.Helper()
	v := r.view()
	m, err := manifest.Read(v, t)
	if err != nil {
		r.t.Fatal(err)
	}
	version, err := manifest.Version(v, t.ID)
	if err != nil || version != m.Flush {
		r.t.Fatalf("Version is %d, %v, the manifest's %d", version, err, m.Flush)
	}
	return m
}

// people is a keyed table: name TEXT PRIMARY KEY, n BIGINT, note TEXT.
func people(partitions int) *materializer.Table {
	return &materializer.Table{Name: "people", Partitions: partitions, Versions: []*materializer.Schema{{
		Version: 1, Key: []int{0}, Columns: []materializer.Column{
			{Name: "name", Type: expr.Type{Kind: expr.Text}, NotNull: true},
			{Name: "n", Type: expr.Type{Kind: expr.BigInt}},
			{Name: "note", Type: expr.Type{Kind: expr.Text}},
		},
	}}}
}

func person(r *rig, t *materializer.Table, name string, n int64) materializer.Mutation {
	r.t.Helper()
	values := []expr.Value{expr.TextOf(name), expr.IntOf(expr.BigInt, n), expr.TextOf(fmt.Sprintf("note %d of %s", n, name))}
	for len(values) < len(t.Schema().Columns) {
		values = append(values, expr.Value{})
	}
	m, err := t.NewRow(materializer.Upsert, values)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func removal(r *rig, t *materializer.Table, name string) materializer.Mutation {
	r.t.Helper()
	m, err := t.OfKey(materializer.Remove, []expr.Value{expr.TextOf(name)})
	if err != nil {
		r.t.Fatal(err)
	}
	m.Miss = materializer.Skip
	return m
}

// scribble writes n random upserts and removals over few keys.
func (r *rig) scribble(rng *rand.Rand, t *materializer.Table, n int) {
	r.t.Helper()
	for range n {
		name := fmt.Sprintf("%c%d", rune('a'+rng.IntN(r.letters)), rng.IntN(20))
		if rng.IntN(4) == 0 {
			r.mustWrite(removal(r, t, name))
		} else {
			r.mustWrite(person(r, t, name, rng.Int64N(1000)))
		}
	}
}

// check proves what a table's manifest promises: every flushed change is in exactly one file and equal to the log's, the files' ranges and checksums hold,
// the superseded offsets are those of a model, and the store has no other files.
func (r *rig) check(t *materializer.Table) *manifest.Manifest {
	r.t.Helper()
	v := r.view()
	m := r.manifest(t)
	h := NewHistory(v, r.ledger, r.store())
	for p := range t.Partitions {
		part := log.PartitionID(p)
		end, err := v.End(log.Partition{Table: t.ID, ID: part})
		if err != nil {
			r.t.Fatal(err)
		}
		n := log.Offset(0)
		for c, err := range h.Changes(r.t.Context(), t, part, end) {
			if err != nil {
				r.t.Fatal(err)
			}
			if c.Offset != n {
				r.t.Fatalf("offset %d after %d", c.Offset, n)
			}
			n++
		}
		if n != end {
			r.t.Fatalf("history of partition %d has %d changes of %d", p, n, end)
		}
		r.checkSuperseded(m, log.Partition{Table: t.ID, ID: part})
	}
	r.checkFiles(m)
	return m
}

func (r *rig) checkSuperseded(m *manifest.Manifest, p log.Partition) {
	r.t.Helper()
	want := roaring64.New()
	r.mu.Lock()
	records := r.mu.records[p][:m.Flushed[p.ID]]
	r.mu.Unlock()
	for _, rec := range records {
		c, err := materializer.DecodeChange(rec)
		if err != nil {
			r.t.Fatal(err)
		}
		if c.HasPrevious {
			want.Add(uint64(c.Previous))
		}
		if c.Op == materializer.RowDeleted {
			want.Add(uint64(c.Offset))
		}
	}
	got := m.Superseded[p.ID]
	if got == nil {
		got = roaring64.New()
	}
	if !got.Equals(want) {
		r.t.Errorf("superseded of %v are\n%v, want\n%v", p, got, want)
	}
}

func (r *rig) checkFiles(m *manifest.Manifest) {
	r.t.Helper()
	var named []string
	rows := int64(0)
	for _, f := range m.Files {
		named = append(named, f.Path)
		rows += f.Rows
		o, err := r.store().Open(f.Path)
		if err != nil {
			r.t.Fatal(err)
		}
		if o.Size() != f.Bytes {
			r.t.Errorf("%s has %d bytes, the manifest says %d", f.Path, o.Size(), f.Bytes)
		}
		if err := o.Close(); err != nil {
			r.t.Fatal(err)
		}
	}
	total := int64(0)
	for _, end := range m.Flushed {
		total += int64(end)
	}
	if rows != total {
		r.t.Errorf("files have %d rows, %d changes are flushed", rows, total)
	}
	stored, err := r.store().List("")
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Sort(named)
	if !slices.Equal(stored, named) {
		r.t.Errorf("the store has\n%v, the manifest\n%v", stored, named)
	}
}
