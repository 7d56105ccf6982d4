package materializer

import (
	"slices"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

// The methods of Catalog below give the mutations that change the catalog. Whoever proposes them sends those of one call as one Batch. If the catalog has
// changed meanwhile in a way that matters, apply refuses the batch; VersionConflict then means: ask the newer catalog again.

// CreateNamespace gives the mutations of CREATE SCHEMA. now is in microseconds, as in all of these.
func (c *Catalog) CreateNamespace(name string, now int64) ([]Mutation, error) {
	if err := checkName("schema", name); err != nil {
		return nil, err
	}
	if c.HasNamespace(name) {
		return nil, problem.New(problem.DuplicateNamespace, "schema %q already exists", name)
	}
	m, err := c.byID[SystemNamespaces].NewRow(Insert, []expr.Value{expr.TextOf(name), expr.IntOf(expr.TimestampTZ, now)})
	if err != nil {
		return nil, err
	}
	return []Mutation{m}, nil
}

// DropNamespace gives the mutations of DROP SCHEMA; with cascade they drop its tables too. Without, tables that exist are refused.
func (c *Catalog) DropNamespace(name string, cascade bool) ([]Mutation, error) {
	if name == SystemNamespace || name == DefaultNamespace {
		return nil, problem.New(problem.Forbidden, "schema %q cannot be dropped", name)
	}
	if !c.HasNamespace(name) {
		return nil, withSuggestion(problem.New(problem.UnknownNamespace, "schema %q does not exist", name), name, c.namespaces)
	}
	var all []Mutation
	for _, t := range c.tables {
		if t.Namespace != name {
			continue
		}
		if !cascade {
			return nil, problem.New(problem.InvalidDefinition, "schema %q still holds table %q", name, t.Name).WithHint("drop its tables first, or use CASCADE")
		}
		drop, err := c.DropTable(t)
		if err != nil {
			return nil, err
		}
		all = append(all, drop...)
	}
	m, err := c.byID[SystemNamespaces].OfKey(Remove, []expr.Value{expr.TextOf(name)})
	if err != nil {
		return nil, err
	}
	return append(all, m), nil
}

// CreateTable gives the mutations of CREATE TABLE and the table as it will be. Of def, ID and Created are ignored; column IDs are given out if
// all are zero; Kind and Partitions default to Shared and DefaultPartitions. def itself is not changed.
func (c *Catalog) CreateTable(def *Table, now int64) (*Table, []Mutation, error) {
	t := *def
	t.ID, t.Created, t.prepared = c.lastID+1, now, nil
	if t.Kind == "" {
		t.Kind = Shared
	}
	if t.Partitions == 0 {
		t.Partitions = DefaultPartitions
	}
	t.Versions = nil
	for _, s := range def.Versions {
		t.Versions = append(t.Versions, numberColumns(s))
	}
	if err := t.Validate(); err != nil {
		return nil, nil, err
	}
	if t.Namespace == SystemNamespace {
		return nil, nil, problem.New(problem.Forbidden, "the schema %q belongs to the server", SystemNamespace)
	}
	if !c.HasNamespace(t.Namespace) {
		return nil, nil, withSuggestion(problem.New(problem.UnknownNamespace, "schema %q does not exist", t.Namespace), t.Namespace, c.namespaces)
	}
	if c.byName[t.QualifiedName()] != nil {
		return nil, nil, problem.New(problem.DuplicateTable, "table %s already exists", t.QualifiedName())
	}
	t.prepare()
	all, err := c.tableRows(&t, Insert, t.Versions, now)
	if err != nil {
		return nil, nil, err
	}
	return &t, all, nil
}

// numberColumns returns a copy of s whose columns have IDs.
func numberColumns(s *Schema) *Schema {
	n := &Schema{Version: s.Version, Columns: slices.Clone(s.Columns), Key: slices.Clone(s.Key)}
	if slices.ContainsFunc(n.Columns, func(c Column) bool { return c.ID != 0 }) {
		return n
	}
	for i := range n.Columns {
		n.Columns[i].ID = uint32(i + 1)
	}
	return n
}

// tableRows gives the mutations of t's row in system.tables and of the versions' rows in system.schema_history.
func (c *Catalog) tableRows(t *Table, op MutationOp, versions []*Schema, now int64) ([]Mutation, error) {
	row, err := encodeDefinition(t)
	if err != nil {
		return nil, err
	}
	m, err := c.byID[SystemTables].NewRow(op, row)
	if err != nil {
		return nil, err
	}
	all := []Mutation{m}
	for _, s := range versions {
		row, err := schemaHistoryRow(t.ID, s, now)
		if err != nil {
			return nil, err
		}
		m, err := c.byID[SystemSchemaHistory].NewRow(Insert, row)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// DropTable gives the mutations of DROP TABLE. The rows go when they are applied; segments, Parquet files and what other system tables hold about the
// table are for their owners to remove.
func (c *Catalog) DropTable(t *Table) ([]Mutation, error) {
	if t.ID < FirstUserTable {
		return nil, problem.New(problem.Forbidden, "%s belongs to the server and cannot be dropped", t.QualifiedName())
	}
	m, err := c.byID[SystemTables].OfKey(Remove, []expr.Value{expr.TextOf(t.Namespace), expr.TextOf(t.Name)})
	if err != nil {
		return nil, err
	}
	m.Where = expr.Binary{Op: "=", L: expr.Column{Name: "id"}, R: expr.Literal{Value: expr.IntOf(expr.BigInt, int64(t.ID))}}
	return []Mutation{m}, nil
}

// ReplaceTable gives the mutations of ALTER TABLE: t is the table of the same name with other options or with schema versions added at the end.
func (c *Catalog) ReplaceTable(t *Table, now int64) ([]Mutation, error) {
	old, err := c.Table(t.Namespace, t.Name)
	if err != nil {
		return nil, err
	}
	if old.ID < FirstUserTable {
		return nil, problem.New(problem.Forbidden, "%s belongs to the server and cannot be altered", old.QualifiedName())
	}
	if err := t.Validate(); err != nil {
		return nil, err
	}
	if err := checkReplacement(old, t); err != nil {
		return nil, err
	}
	return c.tableRows(t, Upsert, t.Versions[len(old.Versions):], now)
}
