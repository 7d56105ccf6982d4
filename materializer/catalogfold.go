package materializer

import (
	"slices"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/query/expr"
)

// isCatalog reports whether changes of the table change the catalog.
func isCatalog(t log.TableID) bool {
	return t == SystemNamespaces || t == SystemTables || t == SystemSchemaHistory
}

// fold returns the catalog after a change of one of its tables. A *problem.Error says why the catalog would make no sense with it: apply then refuses the batch, so
// that no writer, however wrong, can make a table that nobody can read.
func (c *Catalog) fold(table log.TableID, key, row []byte) (*Catalog, error) {
	n := c.clone()
	n.version++
	var err error
	switch table {
	case SystemNamespaces:
		err = n.foldNamespace(key, row)
	case SystemTables:
		err = n.foldTable(key, row)
	case SystemSchemaHistory:
		err = n.foldHistory(key)
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

// foldNamespace adds the namespace called key, or drops it if row is nil.
func (c *Catalog) foldNamespace(key, row []byte) error {
	values, err := DecodeKey(c.byID[SystemNamespaces].Schema(), key)
	if err != nil {
		return err
	}
	name := values[0].Str()
	place, exists := slices.BinarySearch(c.namespaces, name)
	if row != nil {
		if exists {
			return problem.New(problem.DuplicateNamespace, "schema %q already exists", name)
		}
		c.namespaces = slices.Insert(c.namespaces, place, name)
		return checkName("schema", name)
	}
	for _, t := range c.byID {
		if t.Namespace == name {
			return problem.New(problem.InvalidDefinition, "schema %q still holds tables", name).WithHint("drop them first, or use CASCADE")
		}
	}
	c.namespaces = slices.DeleteFunc(c.namespaces, func(n string) bool { return n == name })
	return nil
}

// foldTable puts the table defined in row, or drops the one called key if row is nil.
func (c *Catalog) foldTable(key, row []byte) error {
	values, err := DecodeKey(c.byID[SystemTables].Schema(), key)
	if err != nil {
		return err
	}
	old := c.byName[values[0].Str()+"."+values[1].Str()]
	if row == nil {
		if old != nil {
			delete(c.byName, old.QualifiedName())
			delete(c.byID, old.ID)
		}
		c.sort()
		return nil
	}
	t, err := decodeDefinition(c.byID[SystemTables], row)
	if err != nil {
		return problem.New(problem.InvalidDefinition, "a definition that does not decode").Because(err)
	}
	if err := c.checkTable(old, t); err != nil {
		return err
	}
	t.prepare()
	c.put(t)
	c.lastID = max(c.lastID, t.ID)
	c.sort()
	return nil
}

// checkTable decides whether t may take the place of old, which is nil for a new table.
func (c *Catalog) checkTable(old, t *Table) error {
	if !c.HasNamespace(t.Namespace) {
		return problem.New(problem.UnknownNamespace, "schema %q does not exist", t.Namespace)
	}
	if t.Namespace == SystemNamespace || t.ID < FirstUserTable {
		return problem.New(problem.Forbidden, "the schema %q belongs to the server", SystemNamespace)
	}
	if err := t.Validate(); err != nil {
		return err
	}
	if old == nil {
		if t.ID <= c.lastID {
			return changedMeanwhile("the catalog was changed at the same time")
		}
		return nil
	}
	return checkReplacement(old, t)
}

// checkReplacement makes sure that t is a later state of old: its versions go on from old's, what rows depend on is the same.
func checkReplacement(old, t *Table) error {
	if t.ID != old.ID || t.Kind != old.Kind || t.Partitions != old.Partitions || !slices.Equal(t.Options.PartitionBy, old.Options.PartitionBy) {
		return invalid("the id, type, partitions and partitioning of %s cannot be changed", old.QualifiedName())
	}
	if len(t.Versions) < len(old.Versions) {
		return changedMeanwhile("%s was altered at the same time", old.QualifiedName())
	}
	for i, s := range old.Versions {
		if !sameColumns(s.Columns, t.Versions[i].Columns) {
			return changedMeanwhile("%s was altered at the same time", old.QualifiedName())
		}
	}
	return nil
}

// changedMeanwhile says that a statement was made from a catalog that is no longer the newest.
func changedMeanwhile(format string, args ...any) *problem.Error {
	return problem.New(problem.VersionConflict, format, args...).WithHint("repeat the statement")
}

func sameColumns(a, b []Column) bool {
	return slices.EqualFunc(a, b, func(x, y Column) bool {
		return x.ID == y.ID && x.Name == y.Name && x.NotNull == y.NotNull && x.Type.Equal(y.Type)
	})
}

// foldHistory remembers the highest id that a table ever had.
func (c *Catalog) foldHistory(key []byte) error {
	values, err := DecodeKey(c.byID[SystemSchemaHistory].Schema(), key)
	if err != nil {
		return err
	}
	if values[0].Kind() == expr.BigInt {
		c.lastID = max(c.lastID, log.TableID(values[0].Int()))
	}
	return nil
}
