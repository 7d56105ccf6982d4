package materializer

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"kalamlog.dev/kalam/log"
)

// modelRow is a row (id, name, n) of the table of usersTable and the place of its last change in all changes of its partition.
type modelRow struct {
	name    string
	n       int64
	version int64
}

// model is what the table should hold.
type model struct {
	rows map[int64]modelRow
	ends map[log.PartitionID]int64
}

func (m *model) clone() *model { return &model{rows: maps.Clone(m.rows), ends: maps.Clone(m.ends)} }

// modelMutation is a mutation in both worlds.
type modelMutation struct {
	Mutation
	id      int64
	name    string
	n       int64 // put by Insert and Upsert, added by Patch
	atLeast int64 // condition n >= atLeast, if hasWhere
	where   bool
}

// apply reports whether the batch goes on; what it returns otherwise is a refusal.
func (m *model) apply(d modelMutation) (ok bool) {
	cur, exists := m.rows[d.id]
	fits := exists
	switch {
	case d.Op == Insert:
		fits = !exists
	case d.Op == Upsert && !exists:
		fits = d.Version < 0
	case exists:
		fits = (d.Version < 0 || cur.version == d.Version) && (!d.where || cur.n >= d.atLeast)
	}
	if !fits {
		return d.Miss == Skip
	}
	at := m.ends[d.Partition.ID]
	switch d.Op {
	case Insert, Upsert:
		m.rows[d.id] = modelRow{d.name, d.n, at}
	case Patch:
		m.rows[d.id] = modelRow{cur.name, cur.n + d.n, at}
	case Remove:
		delete(m.rows, d.id)
	}
	m.ends[d.Partition.ID] = at + 1
	return true
}

func (m *model) lines() []string {
	var out []string
	for id, r := range m.rows {
		out = append(out, fmt.Sprintf("[%d %s %d]@%d", id, r.name, r.n, r.version))
	}
	slices.Sort(out)
	return out
}

func drawMutation(t *rapid.T, l *ledger, users *Table) modelMutation {
	d := modelMutation{id: rapid.Int64Range(0, 6).Draw(t, "id"), n: rapid.Int64Range(-3, 3).Draw(t, "n"), name: rapid.SampledFrom([]string{"ann", "bob", ""}).Draw(t, "name")}
	o := rapid.SampledFrom([]MutationOp{Insert, Upsert, Upsert, Patch, Patch, Remove}).Draw(t, "op")
	if o == Insert || o == Upsert {
		d.Mutation = l.row(users, o, big(d.id), str(d.name), big(d.n))
	} else {
		d.Mutation = l.key(users, o, big(d.id))
	}
	if o == Patch {
		d.Set = []Assignment{{Column: 2, Expr: op("+", column("n"), lit(big(d.n)))}}
	}
	if o != Insert && rapid.IntRange(0, 3).Draw(t, "conditional") == 0 {
		d.where, d.atLeast = true, rapid.Int64Range(-3, 3).Draw(t, "at least")
		d.Where = op(">=", column("n"), lit(big(d.atLeast)))
	}
	if o != Insert && rapid.IntRange(0, 3).Draw(t, "versioned") == 0 {
		d.Version = rapid.Int64Range(0, 12).Draw(t, "version")
	}
	if rapid.Bool().Draw(t, "skip") {
		d.Miss = Skip
	}
	return d
}

// TestModel applies random batches to the materializer and to maps. The changes, folded, must give the rows too.
func TestModel(t *testing.T) { testModel(t, func() *ledger { return newLedger(t) }) }

func testModel(t *testing.T, open func() *ledger) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		l := open()
		users := l.createTable(usersTable(2))
		m := &model{rows: map[int64]modelRow{}, ends: map[log.PartitionID]int64{}}
		for range rapid.IntRange(1, 12).Draw(rt, "batches") {
			next, refused := m.clone(), false
			var ms []Mutation
			for range rapid.IntRange(1, 6).Draw(rt, "mutations") {
				d := drawMutation(rt, l, users)
				ms = append(ms, d.Mutation)
				refused = refused || !next.apply(d)
			}
			_, err := l.write(ms...)
			if refused != (err != nil) {
				rt.Fatalf("refused: %v, want %v", err, refused)
			}
			if !refused {
				m = next
			}
		}
		got := l.rows(users)
		slices.Sort(got)
		if want := m.lines(); !slices.Equal(got, want) {
			rt.Fatalf("rows %v, want %v", got, want)
		}
		if folded := foldChanges(rt, l, users); !slices.Equal(folded, got) {
			rt.Fatalf("folded changes %v, rows %v", folded, got)
		}
		l.verify()
	})
}

// foldChanges rebuilds the rows from changes alone, checking that each old row is the new row before.
func foldChanges(t *rapid.T, l *ledger, users *Table) []string {
	var out []string
	for p := range users.Partitions {
		rows := map[string]string{}
		for i, c := range l.changes(log.Partition{Table: users.ID, ID: log.PartitionID(p)}) {
			if c.Offset != log.Offset(i) {
				t.Fatalf("change %d has offset %d", i, c.Offset)
			}
			key := string(c.Key)
			if _, exists := rows[key]; exists != (c.Op != RowInserted) || exists != c.HasPrevious {
				t.Fatalf("change %+v of a row that exists: %v", c, exists)
			}
			if c.Old != nil && show(t, users, c.Old, c.Previous) != rows[key] {
				t.Fatalf("old row %s, want %s", show(t, users, c.Old, c.Previous), rows[key])
			}
			delete(rows, key)
			if c.New != nil {
				rows[key] = show(t, users, c.New, c.Offset)
			}
		}
		out = slices.AppendSeq(out, maps.Values(rows))
	}
	slices.Sort(out)
	return out
}

func show(t *rapid.T, table *Table, raw []byte, version log.Offset) string {
	row, err := table.DecodeRow(raw)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(row.Values(), "@", version)
}

// history is a random run of entries, the same for every ledger that replays it.
type history struct {
	entries [][][]byte // batches of each entry
}

func drawHistory(t *rapid.T, l *ledger) history {
	var h history
	users := l.createTable(usersTable(2))
	for i := range rapid.IntRange(2, 20).Draw(t, "entries") {
		var entry [][]byte
		for range rapid.IntRange(1, 3).Draw(t, "batches") {
			b := &Batch{}
			if rapid.Bool().Draw(t, "idempotent") {
				b.IdempotencyKey = fmt.Sprint("key ", rapid.IntRange(0, 4).Draw(t, "key"))
				b.Memory.Keys = rapid.IntRange(1, 4).Draw(t, "remembered") // as if nodes had different settings
			}
			for range rapid.IntRange(1, 4).Draw(t, "mutations") {
				b.Mutations = append(b.Mutations, drawMutation(t, l, users).Mutation)
			}
			entry = append(entry, EncodeBatch(b))
		}
		if i == 7 {
			entry = append(entry, otherTable(t, l))
		}
		h.entries = append(h.entries, entry)
	}
	return h
}

// otherTable is a batch that creates a table.
func otherTable(t *rapid.T, l *ledger) []byte {
	_, ms, err := l.m.Catalog().CreateTable(&Table{Namespace: "app", Name: "other", Versions: usersTable(1).Versions}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return EncodeBatch(&Batch{Mutations: ms})
}

// replay applies h in steps of the given numbers of entries, and prints everything that came of it.
func (h *history) replay(l *ledger, sizes []int) []string {
	l.createTable(usersTable(2))
	var out []string
	for i, at := 0, 0; at < len(h.entries); i++ {
		s := l.begin()
		for range min(sizes[i%len(sizes)], len(h.entries)-at) {
			for _, r := range s.entry(h.entries[at]...) {
				out = append(out, fmt.Sprintf("result %x", r))
			}
			at++
		}
		s.commit()
	}
	return append(out, l.dump()...)
}

// dump prints the ledger's changes and all of the state but the checkpoint.
func (l *ledger) dump() []string {
	l.t.Helper()
	var out []string
	for p, records := range l.all {
		for _, r := range records {
			out = append(out, fmt.Sprintf("change %v %d %d %d %x", p, r.Offset, r.Index, r.Timestamp, r.Data))
		}
	}
	slices.Sort(out)
	return append(out, dumpState(l.t, l.m)...)
}

// TestSteps applies the same entries in steps of different sizes: results, changes and state must be the same.
func TestSteps(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := drawHistory(rt, newLedger(t))
		want := h.replay(newLedger(t), []int{1})
		sizes := rapid.SliceOfN(rapid.IntRange(1, 8), 1, 5).Draw(rt, "sizes")
		got := h.replay(newLedger(t), sizes)
		if !slices.Equal(got, want) {
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					rt.Fatalf("line %d in steps of %v:\n%s\nwant\n%s", i, sizes, got[i], want[i])
				}
			}
			rt.Fatalf("%d lines, want %d", len(got), len(want))
		}
	})
}
