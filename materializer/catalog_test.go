package materializer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

// mutations unwraps a pair for a call of write.
func (l *ledger) mutations(ms []Mutation, err error) []Mutation {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
	return ms
}

func (l *ledger) tableNames() []string {
	var out []string
	for _, t := range l.m.Catalog().Tables() {
		if t.Namespace != SystemNamespace {
			out = append(out, t.QualifiedName())
		}
	}
	return out
}

func named(name string) *Table {
	t := usersTable(2)
	t.Name = name
	return t
}

func TestEmptyCatalog(t *testing.T) {
	l := newLedger(t)
	c := l.m.Catalog()
	if got := c.Namespaces(); !slices.Equal(got, []string{"default", "system"}) {
		t.Errorf("namespaces %v", got)
	}
	if n := len(c.Tables()); n != len(systemTables()) {
		t.Errorf("%d tables", n)
	}
	for _, table := range c.Tables() {
		if c.TableByID(table.ID) != table || table.ID >= FirstUserTable || table.Partitions != 1 {
			t.Errorf("system table %+v", table)
		}
		for _, s := range table.Versions {
			if err := (&Table{Namespace: "ns", Name: table.Name, Kind: Shared, Partitions: 1, Versions: []*Schema{s}}).Validate(); err != nil {
				t.Errorf("%s: %v", table.QualifiedName(), err)
			}
		}
		for range l.view().Scan(table, 0, storage.Range{}) {
			t.Errorf("%s is not empty", table.QualifiedName())
		}
	}
}

func TestCatalogLife(t *testing.T) {
	fs := vfs.NewMem()
	l := openLedger(t, fs)
	var told []uint64
	l.m.OnCatalogChange(func(c *Catalog) { told = append(told, c.Version()) })
	l.createTable(named("users"))
	b := l.createTable(named("b"))
	before := l.m.Catalog()
	l.mustWrite(l.mutations(before.DropTable(b))...)
	if before.TableByID(b.ID) == nil || l.m.Catalog().TableByID(b.ID) != nil {
		t.Error("dropping a table changes a catalog that somebody holds, or does not change the newest")
	}
	c := l.createTable(named("c"))
	if c.ID <= b.ID {
		t.Errorf("table id %d after %d", c.ID, b.ID)
	}
	l.mustWrite(l.mutations(l.m.Catalog().DropTable(c))...)
	if !slices.IsSorted(told) || len(told) != 6 || told[5] != l.m.Catalog().Version() {
		t.Errorf("versions told: %v, now %d", told, l.m.Catalog().Version())
	}
	names, version := l.tableNames(), l.m.Catalog().Version()
	if err := errors.Join(l.m.Sync(), l.m.Close()); err != nil {
		t.Fatal(err)
	}

	l = openLedger(t, fs)
	if got := l.tableNames(); !slices.Equal(got, names) || !slices.Equal(got, []string{"app.users"}) {
		t.Errorf("tables after a restart: %v", got)
	}
	if got := l.m.Catalog().Version(); got != version {
		t.Errorf("version %d after a restart, want %d", got, version)
	}
	if d := l.createTable(named("d")); d.ID <= c.ID {
		t.Errorf("id %d was given out again after a restart", d.ID)
	}
	if users, err := l.m.Catalog().Table("app", "users"); err != nil || users.Schema().Columns[2].Name != "n" || users.Created == 0 {
		t.Errorf("definition after a restart: %+v %v", users, err)
	}
}

// TestDropTable: its rows, partitions and ends go with it, within a step too.
func TestDropTable(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(2))
	for i := range int64(10) {
		l.mustWrite(l.row(users, Insert, big(i), str("x"), big(i)))
	}
	v := l.view()
	s := l.begin()
	late := EncodeBatch(&Batch{Mutations: []Mutation{l.row(users, Upsert, big(1), str("x"), big(1))}})
	drop := EncodeBatch(&Batch{Mutations: l.mutations(l.m.Catalog().DropTable(users))})
	_, again, err := l.m.Catalog().CreateTable(named("again"), 1)
	create := EncodeBatch(&Batch{Mutations: l.mutations(again, err)})
	results := append(s.entry(late, drop, late), s.entry(create)...)
	s.commit()
	for i, want := range []problem.Code{"", "", problem.UnknownTable, ""} {
		if _, err := decodeResult(results[i]); want == "" && err != nil || want != "" && !problem.Is(err, want) {
			t.Errorf("batch %d: %v, want %q", i, err, want)
		}
	}
	names, err := l.m.backend.Partitions()
	if err != nil {
		t.Fatal(err)
	}
	for p := range users.Partitions {
		if slices.Contains(names, statePartition(users.ID, log.PartitionID(p))) {
			t.Errorf("partition %d is still there", p)
		}
		if end, err := l.m.End(log.Partition{Table: users.ID, ID: log.PartitionID(p)}); end != 0 || err != nil {
			t.Errorf("end of partition %d: %d %v", p, end, err)
		}
	}
	if rows := scanAll(t, v, users); rows != 10 {
		t.Errorf("a view from before has %d rows", rows)
	}
	after := l.view()
	for _, err := range after.Scan(users, 0, storage.Range{}) {
		if !problem.Is(err, problem.UnknownTable) {
			t.Errorf("scan of a dropped table: %v", err)
		}
	}
	if got := l.tableNames(); !slices.Equal(got, []string{"app.again"}) {
		t.Errorf("tables %v", got)
	}
}

func scanAll(t *testing.T, v *View, table *Table) (rows int) {
	t.Helper()
	for p := range table.Partitions {
		for _, err := range v.Scan(table, log.PartitionID(p), storage.Range{}) {
			if err != nil {
				t.Fatal(err)
			}
			rows++
		}
	}
	return rows
}

func TestCatalogRefusals(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(1))
	c := l.m.Catalog()
	want := func(what string, code problem.Code, _ []Mutation, err error) {
		t.Helper()
		if !problem.Is(err, code) {
			t.Errorf("%s: %v, want %s", what, err, code)
		}
	}
	create := func(def *Table) ([]Mutation, error) {
		_, ms, err := c.CreateTable(def, 1)
		return ms, err
	}
	ms, err := create(usersTable(1))
	want("create twice", problem.DuplicateTable, ms, err)
	elsewhere := usersTable(1)
	elsewhere.Namespace = "ap"
	ms, err = create(elsewhere)
	want("create in no schema", problem.UnknownNamespace, ms, err)
	if p := problem.As(err); p == nil || !strings.Contains(p.Hint, `"app"`) {
		t.Errorf("hint of %v", err)
	}
	elsewhere.Namespace = SystemNamespace
	ms, err = create(elsewhere)
	want("create in system", problem.Forbidden, ms, err)
	ms, err = c.CreateNamespace("app", 1)
	want("create schema twice", problem.DuplicateNamespace, ms, err)
	ms, err = c.CreateNamespace("a.b", 1)
	want("bad schema name", problem.InvalidDefinition, ms, err)
	ms, err = c.DropNamespace("app", false)
	want("drop full schema", problem.InvalidDefinition, ms, err)
	ms, err = c.DropNamespace("none", false)
	want("drop no schema", problem.UnknownNamespace, ms, err)
	ms, err = c.DropNamespace("default", true)
	want("drop default", problem.Forbidden, ms, err)
	ms, err = c.DropTable(c.TableByID(SystemJobs))
	want("drop system table", problem.Forbidden, ms, err)
	ms, err = c.ReplaceTable(c.TableByID(SystemJobs), 1)
	want("alter system table", problem.Forbidden, ms, err)
	_, err = c.Table("app", "user")
	want("unknown table", problem.UnknownTable, nil, err)
	if p := problem.As(err); p == nil || !strings.Contains(p.Hint, `"users"`) {
		t.Errorf("hint of %v", err)
	}
	_, err = c.Table("app.users", "x")
	want("unknown schema", problem.UnknownNamespace, nil, err)
	_ = users
}

// TestCatalogRaces proposes statements that were made from a catalog that has changed since.
func TestCatalogRaces(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(1))
	old := l.m.Catalog()
	createOf := func(name string) []Mutation {
		_, ms, err := old.CreateTable(named(name), 1)
		return l.mutations(ms, err)
	}
	sameName, otherName := createOf("a"), createOf("b")
	l.mustWrite(createOf("a")...)
	l.refused(problem.DuplicateTable, sameName...)
	if p := l.refused(problem.VersionConflict, otherName...); p.Hint == "" {
		t.Error("no hint to repeat the statement")
	}

	drop := l.mutations(old.DropTable(users))
	l.mustWrite(drop...)
	l.refused(problem.UnknownTable, drop...)
	l.createTable(usersTable(1))
	l.refused(problem.VersionConflict, drop...) // another table of that name

	l.mustWrite(l.mutations(l.m.Catalog().CreateNamespace("ns", 1))...)
	l.refused(problem.DuplicateNamespace, l.mutations(old.CreateNamespace("ns", 1))...)
	now := l.m.Catalog()
	def := named("x")
	def.Namespace = "ns"
	_, inNS, err := now.CreateTable(def, 1)
	if err != nil {
		t.Fatal(err)
	}
	dropNS := l.mutations(now.DropNamespace("ns", false))
	l.mustWrite(inNS...)
	l.refused(problem.InvalidDefinition, dropNS...)
	l.mustWrite(l.mutations(l.m.Catalog().DropNamespace("ns", true))...)
	l.refused(problem.UnknownNamespace, dropNS...)
	_, lost, err := now.CreateTable(&Table{Namespace: "ns", Name: "y", Versions: def.Versions}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if p := l.refused(problem.UnknownNamespace, lost[0]); !strings.Contains(p.Message, `"ns"`) {
		t.Errorf("message %q", p.Message)
	}
}

// TestCatalogGuard writes nonsense into the catalog's tables: apply refuses what would make a table nobody can read.
func TestCatalogGuard(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(1))
	tables := l.m.Catalog().TableByID(SystemTables)
	definition := func(change func(t *Table)) Mutation {
		def := *users
		change(&def)
		row, err := encodeDefinition(&def)
		if err != nil {
			t.Fatal(err)
		}
		return l.row(tables, Upsert, row...)
	}
	broken, err := encodeDefinition(users)
	if err != nil {
		t.Fatal(err)
	}
	broken[5] = expr.JSONOf(`{"id": "x"}`)
	l.refused(problem.InvalidDefinition, l.row(tables, Upsert, broken...))
	l.refused(problem.InvalidDefinition, definition(func(d *Table) { d.ID = 2000 }))
	l.refused(problem.VersionConflict, definition(func(d *Table) { d.Name = "other" })) // its id is taken
	l.refused(problem.InvalidDefinition, definition(func(d *Table) { d.Partitions = 7 }))
	l.refused(problem.InvalidDefinition, definition(func(d *Table) { d.Kind = Stream }))
	l.refused(problem.InvalidDefinition, definition(func(d *Table) { d.Versions = nil }))
	l.refused(problem.Forbidden, definition(func(d *Table) { d.Namespace, d.Name = SystemNamespace, "jobs2" }))
	l.refused(problem.Forbidden, definition(func(d *Table) { d.ID, d.Name = 4, "jobs2" }))
	l.mustWrite(definition(func(d *Table) { d.Options.FlushRows = 10 }))
	if got, err := l.m.Catalog().Table("app", "users"); err != nil || got.Options.FlushRows != 10 {
		t.Errorf("options %+v %v", got.Options, err)
	}
}

func TestAlterTable(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(1))
	add := func(to *Table, name string) *Table {
		altered := *to
		s := to.Schema()
		columns := append(slices.Clone(s.Columns), Column{ID: uint32(len(s.Columns) + 1), Name: name, Type: text})
		altered.Versions = append(slices.Clone(to.Versions), &Schema{Version: s.Version + 1, Columns: columns, Key: s.Key})
		return &altered
	}
	first := l.mutations(l.m.Catalog().ReplaceTable(add(users, "one"), l.now))
	second := l.mutations(l.m.Catalog().ReplaceTable(add(users, "two"), l.now))
	l.mustWrite(first...)
	l.refused(problem.VersionConflict, second...)
	now, err := l.m.Catalog().Table("app", "users")
	if err != nil {
		t.Fatal(err)
	}
	l.mustWrite(l.mutations(l.m.Catalog().ReplaceTable(add(now, "two"), l.now))...)
	if now, err = l.m.Catalog().Table("app", "users"); err != nil || now.Schema().Version != 3 || len(now.Schema().Columns) != 5 {
		t.Errorf("newest schema %+v %v", now.Schema(), err)
	}
	if _, err := l.m.Catalog().ReplaceTable(users, l.now); !problem.Is(err, problem.VersionConflict) {
		t.Errorf("going back: %v", err)
	}
	history := 0
	for row, err := range l.view().Scan(l.m.Catalog().TableByID(SystemSchemaHistory), 0, storage.Range{}) {
		if err != nil || row.Row.Column(0).Int() != int64(users.ID) {
			t.Fatalf("schema history: %v %v", row.Row.Values(), err)
		}
		history++
	}
	if history != 3 {
		t.Errorf("%d rows of schema history", history)
	}
	l.verify()
}

func TestValidate(t *testing.T) {
	integers := expr.Type{Kind: expr.Integer}
	long := strings.Repeat("x", MaxNameBytes+1)
	for name, change := range map[string]func(d *Table){
		"no name":                 func(d *Table) { d.Name = "" },
		"long name":               func(d *Table) { d.Name = long },
		"dot in a name":           func(d *Table) { d.Name = "a.b" },
		"control character":       func(d *Table) { d.Name = "a\n" },
		"not UTF-8":               func(d *Table) { d.Name = "\xff" },
		"underscore":              func(d *Table) { d.Versions[0].Columns[1].Name = "_name" },
		"kind":                    func(d *Table) { d.Kind = "odd" },
		"too many partitions":     func(d *Table) { d.Partitions = MaxPartitions + 1 },
		"no partitions":           func(d *Table) { d.Partitions = -1 },
		"no columns":              func(d *Table) { d.Versions[0].Columns = nil },
		"no key":                  func(d *Table) { d.Versions[0].Key = nil },
		"key of no column":        func(d *Table) { d.Versions[0].Key = []int{9} },
		"negative key":            func(d *Table) { d.Versions[0].Key = []int{-1} },
		"key twice":               func(d *Table) { d.Versions[0].Key = []int{0, 0} },
		"hidden":                  func(d *Table) { d.Versions[0].Columns[1].Hidden = true },
		"JSON in the key":         func(d *Table) { d.Versions[0].Columns[0].Type = expr.Type{Kind: expr.JSON} },
		"list in the key":         func(d *Table) { d.Versions[0].Columns[0].Type = expr.Type{Kind: expr.List, Elem: &integers} },
		"no type":                 func(d *Table) { d.Versions[0].Columns[1].Type = expr.Type{} },
		"bad type":                func(d *Table) { d.Versions[0].Columns[1].Type = expr.Type{Kind: expr.Decimal, Precision: 90} },
		"default of another type": func(d *Table) { d.Versions[0].Columns[1].Default = &Default{Literal: expr.AppendValue(nil, big(1))} },
		"damaged default":         func(d *Table) { d.Versions[0].Columns[1].Default = &Default{Literal: []byte{255}} },
		"unknown function":        func(d *Table) { d.Versions[0].Columns[1].Default = &Default{Func: "random"} },
		"function of wrong type":  func(d *Table) { d.Versions[0].Columns[2].Default = &Default{Func: "now"} },
		"ttl of a keyed table":    func(d *Table) { d.Options.TTL = 1 },
		"negative retention":      func(d *Table) { d.Options.Retention = -1 },
		"partition_by no key":     func(d *Table) { d.Options.PartitionBy = []string{"name"} },
		"partition_by unknown":    func(d *Table) { d.Options.PartitionBy = []string{"x"} },
		"user table without user": func(d *Table) { d.Kind = User },
		"version missing":         func(d *Table) { d.Versions[0].Version = 2 },
	} {
		def := usersTable(1)
		def.Kind = Shared
		change(def)
		_, _, err := emptyCatalog().CreateTable(def, 1)
		if !problem.Is(err, problem.InvalidDefinition) {
			t.Errorf("%s: %v", name, err)
		}
	}
	twice := usersTable(1)
	twice.Versions[0].Columns[2].Name = "name"
	if _, _, err := emptyCatalog().CreateTable(twice, 1); !problem.Is(err, problem.DuplicateColumn) {
		t.Errorf("column twice: %v", err)
	}
}

func TestWidening(t *testing.T) {
	kind := func(k expr.Kind) expr.Type { return expr.Type{Kind: k} }
	decimal := func(p, s uint8) expr.Type { return expr.Type{Kind: expr.Decimal, Precision: p, Scale: s} }
	for _, tt := range []struct {
		from, to   expr.Type
		value, key bool
	}{
		{kind(expr.SmallInt), kind(expr.BigInt), true, true},
		{kind(expr.BigInt), kind(expr.Integer), false, false},
		{kind(expr.Real), kind(expr.Double), true, true},
		{kind(expr.Double), kind(expr.Real), false, false},
		{kind(expr.Integer), kind(expr.Double), true, false},
		{kind(expr.BigInt), kind(expr.Double), false, false},
		{kind(expr.BigInt), decimal(19, 0), true, false},
		{kind(expr.BigInt), decimal(19, 2), false, false},
		{decimal(10, 2), decimal(20, 2), true, true},
		{decimal(10, 2), decimal(20, 4), true, false},
		{decimal(10, 2), decimal(11, 4), false, false},
		{kind(expr.UUID), kind(expr.Text), true, false},
		{kind(expr.Text), kind(expr.UUID), false, false},
		{kind(expr.Date), kind(expr.Date), true, true},
	} {
		for key, want := range map[bool]bool{false: tt.value, true: tt.key} {
			if err := checkWidening("c", tt.from, tt.to, key); (err == nil) != want {
				t.Errorf("%s to %s, key %v: %v", tt.from, tt.to, key, err)
			}
		}
	}
}

func TestManyTables(t *testing.T) {
	l := newLedger(t)
	for i := range 200 {
		l.createTable(named(fmt.Sprintf("t%03d", i)))
	}
	if n := len(l.tableNames()); n != 200 {
		t.Errorf("%d tables", n)
	}
}
