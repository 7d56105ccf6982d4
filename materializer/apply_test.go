package materializer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/query/expr"
)

func TestInsertUpdateDelete(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(1))
	l.mustWrite(l.row(users, Insert, big(1), str("ann"), big(10)), l.row(users, Insert, big(2), str("bob"), big(20)))
	l.mustWrite(l.patch(users, 1, "n", op("-", column("n"), lit(big(1)))))
	l.mustWrite(l.row(users, Upsert, big(2), expr.Value{}, big(21)))
	r := l.mustWrite(l.key(users, Remove, big(1)))
	if want := (Applied{Done: true, Partition: log.Partition{Table: users.ID}, Offset: 4}); r.Applied[0] != want {
		t.Errorf("applied %v, want %v", r.Applied[0], want)
	}
	if r.Index != l.index || r.Position.Part(1).Index != l.index {
		t.Errorf("index %d at %s, want %d", r.Index, r.Position, l.index)
	}
	if got, want := l.rows(users), []string{"[2 NULL 21]@3"}; !slices.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
	var got []string
	for _, c := range l.changes(log.Partition{Table: users.ID}) {
		got = append(got, describeChange(t, users, c))
	}
	want := []string{
		"1 [] [1 ann 10]", "1 [] [2 bob 20]", "2 after 0 [1 ann 10] [1 ann 9]", "2 after 1 [2 bob 20] [2 NULL 21]", "3 after 2 [1 ann 9] []",
	}
	if !slices.Equal(got, want) {
		t.Errorf("changes:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	l.verify()
}

// TestRefusals has a row (1, ann, 10) with version 0 and a batch that begins with a good insert; it must leave no trace.
func TestRefusals(t *testing.T) {
	skip := func(m Mutation) Mutation { m.Miss = Skip; return m }
	at := func(m Mutation, version int64) Mutation { m.Version = version; return m }
	where := func(m Mutation, n expr.Node) Mutation { m.Where = n; return m }
	for _, tt := range []struct {
		name    string
		m       func(l *ledger, users *Table) Mutation
		code    problem.Code
		message string
		version int64
	}{
		{"insert of a key that exists", func(l *ledger, users *Table) Mutation {
			return l.row(users, Insert, big(1), str("x"), big(1))
		}, problem.DuplicateKey, "key (1) already exists in app.users", 0},
		{"insert of a key twice", func(l *ledger, users *Table) Mutation {
			return l.row(users, Insert, big(100), str("x"), big(1))
		}, problem.DuplicateKey, "key (100) already exists in app.users", problem.NoVersion},
		{"patch of no row", func(l *ledger, users *Table) Mutation {
			return l.patch(users, 5, "n", lit(big(1)))
		}, problem.KeyNotFound, "key (5) does not exist in app.users", AnyVersion},
		{"remove of no row", func(l *ledger, users *Table) Mutation {
			return l.key(users, Remove, big(5))
		}, problem.KeyNotFound, "key (5) does not exist in app.users", AnyVersion},
		{"upsert with another version", func(l *ledger, users *Table) Mutation {
			return at(l.row(users, Upsert, big(1), str("x"), big(1)), 7)
		}, problem.VersionConflict, "key (1) of app.users has version 0, not 7", 0},
		{"upsert of no row with a version", func(l *ledger, users *Table) Mutation {
			return at(l.row(users, Upsert, big(5), str("x"), big(1)), 7)
		}, problem.VersionConflict, "key (5) does not exist in app.users, version 7 was expected", AnyVersion},
		{"remove with another version", func(l *ledger, users *Table) Mutation {
			return at(l.key(users, Remove, big(1)), 1)
		}, problem.VersionConflict, "key (1) of app.users has version 0, not 1", 0},
		{"condition that is false", func(l *ledger, users *Table) Mutation {
			return where(l.key(users, Remove, big(1)), op(">", column("n"), lit(big(10))))
		}, problem.VersionConflict, "the condition does not hold for key (1) of app.users", 0},
		{"condition that is NULL", func(l *ledger, users *Table) Mutation {
			return where(l.key(users, Remove, big(1)), op(">", column("n"), lit(expr.Value{})))
		}, problem.VersionConflict, "the condition does not hold for key (1) of app.users", 0},
		{"condition on an unknown column, skipping", func(l *ledger, users *Table) Mutation {
			return skip(where(l.key(users, Remove, big(1)), op(">", column("m"), lit(big(10)))))
		}, problem.UnknownColumn, "", 0},
		{"NULL where it must not be", func(l *ledger, users *Table) Mutation {
			return l.patch(users, 1, "n", lit(expr.Value{}))
		}, problem.NotNull, `column "n" must not be NULL`, 0},
		{"overflow", func(l *ledger, users *Table) Mutation {
			return l.patch(users, 1, "n", op("*", column("n"), lit(big(1<<62))))
		}, problem.OutOfRange, "", 0},
		{"value that does not cast", func(l *ledger, users *Table) Mutation {
			return l.patch(users, 1, "n", column("name"))
		}, problem.InvalidValue, "", 0},
		{"patch of the key", func(l *ledger, users *Table) Mutation {
			return l.patch(users, 1, "id", lit(big(2)))
		}, problem.Unsupported, `column "id" is part of the key of app.users and cannot be set`, 0},
		{"unknown table", func(l *ledger, users *Table) Mutation {
			m := l.row(users, Insert, big(9), str("x"), big(1))
			m.Partition.Table = 4711
			return m
		}, problem.UnknownTable, "the table with id 4711 does not exist any more", AnyVersion},
		{"unknown partition", func(l *ledger, users *Table) Mutation {
			m := l.row(users, Insert, big(9), str("x"), big(1))
			m.Partition.ID = 1
			return m
		}, problem.BadRequest, "app.users has no partition 1", AnyVersion},
		{"no key", func(l *ledger, users *Table) Mutation {
			m := l.row(users, Insert, big(9), str("x"), big(1))
			m.Key = nil
			return m
		}, problem.BadRequest, "a row of app.users without a key", AnyVersion},
		{"damaged row", func(l *ledger, users *Table) Mutation {
			m := l.row(users, Insert, big(9), str("x"), big(1))
			m.Row = m.Row[:5]
			return m
		}, problem.BadRequest, "a row that does not decode", AnyVersion},
		{"row of an unknown schema version", func(l *ledger, users *Table) Mutation {
			m := l.patch(users, 1, "n", lit(big(1)))
			m.Schema = 9
			return m
		}, problem.BadRequest, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLedger(t)
			users := l.createTable(usersTable(1))
			l.mustWrite(l.row(users, Insert, big(1), str("ann"), big(10)))
			p := l.refused(tt.code, l.row(users, Insert, big(100), str("first"), big(0)), tt.m(l, users))
			if tt.message != "" && p.Message != tt.message {
				t.Errorf("message %q, want %q", p.Message, tt.message)
			}
			var r *Refusal
			if !errors.As(p, &r) || r.Mutation != 1 || r.Version != tt.version {
				t.Errorf("refusal %+v, want mutation 1 and version %d", r, tt.version)
			}
			if got, want := l.rows(users), []string{"[1 ann 10]@0"}; !slices.Equal(got, want) {
				t.Errorf("rows %v, want %v", got, want)
			}
			if n := len(l.changes(log.Partition{Table: users.ID})); n != 1 {
				t.Errorf("%d changes after a refusal", n)
			}
			l.mustWrite(l.row(users, Insert, big(100), str("again"), big(0)))
			l.verify()
		})
	}
}

func TestSkips(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(1))
	l.mustWrite(l.row(users, Insert, big(1), str("ann"), big(10)))
	duplicate := l.row(users, Insert, big(1), str("x"), big(1))
	missing := l.patch(users, 5, "n", lit(big(1)))
	conditional := l.key(users, Remove, big(1))
	conditional.Where = op("<", column("n"), lit(big(0)))
	versioned := l.key(users, Remove, big(1))
	versioned.Version = 3
	ms := []Mutation{duplicate, missing, conditional, versioned}
	for i := range ms {
		ms[i].Miss = Skip
	}
	r := l.mustWrite(append(ms, l.row(users, Insert, big(2), str("bob"), big(20)))...)
	for i, a := range r.Applied {
		if a.Done != (i == 4) {
			t.Errorf("mutation %d: done is %v", i, a.Done)
		}
	}
	if got, want := l.rows(users), []string{"[1 ann 10]@0", "[2 bob 20]@1"}; !slices.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
}

// TestSeesOwnWrites has the mutations of a batch, and the batches of a step, build upon each other.
func TestSeesOwnWrites(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(1))
	inc := op("+", column("n"), lit(big(1)))
	s := l.begin()
	first := EncodeBatch(&Batch{Mutations: []Mutation{
		l.row(users, Insert, big(1), str("ann"), big(0)), l.patch(users, 1, "n", inc), l.patch(users, 1, "n", inc),
		l.row(users, Insert, big(2), str("bob"), big(0)), l.key(users, Remove, big(2)), l.row(users, Insert, big(2), str("bea"), big(5)),
	}})
	refused := EncodeBatch(&Batch{Mutations: []Mutation{
		l.patch(users, 1, "n", inc), l.key(users, Remove, big(2)), l.row(users, Insert, big(1), str("ann"), big(0)),
	}})
	second := EncodeBatch(&Batch{Mutations: []Mutation{l.patch(users, 1, "n", inc)}})
	results := s.entry(first, refused, second)
	s.entry(second)
	s.commit()
	if _, err := decodeResult(results[1]); !problem.Is(err, problem.DuplicateKey) {
		t.Errorf("second batch: %v", err)
	}
	if got, want := l.rows(users), []string{"[1 ann 4]@7", "[2 bea 5]@5"}; !slices.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
	changes := l.changes(log.Partition{Table: users.ID})
	if c := changes[2]; c.Previous != 1 || c.Batch != 0 {
		t.Errorf("third change follows offset %d in batch %d", c.Previous, c.Batch)
	}
	if c := changes[6]; c.Batch != 2 || c.Index != l.index-1 || c.Timestamp != l.now-1 {
		t.Errorf("change of the third batch says %+v", c)
	}
	if c := changes[5]; c.HasPrevious || c.Op != RowInserted {
		t.Errorf("insert after a delete: %+v", c)
	}
	l.verify()
}

func TestPatchIsSimultaneous(t *testing.T) {
	l := newLedger(t)
	def := usersTable(1)
	def.Versions[0].Columns = append(def.Versions[0].Columns, Column{Name: "m", Type: expr.Type{Kind: expr.SmallInt}})
	users := l.createTable(def)
	l.mustWrite(l.row(users, Insert, big(1), str("ann"), big(1), expr.IntOf(expr.SmallInt, 2)))
	swap := l.patch(users, 1, "n", column("m"))
	swap.Set = append(swap.Set, Assignment{Column: 3, Expr: column("n")})
	l.mustWrite(swap)
	if got, want := l.rows(users), []string{"[1 ann 2 1]@1"}; !slices.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
	l.refused(problem.OutOfRange, l.patch(users, 1, "m", op("+", column("n"), lit(big(40000)))))
}

func TestStream(t *testing.T) {
	l := newLedger(t)
	events := l.createTable(&Table{Namespace: "app", Name: "events", Kind: Stream, Partitions: 2, Versions: []*Schema{{
		Version: 1, Columns: []Column{{Name: "key", Type: text}, {Name: "value", Type: bigint}},
	}}})
	m := l.row(events, Insert, str("k"), big(1))
	m.Key = []byte("kafka key")
	other := l.row(events, Insert, str("k"), big(1))
	other.Partition.ID = 1
	r := l.mustWrite(m, m, other, m)
	want := []Applied{
		{true, log.Partition{Table: events.ID}, 0},
		{true, log.Partition{Table: events.ID}, 1},
		{true, log.Partition{Table: events.ID, ID: 1}, 0},
		{true, log.Partition{Table: events.ID}, 2},
	}
	if !slices.Equal(r.Applied, want) {
		t.Errorf("applied %v, want %v", r.Applied, want)
	}
	for _, c := range l.changes(log.Partition{Table: events.ID}) {
		if c.Op != RowInserted || c.HasPrevious || string(c.Key) != "kafka key" {
			t.Errorf("change %+v", c)
		}
	}
	upsert := m
	upsert.Op = Upsert
	l.refused(problem.Unsupported, upsert)
	if _, err := events.PartitionOf(nil); !problem.Is(err, problem.Unsupported) {
		t.Errorf("partition of nothing: %v", err)
	}
	v := l.view()
	if _, err := v.Row(events, 0, []byte("kafka key")); !problem.Is(err, problem.Unsupported) {
		t.Errorf("row of a stream: %v", err)
	}
	l.verify()
}

func TestUserTable(t *testing.T) {
	l := newLedger(t)
	notes := l.createTable(&Table{Namespace: "app", Name: "notes", Kind: User, Partitions: 8, Versions: []*Schema{WithUserColumn(&Schema{
		Version: 1, Key: []int{0}, Columns: []Column{{Name: "id", Type: bigint}, {Name: "text", Type: text}},
	})}})
	for i := range int64(20) {
		l.mustWrite(l.row(notes, Insert, str("ann"), big(i), str("a")), l.row(notes, Insert, str("bob"), big(i), str("b")))
	}
	full := 0
	for p := range notes.Partitions {
		if len(l.changes(log.Partition{Table: notes.ID, ID: log.PartitionID(p)})) > 0 {
			full++
		}
	}
	if full > 2 {
		t.Errorf("two users lie in %d partitions", full)
	}
	p := l.refused(problem.DuplicateKey, l.row(notes, Insert, str("ann"), big(1), str("a")))
	if !strings.Contains(p.Message, "(ann, 1)") {
		t.Errorf("message %q", p.Message)
	}
}

// TestOlderSchema proposes mutations that were made before an ALTER TABLE.
func TestOlderSchema(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(1))
	insert := l.row(users, Insert, big(2), str("bob"), big(2))
	patch := l.patch(users, 1, "n", lit(big(5)))
	dropped := l.patch(users, 1, "name", lit(str("x")))
	l.mustWrite(l.row(users, Insert, big(1), str("ann"), big(1)))
	altered := *users
	altered.Versions = append(slices.Clone(users.Versions), &Schema{Version: 2, Key: []int{1}, Columns: []Column{
		{ID: 3, Name: "amount", Type: expr.Type{Kind: expr.Decimal, Precision: 25, Scale: 2}, NotNull: true},
		{ID: 1, Name: "id", Type: bigint},
		{ID: 4, Name: "added", Type: text, NotNull: true, Default: &Default{Literal: expr.AppendValue(nil, str("new"))}},
	}})
	ms, err := l.m.Catalog().ReplaceTable(&altered, l.now)
	if err != nil {
		t.Fatal(err)
	}
	l.mustWrite(ms...)
	if users, err = l.m.Catalog().Table("app", "users"); err != nil {
		t.Fatal(err)
	}
	if got, want := l.rows(users), []string{"[1.00 1 new]@0"}; !slices.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
	l.mustWrite(insert, patch)
	l.refused(problem.UnknownColumn, dropped)
	if got, want := l.rows(users), []string{"[5.00 1 new]@2", "[2.00 2 new]@1"}; !slices.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
	changes := l.changes(log.Partition{Table: users.ID})
	if c := changes[2]; c.Schema != 2 || c.OldSchema != 1 {
		t.Errorf("schemas of the update: %d and %d", c.Schema, c.OldSchema)
	}
	l.verify()
}

func TestLargeBatch(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(4))
	var ms []Mutation
	for i := range int64(20_000) {
		ms = append(ms, l.row(users, Insert, big(i), str(fmt.Sprint("name ", i)), big(i)))
	}
	r := l.mustWrite(ms...)
	next := map[log.Partition]log.Offset{}
	for i, a := range r.Applied {
		if !a.Done || a.Partition != ms[i].Partition || a.Offset != next[a.Partition] {
			t.Fatalf("mutation %d: %+v", i, a)
		}
		next[a.Partition]++
	}
	if rows := l.verify(); rows < 20_000 {
		t.Errorf("%d rows", rows)
	}
	l.mustWrite(l.patch(users, 5, "n", lit(big(0))))
}

// TestDamage: bytes that are no batch stop the node, they are not a user's fault.
func TestDamage(t *testing.T) {
	l := newLedger(t)
	s := l.begin()
	for _, raw := range [][]byte{nil, {0}, {batchFormat, 0xff}, append(EncodeBatch(&Batch{}), 0)} {
		if _, err := s.step.Apply(log.EntryMeta{Group: 1, Index: 1}, raw, s); !errors.Is(err, ErrDamaged) {
			t.Errorf("%x: %v", raw, err)
		}
	}
}

// A Check changes nothing, and decides on what stands beside it in the batch.
func TestCheck(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(1))
	l.mustWrite(l.row(users, Insert, big(1), str("ann"), big(5)))
	check := func(least int64) Mutation {
		m := l.key(users, Check, big(1))
		m.Where = op(">=", column("n"), lit(big(least)))
		return m
	}
	l.refused(problem.VersionConflict, check(6), l.row(users, Insert, big(2), str("bob"), big(1)))
	r := l.mustWrite(check(5), l.row(users, Insert, big(2), str("bob"), big(1)))
	if r.Applied[0].Done || !r.Applied[1].Done || r.Applied[1].Offset != 1 {
		t.Errorf("applied %+v", r.Applied)
	}
	missing := l.key(users, Check, big(9))
	l.refused(problem.KeyNotFound, missing)
	if n := len(l.changes(log.Partition{Table: users.ID})); n != 2 {
		t.Errorf("%d changes", n)
	}
}
