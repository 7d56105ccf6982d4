package query

import (
	"context"
	"strings"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
	"kalamlog.dev/kalam/query/parse"
)

// alter proposes what change makes of the newest catalog. No mutations means that there is nothing to do. The statements of
// this node take turns, so that none loses to the others again and again; a conflict comes from another node, and is tried again.
func (s *session) alter(ctx context.Context, change func(c *materializer.Catalog) ([]materializer.Mutation, error)) error {
	if !s.caller.Admin {
		return problem.New(problem.Forbidden, "only administrators change the catalog")
	}
	select {
	case s.ddl <- struct{}{}:
		defer func() { <-s.ddl }()
	case <-ctx.Done():
		return ctx.Err()
	}
	const attempts = 10
	var err error
	for range attempts {
		b := s.batch()
		if b.Mutations, err = change(s.Materializer.Catalog()); err != nil {
			return err
		}
		if len(b.Mutations) == 0 && b.IdempotencyKey == "" {
			return s.done(Summary{Position: s.Log.Position()})
		}
		receipt, failed := s.Writer.Write(ctx, b)
		if failed == nil {
			return s.done(Summary{Position: receipt.Position})
		}
		if err = failed; !problem.Is(failed, problem.VersionConflict) {
			return failed
		}
	}
	return err
}

func (s *session) createSchema(ctx context.Context, st parse.CreateSchema) error {
	return s.alter(ctx, func(c *materializer.Catalog) ([]materializer.Mutation, error) {
		if st.IfNotExists && c.HasNamespace(st.Name) {
			return nil, nil
		}
		if strings.EqualFold(st.Name, "information_schema") {
			return nil, problem.New(problem.DuplicateNamespace, "schema %q already exists", st.Name)
		}
		return c.CreateNamespace(st.Name, s.now)
	})
}

func (s *session) dropSchema(ctx context.Context, st parse.DropSchema) error {
	return s.alter(log.Freeing(ctx), func(c *materializer.Catalog) ([]materializer.Mutation, error) {
		if st.IfExists && !c.HasNamespace(st.Name) {
			return nil, nil
		}
		return c.DropNamespace(st.Name, st.Cascade)
	})
}

func (s *session) dropTable(ctx context.Context, st parse.DropTable) error {
	return s.alter(log.Freeing(ctx), func(c *materializer.Catalog) ([]materializer.Mutation, error) {
		t, err := c.Table(s.namespaceOf(st.Table), st.Table.Name)
		if st.IfExists && (problem.Is(err, problem.UnknownTable) || problem.Is(err, problem.UnknownNamespace)) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return c.DropTable(t)
	})
}

func (s *session) namespaceOf(name parse.TableName) string {
	if name.Namespace == "" {
		return s.Namespace
	}
	return name.Namespace
}

func (s *session) createTable(ctx context.Context, st parse.CreateTable) error {
	def, err := s.definition(st)
	if err != nil {
		return err
	}
	return s.alter(ctx, func(c *materializer.Catalog) ([]materializer.Mutation, error) {
		if _, err := c.Table(def.Namespace, def.Name); err == nil && st.IfNotExists {
			return nil, nil
		}
		_, ms, err := c.CreateTable(def, s.now)
		return ms, placed(err, st.Table.Position)
	})
}

// definition makes a table's definition of a CREATE TABLE.
func (s *session) definition(st parse.CreateTable) (*materializer.Table, error) {
	def := &materializer.Table{
		Namespace: s.namespaceOf(st.Table), Name: st.Table.Name, Kind: materializer.Shared, Partitions: s.DefaultPartitions,
		Options: materializer.TableOptions{Sharding: s.DefaultSharding},
	}
	for _, o := range st.Options {
		if err := setOption(def, o); err != nil {
			return nil, err
		}
	}
	schema, err := s.schema(st)
	if err != nil {
		return nil, err
	}
	if def.Kind == materializer.User {
		schema = materializer.WithUserColumn(schema)
	}
	def.Versions = []*materializer.Schema{schema}
	return def, nil
}

func (s *session) schema(st parse.CreateTable) (*materializer.Schema, error) {
	schema := &materializer.Schema{Version: 1}
	folded := map[string]bool{}
	for i, c := range st.Columns {
		// DuckDB's names are the same in upper and lower case.
		name := strings.ToLower(c.Name)
		if folded[name] {
			return nil, problem.New(problem.DuplicateColumn, "column %q appears twice", c.Name).At(c.Position)
		}
		folded[name] = true
		def, err := s.columnDefault(c)
		if err != nil {
			return nil, placed(err, c.Position)
		}
		schema.Columns = append(schema.Columns, materializer.Column{
			ID: uint32(i + 1), Name: c.Name, Type: c.Type, NotNull: c.NotNull, Default: def,
		})
	}
	for _, name := range st.Key {
		place, ok := schema.Column(name)
		if !ok {
			return nil, unknownColumn(schema.Fields(), name, parse.Locate(s.parsed.Text, name))
		}
		schema.Key = append(schema.Key, place)
	}
	return schema, nil
}

// columnDefault reads a DEFAULT: a constant expression, or one of the functions that the proposer calls for each row.
func (s *session) columnDefault(c parse.ColumnDef) (*materializer.Default, error) {
	if c.Default == nil {
		return nil, nil //nolint:nilnil // no default is not an error
	}
	if call, ok := c.Default.(expr.Call); ok && len(call.Args) == 0 {
		if f := defaultFunction(call.Name); f != "" {
			return &materializer.Default{Func: f}, nil
		}
	}
	v, err := evaluate(c.Default)
	if problem.Is(err, problem.UnknownColumn) {
		return nil, problem.New(problem.InvalidDefinition, "the default of column %q names another column", c.Name).
			WithHint("a text is written in single quotes")
	}
	if err == nil {
		v, err = expr.CastValue(v, c.Type)
	}
	if err != nil {
		return nil, err
	}
	if v.IsNull() {
		return nil, nil //nolint:nilnil // DEFAULT NULL is none
	}
	return &materializer.Default{Literal: expr.AppendValue(nil, v)}, nil
}

// defaultFunction returns the catalog's name of a default function, "" if it is none.
func defaultFunction(name string) string {
	switch name {
	case "now", "uuid_v7", "ulid", "snowflake_id", "current_user_id":
		return name
	case "current_timestamp", "get_current_timestamp", "transaction_timestamp", "current_date", "localtimestamp":
		return "now"
	case "uuidv7", "gen_random_uuid", "uuid":
		return "uuid_v7"
	case "current_user":
		return "current_user_id"
	}
	return ""
}
