package materializer

import (
	"strings"
	"sync"
	"testing"

	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

func draftTable(t *testing.T, kind TableKind) *Table {
	t.Helper()
	literal := func(v expr.Value) *Default { return &Default{Literal: expr.AppendValue(nil, v)} }
	s := &Schema{Version: 1, Key: []int{0}, Columns: []Column{
		{ID: 1, Name: "id", Type: bigint, Default: &Default{Func: "snowflake_id"}},
		{ID: 2, Name: "name", Type: text, NotNull: true},
		{ID: 3, Name: "n", Type: expr.Type{Kind: expr.SmallInt}, Default: literal(expr.IntOf(expr.SmallInt, 7))},
		{ID: 4, Name: "at", Type: expr.Type{Kind: expr.Date}, Default: &Default{Func: "now"}},
		{ID: 5, Name: "by", Type: text, Default: &Default{Func: "current_user_id"}},
		{ID: 6, Name: "u", Type: text, Default: &Default{Func: "uuid_v7"}},
		{ID: 7, Name: "l", Type: text, Default: &Default{Func: "ulid"}},
	}}
	switch kind {
	case User:
		s = WithUserColumn(s)
	case Stream:
		s.Key = nil
	default:
	}
	table := &Table{ID: 1000, Namespace: "app", Name: "t", Kind: kind, Partitions: 4, Versions: []*Schema{s}}
	if err := table.Validate(); err != nil {
		t.Fatal(err)
	}
	table.prepare()
	return table
}

// given spreads values by column name over a table's columns.
func given(table *Table, by map[string]expr.Value) (values []expr.Value, set []bool) {
	s := table.Schema()
	values, set = make([]expr.Value, len(s.Columns)), make([]bool, len(s.Columns))
	for i, c := range s.Columns {
		values[i], set[i] = by[c.Name], false
		if _, ok := by[c.Name]; ok {
			set[i] = true
		}
	}
	return values, set
}

const day20000 = 20000 * 24 * 3600 * 1_000_000

func newTestDrafter(table *Table) *Drafter {
	return NewDrafter(table, identity.Caller{Name: "ann"}, day20000, NewIDs(3))
}

func TestDraftDefaults(t *testing.T) {
	table := draftTable(t, Shared)
	d := newTestDrafter(table)
	values, set := given(table, map[string]expr.Value{"name": str("x")})
	m, row, err := d.Put(Insert, values, set)
	if err != nil {
		t.Fatal(err)
	}
	if row[0].Int() <= 0 || row[1].Str() != "x" || row[2].Int() != 7 || row[3].Int() != 20000 || row[4].Str() != "ann" ||
		len(row[5].Str()) != 36 || len(row[6].Str()) != 26 {
		t.Errorf("row %v", row)
	}
	same, err := table.NewRow(Insert, row)
	if err != nil || string(same.Key) != string(m.Key) || string(same.Row) != string(m.Row) || same.Partition != m.Partition {
		t.Errorf("NewRow gives %+v %v, the drafter %+v", same, err, m)
	}
	values, set = given(table, map[string]expr.Value{"id": str("5"), "name": str("x"), "n": {}, "by": {}})
	if _, row, err = d.Put(Upsert, values, set); err != nil || row[0].Int() != 5 || !row[2].IsNull() || !row[4].IsNull() {
		t.Errorf("row %v %v: NULL that is given is no default, text is cast", row, err)
	}
}

func TestDraftRefusals(t *testing.T) {
	table := draftTable(t, Shared)
	d := newTestDrafter(table)
	for name, tt := range map[string]struct {
		by   map[string]expr.Value
		code problem.Code
		says string
	}{
		"not null":      {map[string]expr.Value{"id": big(1)}, problem.NotNull, `"name"`},
		"null given":    {map[string]expr.Value{"name": {}}, problem.NotNull, `"name"`},
		"range":         {map[string]expr.Value{"name": str("x"), "n": big(1 << 40)}, problem.OutOfRange, `"n"`},
		"invalid":       {map[string]expr.Value{"name": str("x"), "at": str("2026-13-01")}, problem.InvalidValue, `"at"`},
		"key invalid":   {map[string]expr.Value{"name": str("x"), "id": str("x")}, problem.InvalidValue, `"id"`},
		"key null":      {map[string]expr.Value{"name": str("x"), "id": {}}, problem.NotNull, `"id"`},
		"n not a digit": {map[string]expr.Value{"name": str("x"), "n": str("a")}, problem.InvalidValue, `"n"`},
	} {
		values, set := given(table, tt.by)
		if _, _, err := d.Put(Insert, values, set); !problem.Is(err, tt.code) || !strings.Contains(problem.As(err).Message, tt.says) {
			t.Errorf("%s: %v, want %s about %s", name, err, tt.code, tt.says)
		}
	}
	values, set := given(table, map[string]expr.Value{"name": str("x")})
	if _, err := d.Remove(values, set); !problem.Is(err, problem.BadRequest) {
		t.Errorf("remove without key: %v", err)
	}
	values, set = given(table, map[string]expr.Value{"id": big(1), "name": {}})
	if _, err := d.Patch(values, set); !problem.Is(err, problem.NotNull) {
		t.Errorf("patch to NULL: %v", err)
	}
}

// TestLongKey: what a backend could not store is refused before it is in the log.
func TestLongKey(t *testing.T) {
	l := newLedger(t)
	def := usersTable(1)
	def.Versions[0].Key = []int{1}
	def.Versions[0].Columns[1].NotNull = true
	users := l.createTable(def)
	fits := strings.Repeat("x", maxKey-2) // a text ends with two bytes
	l.mustWrite(l.row(users, Insert, big(1), str(fits), big(1)))
	if _, err := users.NewRow(Insert, []expr.Value{big(1), str(fits + "x"), big(1)}); !problem.Is(err, problem.OutOfRange) {
		t.Errorf("NewRow: %v", err)
	}
	if _, err := users.OfKey(Remove, []expr.Value{str(fits + "x")}); !problem.Is(err, problem.OutOfRange) {
		t.Errorf("OfKey: %v", err)
	}
}

func TestDraftKeyed(t *testing.T) {
	l := newLedger(t)
	def := draftTable(t, User)
	table := l.createTable(&Table{Namespace: "app", Name: "t", Kind: User, Partitions: 4, Versions: def.Versions})
	d := newTestDrafter(table)
	draft := func(m Mutation, err error) Mutation {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	put := func(by map[string]expr.Value) Mutation {
		values, set := given(table, by)
		m, _, err := d.Put(Insert, values, set)
		return draft(m, err)
	}
	l.mustWrite(put(map[string]expr.Value{"id": big(1), "name": str("x")}))
	l.mustWrite(put(map[string]expr.Value{"id": big(1), "name": str("y"), UserColumn: str("bob")}))
	values, set := given(table, map[string]expr.Value{"id": big(1), "name": str("z"), "n": str("9")})
	l.mustWrite(draft(d.Patch(values, set)))
	l.refused(problem.DuplicateKey, put(map[string]expr.Value{"id": big(1), "name": str("x")}))
	p, key, err := d.Locate(values, set)
	if err != nil {
		t.Fatal(err)
	}
	row, err := l.view().Row(table, p.ID, key)
	if err != nil || row.Row.Column(2).Str() != "z" || row.Row.Column(3).Int() != 9 || row.Row.Column(0).Str() != "ann" {
		t.Errorf("row %v %v", row.Row.Values(), err)
	}
	l.mustWrite(draft(d.Remove(values, set)))
	if got := l.rows(table); len(got) != 1 || !strings.HasPrefix(got[0], "[bob 1 y") {
		t.Errorf("rows %v", got)
	}
}

func TestDraftStream(t *testing.T) {
	table := draftTable(t, Stream)
	d := newTestDrafter(table)
	values, set := given(table, map[string]expr.Value{"id": big(1), "name": str("x")})
	m, _, err := d.Put(Insert, values, set)
	if err != nil || len(m.Key) != 0 || int(m.Partition.ID) >= table.Partitions {
		t.Errorf("%+v %v", m, err)
	}
	if _, err := d.Remove(values, set); !problem.Is(err, problem.Unsupported) {
		t.Errorf("remove from a stream: %v", err)
	}
}

// TestSnowflake: ids of one generator grow, also when the clock stands or steps back, and are unique over goroutines and nodes.
func TestSnowflake(t *testing.T) {
	a, b := NewIDs(1), NewIDs(2)
	const each = 5000
	var mu sync.Mutex
	seen := map[int64]bool{}
	var wg sync.WaitGroup
	for _, g := range []*IDs{a, a, b} {
		wg.Go(func() {
			last := int64(0)
			var ids []int64
			for i := range int64(each) {
				id := g.Snowflake(day20000 - i%3*1_000_000)
				if id <= last {
					t.Errorf("id %d after %d", id, last)
				}
				last = id
				ids = append(ids, id)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, id := range ids {
				seen[id] = true
			}
		})
	}
	wg.Wait()
	if len(seen) != 3*each {
		t.Errorf("%d different ids of %d", len(seen), 3*each)
	}
}
