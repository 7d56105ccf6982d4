package query

import (
	"slices"
	"strconv"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/duck"
	"kalamlog.dev/kalam/query/expr"
)

// computedTables returns the tables whose rows follow from the catalog, the configuration or the log, by qualified name.
func (e *Engine) computedTables() map[string]*duck.Computed {
	all := []*duck.Computed{
		{Namespace: "system", Name: "columns", Columns: fields(
			"namespace", expr.Text, "table", expr.Text, "name", expr.Text, "position", expr.Integer, "type", expr.Text,
			"not_null", expr.Bool, "default", expr.Text, "key_position", expr.Integer, "hidden", expr.Bool), Rows: systemColumns},
		{Namespace: "system", Name: "settings", Columns: fields("name", expr.Text, "value", expr.Text), Rows: e.settings},
		{Namespace: "system", Name: "segments", Live: true, Columns: fields(
			"namespace", expr.Text, "table", expr.Text, "partition", expr.Integer, "base_offset", expr.BigInt, "end_offset", expr.BigInt,
			"bytes", expr.BigInt, "sealed", expr.Bool), Rows: e.segments},
		{Namespace: "information_schema", Name: "schemata", Columns: fields(
			"catalog_name", expr.Text, "schema_name", expr.Text), Rows: schemata},
		{Namespace: "information_schema", Name: "tables", Columns: fields(
			"table_catalog", expr.Text, "table_schema", expr.Text, "table_name", expr.Text, "table_type", expr.Text), Rows: schemaTables},
		{
			Namespace: "information_schema", Name: "columns", Columns: fields(
				"table_catalog", expr.Text, "table_schema", expr.Text, "table_name", expr.Text, "column_name", expr.Text,
				"ordinal_position", expr.Integer, "column_default", expr.Text, "is_nullable", expr.Text, "data_type", expr.Text),
			Rows: schemaColumns,
		},
	}
	byName := map[string]*duck.Computed{}
	for _, t := range all {
		byName[t.Namespace+"."+t.Name] = t
	}
	return byName
}

// fields makes columns of names and kinds in turn.
func fields(pairs ...any) []expr.Field {
	var out []expr.Field
	for pair := range slices.Chunk(pairs, 2) {
		out = append(out, expr.Field{Name: pair[0].(string), Type: expr.Type{Kind: pair[1].(expr.Kind)}})
	}
	return out
}

func integer(i int) expr.Value { return expr.IntOf(expr.Integer, int64(i)) }

func systemColumns(c *materializer.Catalog) (rows [][]expr.Value) {
	for _, t := range c.Tables() {
		s := t.Schema()
		for i, col := range s.Columns {
			key := expr.Value{}
			if at := slices.Index(s.Key, i); at >= 0 {
				key = integer(at + 1)
			}
			rows = append(rows, []expr.Value{
				expr.TextOf(t.Namespace), expr.TextOf(t.Name), expr.TextOf(col.Name), integer(i + 1), expr.TextOf(col.Type.String()),
				expr.BoolOf(col.NotNull), defaultText(col), key, expr.BoolOf(col.Hidden),
			})
		}
	}
	return rows
}

func (e *Engine) settings(*materializer.Catalog) [][]expr.Value {
	number := func(n int) string { return strconv.Itoa(n) }
	return [][]expr.Value{
		textsOf("query_cache.max_plans", number(e.MaxPlans)),
		textsOf("query.threads", number(e.Threads)),
		textsOf("query.memory_limit", e.MemoryLimit),
		textsOf("storage.default_partitions", number(e.DefaultPartitions)),
		textsOf("sharding.default_strategy", e.DefaultSharding),
	}
}

// segments lists the segments of the log on this node. A partition whose files cannot be read is left out.
func (e *Engine) segments(c *materializer.Catalog) (rows [][]expr.Value) {
	bigint := func(n int64) expr.Value { return expr.IntOf(expr.BigInt, n) }
	for _, t := range c.Tables() {
		for p := range t.Partitions {
			infos, err := e.Log.Segments(log.Partition{Table: t.ID, ID: log.PartitionID(p)})
			if err != nil {
				e.Logger.Warn("segments cannot be listed", "table", t.QualifiedName(), "partition", p, "error", err)
			}
			for _, s := range infos {
				rows = append(rows, []expr.Value{
					expr.TextOf(t.Namespace), expr.TextOf(t.Name), integer(p), bigint(int64(s.Base)), bigint(int64(s.End)),
					bigint(s.Bytes), expr.BoolOf(s.Sealed),
				})
			}
		}
	}
	return rows
}

func schemata(c *materializer.Catalog) (rows [][]expr.Value) {
	for _, n := range append(c.Namespaces(), "information_schema") {
		rows = append(rows, textsOf(duck.Catalog, n))
	}
	return rows
}

func schemaTables(c *materializer.Catalog) (rows [][]expr.Value) {
	for _, t := range c.Tables() {
		rows = append(rows, textsOf(duck.Catalog, t.Namespace, t.Name, "BASE TABLE"))
	}
	return rows
}

func schemaColumns(c *materializer.Catalog) (rows [][]expr.Value) {
	for _, t := range c.Tables() {
		place := 0
		for _, col := range t.Schema().Columns {
			if col.Hidden {
				continue
			}
			place++
			null := "YES"
			if col.NotNull {
				null = "NO"
			}
			rows = append(rows, []expr.Value{
				expr.TextOf(duck.Catalog), expr.TextOf(t.Namespace), expr.TextOf(t.Name), expr.TextOf(col.Name), integer(place),
				defaultText(col), expr.TextOf(null), expr.TextOf(col.Type.String()),
			})
		}
	}
	return rows
}
