package storagetest

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"kalamlog.dev/kalam/materializer/storage"
)

// contents is the model: partitions of sorted maps.
type contents map[storage.PartitionName]map[string]string

func (c contents) clone() contents {
	out := contents{}
	for p, entries := range c {
		out[p] = maps.Clone(entries)
	}
	return out
}

// lines prints a range of a partition as scan does.
func (c contents) lines(p storage.PartitionName, r storage.Range) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(c[p])) {
		if (r.Start == nil || k >= string(r.Start)) && (r.End == nil || k < string(r.End)) {
			out = append(out, k+"="+c[p][k])
		}
	}
	if r.Reverse {
		slices.Reverse(out)
	}
	return out
}

var modelPartitions = []storage.PartitionName{"a", "a/", "a/1", "b"}

func drawKey(t *rapid.T, label string) []byte {
	return []byte(rapid.StringOfN(rapid.RuneFrom([]rune{0, 1, '/', 'a', 'b'}), 0, 3, -1).Draw(t, label))
}

func drawRange(t *rapid.T) storage.Range {
	var r storage.Range
	if rapid.Bool().Draw(t, "has start") {
		r.Start = drawKey(t, "start")
	}
	if rapid.Bool().Draw(t, "has end") {
		r.End = drawKey(t, "end")
	}
	r.Reverse = rapid.Bool().Draw(t, "reverse")
	return r
}

// machine drives the store and the model side by side.
type machine struct {
	s         *store
	want      contents
	snapshot  storage.Snapshot
	snapshots contents
}

// testModel runs random operations against the store and against maps.
func testModel(t *testing.T, s *store) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{s: s, want: contents{}}
		for _, p := range modelPartitions {
			s.check(s.DropPartition(p))
		}
		rt.Repeat(map[string]func(*rapid.T){
			"":         m.compare,
			"batch":    m.batch,
			"scan":     m.scan,
			"look up":  m.lookUp,
			"snapshot": m.takeSnapshot,
			"reopen":   m.reopen,
		})
		m.release()
	})
}

// batch applies random writes that the model accepts or refuses as a whole.
func (m *machine) batch(t *rapid.T) {
	batch, next := m.s.NewBatch(), m.want.clone()
	refused := false
	for range rapid.IntRange(1, 8).Draw(t, "writes") {
		p := rapid.SampledFrom(modelPartitions).Draw(t, "partition")
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0, 1:
			batch.CreatePartition(p)
			if next[p] == nil {
				next[p] = map[string]string{}
			}
		case 2:
			batch.DropPartition(p)
			delete(next, p)
		case 3, 4:
			key := drawKey(t, "key")
			batch.Delete(p, key)
			refused = refused || next[p] == nil
			delete(next[p], string(key))
		default:
			key, value := drawKey(t, "key"), rapid.StringN(0, 5, -1).Draw(t, "value")
			batch.Put(p, key, []byte(value))
			if next[p] == nil {
				refused = true
			} else {
				next[p][string(key)] = value
			}
		}
	}
	err := batch.Commit()
	switch {
	case refused && !errors.Is(err, storage.ErrNoPartition):
		t.Fatalf("commit: %v, want ErrNoPartition", err)
	case !refused && err != nil:
		t.Fatalf("commit: %v", err)
	case !refused:
		m.want = next
	}
}

func (m *machine) compare(t *rapid.T) {
	got, err := m.s.Partitions()
	if err != nil {
		t.Fatal(err)
	}
	if want := slices.Sorted(maps.Keys(m.want)); !slices.Equal(got, want) {
		t.Fatalf("partitions %q, want %q", got, want)
	}
	for p := range m.want {
		same(t, m.s, m.want, p, storage.Range{})
	}
	if m.snapshot == nil {
		return
	}
	for p := range m.snapshots {
		same(t, m.snapshot, m.snapshots, p, storage.Range{})
	}
}

func same(t *rapid.T, r storage.Reader, want contents, p storage.PartitionName, in storage.Range) {
	got, err := scan(r, p, in)
	if err != nil {
		t.Fatal(err)
	}
	if lines := want.lines(p, in); !slices.Equal(got, lines) {
		t.Fatalf("scan of %s %v: %q, want %q", p, in, got, lines)
	}
}

func (m *machine) scan(t *rapid.T) {
	for p := range m.want {
		same(t, m.s, m.want, p, drawRange(t))
	}
}

// lookUp reads many keys at once.
func (m *machine) lookUp(t *rapid.T) {
	keys := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) []byte { return drawKey(t, "key") }), 0, 20).Draw(t, "keys")
	slices.SortFunc(keys, bytes.Compare)
	for p, entries := range m.want {
		next := 0
		err := storage.Values(m.s.Backend, p, keys, func(i int, got []byte) {
			if i != next {
				t.Fatalf("key %d where %d is due", i, next)
			}
			next++
			want, ok := entries[string(keys[i])]
			if ok != (got != nil) || string(got) != want {
				t.Fatalf("%s/%q = %q, want %q (%v)", p, keys[i], got, want, ok)
			}
		})
		if err != nil || next != len(keys) {
			t.Fatalf("%d of %d keys: %v", next, len(keys), err)
		}
	}
}

func (m *machine) takeSnapshot(t *rapid.T) {
	m.release()
	snapshot, err := m.s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	m.snapshot, m.snapshots = snapshot, m.want.clone()
}

func (m *machine) release() {
	if m.snapshot != nil {
		m.s.check(m.snapshot.Close())
		m.snapshot = nil
	}
}

func (m *machine) reopen(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "rarely") > 0 {
		return
	}
	m.release()
	if err := m.s.Sync(); err != nil {
		t.Fatal(err)
	}
	m.s.reopen()
}
