package duck

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// ViewName returns the name, in the internal schema, of the view that shows a table's columns.
func ViewName(id log.TableID) string { return "table_" + strconv.FormatUint(uint64(id), 10) }

// FullViewName returns the name of the view that also shows system and hidden columns.
func FullViewName(id log.TableID) string { return "full_" + strconv.FormatUint(uint64(id), 10) }

// SystemColumns returns the names of the columns that only the full views show.
func SystemColumns() []string { return []string{"_partition", "_offset", "_timestamp", "_op"} }

// defineViews replaces the table's two views by what next says.
func (s *step) defineViews(ctx context.Context) error {
	t := s.next.table
	return s.conn.Exec(ctx, s.defineView(ViewName(t.ID), visibleColumns(t))+";\n"+
		s.defineView(FullViewName(t.ID), append(allColumns(t), SystemColumns()...)))
}

func visibleColumns(t *materializer.Table) []string {
	var names []string
	for _, c := range t.Schema().Columns {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return names
}

func allColumns(t *materializer.Table) []string {
	var names []string
	for _, c := range t.Schema().Columns {
		names = append(names, c.Name)
	}
	return names
}

// defineView returns the statement that makes one view of the named columns.
func (s *step) defineView(name string, columns []string) string {
	parts := s.filesParts(columns)
	if s.next.tailRows || len(parts) == 0 {
		parts = append(parts, "SELECT "+identList(columns)+" FROM "+internal(s.next.tail())+s.where(nil))
	}
	return "CREATE OR REPLACE VIEW " + internal(name) + " AS " + strings.Join(parts, "\nUNION ALL ")
}

// where joins conditions with the one that hides other users' rows.
func (s *step) where(conditions []string) string {
	if s.next.table.Kind == materializer.User {
		conditions = append(conditions, fmt.Sprintf("(getvariable('%s') OR %s = getvariable('%s'))", allVariable,
			Ident(materializer.UserColumn), userVariable))
	}
	if len(conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(conditions, " AND ")
}

// filesParts returns one SELECT for the files of each schema version.
func (s *step) filesParts(columns []string) []string {
	byVersion := map[uint32][]manifest.File{}
	for _, f := range s.next.manifest.Files {
		byVersion[f.Schema] = append(byVersion[f.Schema], f)
	}
	var parts []string
	for version := range uint32(len(s.next.table.Versions)) {
		if files := byVersion[version+1]; len(files) > 0 {
			parts = append(parts, s.filesPart(columns, version+1, files))
		}
	}
	return parts
}

// filesPart reads files of one schema version as if they had the newest: columns by id, under their names of then.
func (s *step) filesPart(columns []string, version uint32, files []manifest.File) string {
	then := s.next.table.SchemaAt(version)
	items := make([]string, len(columns))
	for i, name := range columns {
		items[i] = s.fileColumn(then, version, name) + " AS " + Ident(name)
	}
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = quote(filepath.Join(s.db.dir, filepath.FromSlash(f.Path)))
	}
	var conditions []string
	source := "read_parquet([" + strings.Join(paths, ", ") + "])"
	if s.next.dead != nil {
		conditions = append(conditions, fmt.Sprintf("%s(%d, _partition, _offset)", liveFunction, s.next.deadNumber))
	}
	return "SELECT " + strings.Join(items, ", ") + " FROM " + source + s.where(conditions)
}

func (s *step) fileColumn(then *materializer.Schema, version uint32, name string) string {
	now := s.next.table.Schema()
	i, ok := now.Column(name)
	if !ok {
		return Ident(name)
	}
	column := now.Columns[i]
	for _, old := range then.Columns {
		if old.ID == column.ID {
			return "CAST(" + Ident(old.Name) + " AS " + column.Type.String() + ")"
		}
	}
	return "CAST(" + expr.SQL(expr.Literal{Value: s.addedDefault(version, column.ID)}) + " AS " + column.Type.String() + ")"
}

// addedDefault returns what rows older than a column show in it: the literal default that it was added with.
func (s *step) addedDefault(after uint32, column uint32) expr.Value {
	for _, v := range s.next.table.Versions[after:] {
		for _, c := range v.Columns {
			if c.ID != column {
				continue
			}
			if c.Default == nil || c.Default.Func != "" {
				return expr.Value{}
			}
			value, _, err := expr.DecodeValue(c.Default.Literal)
			if err != nil {
				return expr.Value{}
			}
			return value
		}
	}
	return expr.Value{}
}

func identList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = Ident(n)
	}
	return strings.Join(quoted, ", ")
}
