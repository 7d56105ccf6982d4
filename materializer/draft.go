package materializer

import (
	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/query/expr"
)

// Drafter turns a user's rows into mutations of one table, the same way for every door: it fills defaults, casts values to
// their columns, checks NOT NULL, encodes key and row and picks the partition. Use one for each request; it is not safe for
// concurrent use.
//
// Rows come as values and set, both as long as the newest schema's columns: set says which columns the user gave. Errors are
// *problem.Error (NotNull, TypeMismatch, InvalidValue, OutOfRange, BadRequest) that name the column.
type Drafter struct {
	table  *Table
	schema *Schema
	caller identity.Caller
	now    int64
	ids    *IDs
	keyOf  []bool          // by column: part of the key
	spread log.PartitionID // where rows without a key go
	row    []expr.Value    // reused
}

// NewDrafter returns a Drafter for the newest schema of t. now, in microseconds, is what now() gives in defaults.
func NewDrafter(t *Table, caller identity.Caller, now int64, ids *IDs) *Drafter {
	s := t.Schema()
	d := &Drafter{table: t, schema: s, caller: caller, now: now, ids: ids, keyOf: make([]bool, len(s.Columns))}
	for _, c := range s.Key {
		d.keyOf[c] = true
	}
	d.spread = log.PartitionID(uint64(ids.Snowflake(now)) % uint64(t.Partitions))
	return d
}

// Put drafts an Insert or Upsert of a whole row. It also returns the completed row, valid until the next call.
func (d *Drafter) Put(op MutationOp, values []expr.Value, set []bool) (Mutation, []expr.Value, error) {
	row, err := d.complete(values, set)
	if err != nil {
		return Mutation{}, nil, err
	}
	m := Mutation{Op: op, Schema: d.schema.Version, Version: AnyVersion}
	m.Partition, m.Key, err = d.locate(row)
	if err != nil {
		return Mutation{}, nil, err
	}
	m.Row, err = EncodeRow(nil, d.schema, row)
	return m, row, err
}

// Patch drafts a Patch that sets the given columns of the row that the given key columns name.
func (d *Drafter) Patch(values []expr.Value, set []bool) (Mutation, error) {
	m, err := d.keyed(Patch, values, set)
	if err != nil {
		return Mutation{}, err
	}
	for i, c := range d.schema.Columns {
		if !set[i] || d.keyOf[i] {
			continue
		}
		v, err := castColumn(c, values[i])
		if err != nil {
			return Mutation{}, err
		}
		if v.IsNull() && c.NotNull {
			return Mutation{}, notNull(d.table, c)
		}
		m.Set = append(m.Set, Assignment{Column: i, Expr: expr.Literal{Value: v}})
	}
	return m, nil
}

// Remove drafts a Remove of the row that the given key columns name.
func (d *Drafter) Remove(values []expr.Value, set []bool) (Mutation, error) {
	return d.keyed(Remove, values, set)
}

// Locate encodes the given key columns and finds their partition. UserColumn defaults to the caller.
func (d *Drafter) Locate(values []expr.Value, set []bool) (log.Partition, []byte, error) {
	if d.table.Kind == Stream {
		return log.Partition{}, nil, problem.New(problem.Unsupported, "%s is a stream table: its rows are appended and cannot be addressed by key", d.table.QualifiedName())
	}
	row := d.scratch()
	for _, i := range d.schema.Key {
		c := d.schema.Columns[i]
		v, given := values[i], set[i]
		if !given && c.Name == UserColumn {
			v, given = expr.TextOf(d.caller.Name), true
		}
		if !given {
			return log.Partition{}, nil, problem.New(problem.BadRequest, "key column %q of %s is missing", c.Name, d.table.QualifiedName())
		}
		v, err := castColumn(c, v)
		if err != nil {
			return log.Partition{}, nil, err
		}
		if v.IsNull() {
			return log.Partition{}, nil, notNull(d.table, c)
		}
		row[i] = v
	}
	return d.locate(row)
}

func (d *Drafter) keyed(op MutationOp, values []expr.Value, set []bool) (Mutation, error) {
	p, key, err := d.Locate(values, set)
	if err != nil {
		return Mutation{}, err
	}
	return Mutation{Op: op, Partition: p, Schema: d.schema.Version, Key: key, Version: AnyVersion}, nil
}

// complete casts what is given and fills in the rest.
func (d *Drafter) complete(values []expr.Value, set []bool) ([]expr.Value, error) {
	row := d.scratch()
	for i, c := range d.schema.Columns {
		v, err := d.columnValue(i, c, values, set)
		if err != nil {
			return nil, err
		}
		if v.IsNull() && c.NotNull {
			return nil, notNull(d.table, c)
		}
		row[i] = v
	}
	return row, nil
}

func (d *Drafter) columnValue(i int, c Column, values []expr.Value, set []bool) (expr.Value, error) {
	if set[i] {
		return castColumn(c, values[i])
	}
	if c.Name == UserColumn && d.table.Kind == User {
		return expr.TextOf(d.caller.Name), nil
	}
	if c.Default == nil {
		return expr.Value{}, nil
	}
	v, err := d.defaultValue(c.Default)
	if err != nil {
		return expr.Value{}, err
	}
	return castColumn(c, v)
}

func (d *Drafter) defaultValue(def *Default) (expr.Value, error) {
	switch def.Func {
	case "":
		v, _, err := expr.DecodeValue(def.Literal)
		return v, err
	case "now":
		return expr.IntOf(expr.TimestampTZ, d.now), nil
	case "uuid_v7":
		return d.ids.UUIDv7()
	case "ulid":
		return d.ids.ULID(), nil
	case "snowflake_id":
		return expr.IntOf(expr.BigInt, d.ids.Snowflake(d.now)), nil
	case "current_user_id":
		return expr.TextOf(d.caller.Name), nil
	}
	return expr.Value{}, problem.New(problem.InvalidDefinition, "unknown default function %s()", def.Func)
}

// locate encodes the key of a completed row and picks its partition.
func (d *Drafter) locate(row []expr.Value) (log.Partition, []byte, error) {
	if len(d.schema.Key) == 0 {
		return log.Partition{Table: d.table.ID, ID: d.spread}, nil, nil
	}
	key, p, err := d.table.address(row)
	return log.Partition{Table: d.table.ID, ID: p}, key, err
}

func (d *Drafter) scratch() []expr.Value {
	if d.row == nil {
		d.row = make([]expr.Value, len(d.schema.Columns))
	}
	clear(d.row)
	return d.row
}

func castColumn(c Column, v expr.Value) (expr.Value, error) {
	out, err := expr.CastValue(v, c.Type)
	if err != nil {
		return expr.Value{}, inColumn(c.Name, err)
	}
	return out, nil
}

func notNull(t *Table, c Column) error {
	return problem.New(problem.NotNull, "column %q of %s is NOT NULL", c.Name, t.QualifiedName()).
		WithHint("give %q a value, or create the column with a DEFAULT", c.Name)
}
