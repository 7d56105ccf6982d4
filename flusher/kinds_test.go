package flusher

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// shards gives "shard: rows" of a manifest's files.
func shards(m *manifest.Manifest) string {
	rows := map[string]int64{}
	for _, f := range m.Files {
		rows[f.Shard] += f.Rows
	}
	var parts []string
	for _, s := range slices.Sorted(maps.Keys(rows)) {
		parts = append(parts, fmt.Sprintf("%s:%d", s, rows[s]))
	}
	return strings.Join(parts, " ")
}

func TestUserTableIsShardedByUser(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), nil)
	table := r.createTable(&materializer.Table{Name: "notes", Kind: materializer.User, Partitions: 2, Versions: []*materializer.Schema{{
		Version: 1, Key: []int{0, 1}, Columns: []materializer.Column{
			{Name: materializer.UserColumn, Type: expr.Type{Kind: expr.Text}, NotNull: true, Hidden: true},
			{Name: "id", Type: expr.Type{Kind: expr.BigInt}, NotNull: true},
		},
	}}})
	for i, user := range []string{"ada", "Bob", "ann", "7of9", "ada"} {
		m, err := table.NewRow(materializer.Insert, []expr.Value{expr.TextOf(user), expr.IntOf(expr.BigInt, int64(i))})
		if err != nil {
			t.Fatal(err)
		}
		r.mustWrite(m)
	}
	r.withFlusher(func(f *Flusher) {
		r.flush(f, table)
		if got, want := shards(r.check(table)), "a:3 b:1 z:1"; got != want {
			t.Errorf("shards are %s, want %s", got, want)
		}
	})
}

func TestStreamWithoutKeyIsShardedByPartition(t *testing.T) {
	t.Parallel()
	for sharding, want := range map[string]string{"numeric": "0:10 1:10 2:10", "alphabetic": "z:30"} {
		r := newRig(t, vfs.NewMem(), nil)
		table := r.createTable(&materializer.Table{
			Name: "events", Kind: materializer.Stream, Partitions: 3, Options: materializer.TableOptions{Sharding: sharding},
			Versions: []*materializer.Schema{{Version: 1, Columns: []materializer.Column{
				{Name: "text", Type: expr.Type{Kind: expr.Text}, NotNull: true}, {Name: "blob", Type: expr.Type{Kind: expr.Blob}},
			}}},
		})
		for i := range 30 {
			m, err := table.NewRow(materializer.Insert, []expr.Value{expr.TextOf(fmt.Sprint("event ", i)), {}})
			if err != nil {
				t.Fatal(err)
			}
			m.Partition.ID = log.PartitionID(i % 3)
			r.mustWrite(m)
		}
		r.withFlusher(func(f *Flusher) {
			r.flush(f, table)
			m := r.check(table)
			if got := shards(m); got != want {
				t.Errorf("%s shards are %s, want %s", sharding, got, want)
			}
			if len(m.Superseded) != 0 {
				t.Errorf("a stream has superseded offsets %v", m.Superseded)
			}
		})
	}
}

type badStrategy struct{}

func (badStrategy) ShardKey(key string) string { return "../" + key }
func (badStrategy) ShardCount() int            { return 2 }

type manyStrategy struct{}

func (manyStrategy) ShardKey(key string) string { return key }
func (manyStrategy) ShardCount() int            { return 2 }

func TestStrategies(t *testing.T) {
	t.Parallel()
	for sharding, want := range map[string]string{
		"hash": "shard-0000", "": "a:", "bad": "a strategy named a shard", "many": "named more than its 2 shards", "unknown": "there is no sharding strategy",
	} {
		r := newRig(t, vfs.NewMem(), func(o *Options) {
			if err := o.Strategies.Register("bad", badStrategy{}); err != nil {
				t.Fatal(err)
			}
			if err := o.Strategies.Register("many", manyStrategy{}); err != nil {
				t.Fatal(err)
			}
		})
		def := people(2)
		def.Options.Sharding = sharding
		r.letters = 26
		table := r.createTable(def)
		r.scribble(rand.New(rand.NewPCG(1, 1)), table, 100)
		r.withFlusher(func(f *Flusher) {
			s, err := flushAndWait(t, f, table)
			if err != nil {
				t.Fatal(err)
			}
			m := r.check(table)
			if got := s.Error + shards(m); !strings.Contains(got, want) {
				t.Errorf("%q gave %q, want %q", sharding, got, want)
			}
			if (s.State == Completed) != (m.Flush == 1) {
				t.Errorf("%q: job ended as %+v, flush is %d", sharding, s, m.Flush)
			}
		})
	}
}

func TestRowsOfOldSchemaVersionsAreWrittenInTheNewest(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), nil)
	old := people(1)
	old.Versions[0].Columns[1].Type = expr.Type{Kind: expr.Integer}
	table := r.createTable(old)
	put := func(values ...expr.Value) {
		t.Helper()
		m, err := table.NewRow(materializer.Upsert, values)
		if err != nil {
			t.Fatal(err)
		}
		r.mustWrite(m)
	}
	r.withFlusher(func(f *Flusher) {
		put(expr.TextOf("ada"), expr.IntOf(expr.Integer, 1), expr.TextOf("x"))
		r.flush(f, table)
		put(expr.TextOf("bob"), expr.IntOf(expr.Integer, 2), expr.TextOf("y"))

		// n becomes BIGINT, note is renamed, extra is added.
		next := *r.table("people").Schema()
		next.Version, next.Columns = 2, slices.Clone(next.Columns)
		next.Columns[1].Type.Kind = expr.BigInt
		next.Columns[2].Name = "remark"
		next.Columns = append(next.Columns, materializer.Column{
			ID: 4, Name: "extra", Type: expr.Type{Kind: expr.Integer},
			Default: &materializer.Default{Literal: expr.AppendValue(nil, expr.IntOf(expr.Integer, 7))},
		})
		table = r.alter(table, &next)
		put(expr.TextOf("cyd"), expr.IntOf(expr.BigInt, 3), expr.TextOf("z"), expr.IntOf(expr.Integer, 8))
		r.mustWrite(removal(r, table, "ada"))
		r.flush(f, table)
		m := r.check(table)
		if got, want := r.text(table, m), "1: ada 1 x insert\n2: ada NULL NULL NULL delete\n2: bob 2 y 7 insert\n2: cyd 3 z 8 insert\n"; got != want {
			t.Errorf("files hold\n%swant\n%s", got, want)
		}

		// remark is dropped.
		last := *table.Schema()
		last.Version, last.Columns = 3, slices.Delete(slices.Clone(last.Columns), 2, 3)
		table = r.alter(table, &last)
		put(expr.TextOf("dan"), expr.IntOf(expr.BigInt, 4), expr.Value{})
		put(expr.TextOf("cyd"), expr.IntOf(expr.BigInt, 5), expr.IntOf(expr.Integer, 9))
		r.flush(f, table)
		r.check(table)
	})
	// The state holds bob's row in version 1, its file in version 2: only the files are left to tell.
	r.trim(1 << 40)
	rows, diffs, err := materializer.Verify(t.Context(), r.view(), NewHistory(r.view(), r.ledger, r.store()), nil)
	if err != nil || len(diffs) > 0 || rows == 0 {
		t.Errorf("verify without the log: %d rows, %+v, %v", rows, diffs, err)
	}
}

// alter adds a schema version.
func (r *rig) alter(t *materializer.Table, s *materializer.Schema) *materializer.Table {
	r.t.Helper()
	def := *t
	def.Versions = append(slices.Clone(t.Versions), s)
	ms, err := r.m.Catalog().ReplaceTable(&def, 1)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mustWrite(ms...)
	return r.table(t.Name)
}

// text gives a line for each row of the files, sorted: the schema version, the values and the operation.
func (r *rig) text(t *materializer.Table, m *manifest.Manifest) string {
	r.t.Helper()
	h := NewHistory(r.view(), r.ledger, r.store())
	hr := &historyReader{history: h, ctx: r.t.Context(), table: t, partition: log.Partition{Table: t.ID}, manifest: m}
	var lines []string
	for row, err := range hr.rows() {
		if err != nil {
			r.t.Fatal(err)
		}
		words := []string{fmt.Sprint(row.schema.Version, ":")}
		for _, v := range row.Values {
			words = append(words, v.String())
		}
		words = append(words, []string{"", "insert", "update", "delete"}[row.Op]+"\n")
		lines = append(lines, strings.Join(words, " "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func TestDroppedTableIsForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), nil)
	table := r.createTable(people(2))
	r.scribble(rand.New(rand.NewPCG(5, 5)), table, 100)
	other := people(2)
	other.Name = "other"
	kept := r.createTable(other)
	r.mustWrite(person(r, kept, "ada", 1))
	r.withFlusher(func(f *Flusher) {
		r.flush(f, table)
		r.flush(f, kept)
		r.drop(table)
		if _, err := f.Flush(t.Context(), table); err != nil {
			t.Fatal(err)
		}
		if s, err := flushAndWait(t, f, table); err != nil || s.State != Failed || !strings.Contains(s.Error, string(problem.UnknownTable)) {
			t.Errorf("flush of a dropped table ended as %+v, %v", s, err)
		}
		if err := f.forgetDropped(t.Context()); err != nil {
			t.Fatal(err)
		}
		if m := r.manifest(table); m.Flush != 0 || len(m.Files) != 0 || len(m.Superseded) != 0 {
			t.Errorf("manifest of the dropped table is %+v", m)
		}
		r.check(kept)
	})
}

func (r *rig) drop(t *materializer.Table) {
	r.t.Helper()
	ms, err := r.m.Catalog().DropTable(t)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mustWrite(ms...)
}

// With little memory row groups are small and files stay complete.
func TestLittleMemory(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), func(o *Options) { o.Memory = 8 << 10 })
	table := r.createTable(people(2))
	r.scribble(rand.New(rand.NewPCG(9, 9)), table, 3000)
	r.withFlusher(func(f *Flusher) {
		r.flush(f, table)
		r.check(table)
	})
}
