package materializer

import (
	"maps"
	"slices"
	"strings"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/internal/suggest"
	"kalamlog.dev/kalam/log"
)

// Catalog is an immutable picture of the namespaces and tables, system tables included. Safe for concurrent use.
type Catalog struct {
	version    uint64
	lastID     log.TableID // highest ever given to a table
	namespaces []string    // sorted
	byName     map[string]*Table
	byID       map[log.TableID]*Table
	tables     []*Table // sorted by qualified name
}

// emptyCatalog holds what always exists.
func emptyCatalog() *Catalog {
	c := &Catalog{
		lastID:     FirstUserTable - 1,
		namespaces: []string{DefaultNamespace, SystemNamespace},
		byName:     map[string]*Table{},
		byID:       map[log.TableID]*Table{},
	}
	for _, t := range systemTables() {
		c.put(t)
	}
	c.sort()
	return c
}

func (c *Catalog) put(t *Table) {
	c.byName[t.QualifiedName()] = t
	c.byID[t.ID] = t
}

func (c *Catalog) sort() {
	c.tables = slices.SortedFunc(maps.Values(c.byID), func(a, b *Table) int {
		return strings.Compare(a.QualifiedName(), b.QualifiedName())
	})
}

// clone returns a copy that may be changed until it is shared.
func (c *Catalog) clone() *Catalog {
	n := *c
	n.namespaces = slices.Clone(c.namespaces)
	n.byName = maps.Clone(c.byName)
	n.byID = maps.Clone(c.byID)
	return &n
}

// Version grows with every change of the catalog, over restarts too.
func (c *Catalog) Version() uint64 { return c.version }

// Namespaces returns all namespaces, sorted.
func (c *Catalog) Namespaces() []string { return slices.Clone(c.namespaces) }

// HasNamespace reports whether the namespace exists.
func (c *Catalog) HasNamespace(name string) bool {
	_, ok := slices.BinarySearch(c.namespaces, name)
	return ok
}

// Table returns a table by name. The error is a *problem.Error: UnknownNamespace or UnknownTable, with a hint if a name is close to it.
func (c *Catalog) Table(namespace, name string) (*Table, error) {
	if t := c.byName[namespace+"."+name]; t != nil && t.Namespace == namespace {
		return t, nil
	}
	if !c.HasNamespace(namespace) {
		return nil, withSuggestion(problem.New(problem.UnknownNamespace, "schema %q does not exist", namespace), namespace, c.namespaces)
	}
	var names []string
	for _, t := range c.tables {
		if t.Namespace == namespace {
			names = append(names, t.Name)
		}
	}
	return nil, withSuggestion(problem.New(problem.UnknownTable, "table %s.%s does not exist", namespace, name), name, names)
}

// TableByID returns a table, or nil if there is none with the id.
func (c *Catalog) TableByID(id log.TableID) *Table { return c.byID[id] }

// Tables returns all tables, sorted by qualified name.
func (c *Catalog) Tables() []*Table { return slices.Clone(c.tables) }

func withSuggestion(p *problem.Error, name string, among []string) *problem.Error {
	if closest := suggest.Closest(name, among); closest != "" {
		return p.WithHint("did you mean %q?", closest)
	}
	return p
}
