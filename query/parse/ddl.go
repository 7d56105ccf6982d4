package parse

import (
	"slices"
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

func (t *translator) createSchema(s *pg.CreateSchemaStmt) (Statement, error) {
	if len(s.SchemaElts) > 0 || s.Authrole != nil || s.Schemaname == "" {
		return nil, problem.New(problem.Unsupported, "CREATE SCHEMA takes a name alone").At(1)
	}
	return CreateSchema{Name: s.Schemaname, IfNotExists: s.IfNotExists}, nil
}

func (t *translator) drop(s *pg.DropStmt) (Statement, error) {
	if len(s.Objects) != 1 {
		return nil, problem.New(problem.Unsupported, "DROP takes one name").At(1).WithHint("write one DROP for each")
	}
	cascade := s.Behavior == pg.DropBehavior_DROP_CASCADE
	switch s.RemoveType {
	case pg.ObjectType_OBJECT_SCHEMA:
		return DropSchema{Name: s.Objects[0].GetString_().GetSval(), IfExists: s.MissingOk, Cascade: cascade}, nil
	case pg.ObjectType_OBJECT_TABLE:
		path := names(s.Objects[0].GetList().GetItems())
		name := TableName{Name: path[len(path)-1]}
		if len(path) == 2 {
			name.Namespace = path[0]
		} else if len(path) > 2 {
			return nil, problem.New(problem.Unsupported, "a table name has at most two parts").At(1)
		}
		return DropTable{Table: name, IfExists: s.MissingOk}, nil
	default:
		return nil, problem.New(problem.Unsupported, "this DROP is not supported").At(1).
			WithHint("DROP TABLE and DROP SCHEMA are")
	}
}

func (t *translator) createTable(s *pg.CreateStmt) (Statement, error) {
	name, err := t.tableName(s.Relation)
	if err != nil {
		return nil, err
	}
	if s.Relation.Relpersistence != "p" || len(s.InhRelations) > 0 || s.Partspec != nil || s.OfTypename != nil || len(s.Constraints) > 0 {
		return nil, problem.New(problem.Unsupported, "temporary, inherited and declaratively partitioned tables are not supported").At(1)
	}
	c := CreateTable{Table: name, IfNotExists: s.IfNotExists}
	for _, e := range s.TableElts {
		if err := t.tableElement(&c, e); err != nil {
			return nil, err
		}
	}
	for _, o := range s.Options {
		c.Options = append(c.Options, option(o.GetDefElem()))
	}
	return c, nil
}

func (t *translator) tableElement(c *CreateTable, n *pg.Node) error {
	switch e := n.GetNode().(type) {
	case *pg.Node_ColumnDef:
		return t.column(c, e.ColumnDef)
	case *pg.Node_Constraint:
		if e.Constraint.Contype != pg.ConstrType_CONSTR_PRIMARY {
			return t.refuseConstraint(e.Constraint)
		}
		return t.setKey(c, names(e.Constraint.Keys), e.Constraint.Location)
	}
	return problem.New(problem.Unsupported, "CREATE TABLE takes columns and a primary key").At(1)
}

func (t *translator) setKey(c *CreateTable, key []string, location int32) error {
	if c.Key != nil {
		return problem.New(problem.InvalidDefinition, "table %q has more than one primary key", c.Table.Name).
			At(t.at(location)).WithHint("name all columns of the key in one PRIMARY KEY (a, b)")
	}
	c.Key = key
	return nil
}

func (t *translator) column(c *CreateTable, d *pg.ColumnDef) error {
	typ, err := t.typeName(d.TypeName)
	if err != nil {
		return err
	}
	if d.CollClause != nil {
		return t.unsupported(d.Location, "COLLATE is not supported: text is compared by its bytes")
	}
	col := ColumnDef{Name: d.Colname, Type: typ, Position: t.at(d.Location)}
	for _, n := range d.Constraints {
		if err := t.columnConstraint(c, &col, n.GetConstraint()); err != nil {
			return err
		}
	}
	c.Columns = append(c.Columns, col)
	return nil
}

func (t *translator) columnConstraint(c *CreateTable, col *ColumnDef, k *pg.Constraint) error {
	switch k.Contype {
	case pg.ConstrType_CONSTR_NOTNULL:
		col.NotNull = true
	case pg.ConstrType_CONSTR_NULL:
	case pg.ConstrType_CONSTR_PRIMARY:
		return t.setKey(c, []string{col.Name}, k.Location)
	case pg.ConstrType_CONSTR_DEFAULT:
		n, err := t.node(k.RawExpr)
		col.Default = n
		return err
	default:
		return t.refuseConstraint(k)
	}
	return nil
}

func (t *translator) refuseConstraint(k *pg.Constraint) error {
	p := t.unsupported(k.Location, "this constraint is not supported")
	switch k.Contype {
	case pg.ConstrType_CONSTR_UNIQUE:
		return p.WithHint("only the primary key is unique")
	case pg.ConstrType_CONSTR_IDENTITY, pg.ConstrType_CONSTR_GENERATED:
		return p.WithHint("use DEFAULT snowflake_id() or DEFAULT uuid_v7()")
	default:
		return p.WithHint("PRIMARY KEY, NOT NULL and DEFAULT are")
	}
}

// option reads name = value of a WITH clause.
func option(d *pg.DefElem) Option {
	name := d.GetDefname()
	if ns := d.GetDefnamespace(); ns != "" {
		name = ns + "." + name
	}
	return Option{Name: strings.ToLower(name), Value: optionValue(d.GetArg())}
}

func optionValue(n *pg.Node) string {
	switch v := n.GetNode().(type) {
	case *pg.Node_String_:
		return v.String_.Sval
	case *pg.Node_Integer:
		return strconv.Itoa(int(v.Integer.Ival))
	case *pg.Node_Float:
		return v.Float.Fval
	case *pg.Node_Boolean:
		return strconv.FormatBool(v.Boolean.Boolval)
	case *pg.Node_TypeName: // a bare word
		path := names(v.TypeName.Names)
		return path[len(path)-1]
	}
	return "true"
}

// typeName translates a type, in PostgreSQL's or DuckDB's spelling.
func (t *translator) typeName(n *pg.TypeName) (expr.Type, error) {
	path := names(n.GetNames())
	if n.GetSetof() || n.GetPctType() || len(path) == 0 {
		return expr.Type{}, t.unsupported(n.GetLocation(), "this type is not supported")
	}
	if len(path) == 2 && path[0] == "pg_catalog" {
		path = path[1:]
	}
	typ, err := expr.ParseType(strings.Join(path, ".") + typeArguments(path, n.Typmods) + strings.Repeat("[]", len(n.ArrayBounds)))
	if p := problem.As(err); p != nil {
		return typ, p.At(t.at(n.Location))
	}
	return typ, err
}

// typeArguments returns (10,2). Types whose argument changes nothing are left without: the length of a text, the
// digits of a timestamp's seconds.
func typeArguments(path []string, mods []*pg.Node) string {
	if len(mods) == 0 || !slices.Contains([]string{"numeric", "decimal", "dec", "float"}, path[0]) {
		return ""
	}
	args := make([]string, len(mods))
	for i, m := range mods {
		args[i] = strconv.Itoa(int(m.GetAConst().GetIval().GetIval()))
	}
	return "(" + strings.Join(args, ",") + ")"
}
