package materializer

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

// Limits of a table's definition.
const (
	MaxNameBytes  = 63
	MaxColumns    = 1600
	MaxPartitions = 1024
	// DefaultPartitions is what CREATE TABLE without WITH (partitions) gives.
	DefaultPartitions = 4
)

// WithUserColumn returns s with the hidden leading key column of a User table in front. Its ID follows the highest of s, unless those are yet to be
// given out.
func WithUserColumn(s *Schema) *Schema {
	id := uint32(0)
	for _, c := range s.Columns {
		id = max(id, c.ID)
	}
	if id > 0 {
		id++
	}
	user := Column{ID: id, Name: UserColumn, Type: expr.Type{Kind: expr.Text}, NotNull: true, Hidden: true}
	out := &Schema{Version: s.Version, Columns: append([]Column{user}, s.Columns...), Key: []int{0}}
	for _, k := range s.Key {
		out.Key = append(out.Key, k+1)
	}
	return out
}

// Validate checks a definition and makes the columns of the primary key NOT NULL. The error is a *problem.Error, mostly InvalidDefinition. It is
// called on a definition that is not shared yet.
func (t *Table) Validate() error {
	if err := checkName("schema", t.Namespace); err != nil {
		return err
	}
	if err := checkName("table", t.Name); err != nil {
		return err
	}
	switch t.Kind {
	case Shared, User, Stream:
	default:
		return invalid("unknown table type %q", string(t.Kind)).WithHint("the types are shared, user and stream")
	}
	if t.Partitions < 1 || t.Partitions > MaxPartitions {
		return invalid("partitions = %d: it must lie between 1 and %d", t.Partitions, MaxPartitions)
	}
	if len(t.Versions) == 0 {
		return invalid("a table without columns")
	}
	for i, s := range t.Versions {
		if s == nil || s.Version != uint32(i+1) {
			return invalid("schema version %d is missing", i+1)
		}
		if err := t.validateSchema(s); err != nil {
			return err
		}
		if i > 0 {
			if err := checkEvolution(t, t.Versions[i-1], s); err != nil {
				return err
			}
		}
	}
	return t.validateOptions()
}

func invalid(format string, args ...any) *problem.Error {
	return problem.New(problem.InvalidDefinition, format, args...)
}

// checkName refuses what cannot be a name of the kind ("table", "schema").
func checkName(kind, name string) error {
	if err := checkIdentifier(kind, name); err != nil {
		return err
	}
	if strings.HasPrefix(name, "_") {
		return invalid("%s name %q begins with an underscore", kind, name).WithHint("such names are kept for system columns")
	}
	return nil
}

func checkIdentifier(kind, name string) error {
	switch {
	case name == "":
		return invalid("an empty %s name", kind)
	case len(name) > MaxNameBytes:
		return invalid("%s name %q is longer than %d bytes", kind, name, MaxNameBytes)
	case !utf8.ValidString(name):
		return invalid("%s name %q is not UTF-8", kind, name)
	case strings.ContainsFunc(name, func(r rune) bool { return r == '.' || unicode.IsControl(r) }):
		return invalid("%s name %q holds a dot or a control character", kind, name)
	}
	return nil
}

func (t *Table) validateSchema(s *Schema) error {
	if len(s.Columns) == 0 {
		return invalid("a table without columns")
	}
	if len(s.Columns) > MaxColumns {
		return invalid("%d columns: the limit is %d", len(s.Columns), MaxColumns)
	}
	names, ids := map[string]bool{}, map[uint32]bool{}
	for i := range s.Columns {
		c := &s.Columns[i]
		if err := t.validateColumn(s, i); err != nil {
			return err
		}
		if names[c.Name] {
			return problem.New(problem.DuplicateColumn, "column %q appears twice", c.Name)
		}
		if ids[c.ID] {
			return invalid("column id %d appears twice", c.ID)
		}
		names[c.Name], ids[c.ID] = true, true
	}
	return t.validateKey(s)
}

func (t *Table) validateColumn(s *Schema, i int) error {
	c := s.Columns[i]
	if c.Hidden && t.Kind == User && i == 0 && c.Name == UserColumn && c.Type.Kind == expr.Text {
		return nil
	}
	if c.Hidden {
		return invalid("column %q cannot be hidden", c.Name)
	}
	if err := checkName("column", c.Name); err != nil {
		return err
	}
	if c.Type.Kind == expr.Null || !c.Type.Valid() {
		return invalid("column %q has no valid type", c.Name)
	}
	return validateDefault(c)
}

func validateDefault(c Column) error {
	d := c.Default
	if d == nil {
		return nil
	}
	if d.Func == "" {
		v, n, err := expr.DecodeValue(d.Literal)
		if err != nil || n != len(d.Literal) {
			return invalid("the default of column %q does not decode", c.Name)
		}
		if err := checkLiteral(c, v); err != nil {
			return err
		}
		return nil
	}
	kinds, ok := defaultFunctions()[d.Func]
	if !ok {
		return invalid("unknown default function %s() of column %q", d.Func, c.Name).
			WithHint("the functions are now, uuid_v7, ulid, snowflake_id and current_user_id")
	}
	if !slices.Contains(kinds, c.Type.Kind) {
		return invalid("%s() cannot be the default of column %q of type %s", d.Func, c.Name, c.Type)
	}
	return nil
}

// defaultFunctions lists the types that each function may fill.
func defaultFunctions() map[string][]expr.Kind {
	return map[string][]expr.Kind{
		"now":             {expr.Timestamp, expr.TimestampTZ, expr.Date, expr.Time},
		"uuid_v7":         {expr.UUID, expr.Text},
		"ulid":            {expr.Text},
		"snowflake_id":    {expr.BigInt},
		"current_user_id": {expr.Text},
	}
}

// checkLiteral makes sure that v can stand in column c as it is.
func checkLiteral(c Column, v expr.Value) error {
	if v.IsNull() {
		return nil
	}
	one := &Schema{Version: 1, Columns: []Column{c}}
	if _, err := EncodeRow(nil, one, []expr.Value{v}); err != nil {
		return invalid("the default of column %q is not of type %s", c.Name, c.Type).Because(err)
	}
	return nil
}

func (t *Table) validateKey(s *Schema) error {
	if len(s.Key) == 0 {
		if t.Kind == Stream {
			return nil
		}
		return invalid("table %s has no primary key", t.Name).WithHint("add PRIMARY KEY, or WITH (type = 'stream') for an append-only table")
	}
	if t.Kind == User && (s.Key[0] != 0 || s.Columns[0].Name != UserColumn || len(s.Key) < 2) {
		return invalid("the key of a user table begins with %s and goes on with columns of its own", UserColumn)
	}
	for i, k := range s.Key {
		if k < 0 || k >= len(s.Columns) || slices.Contains(s.Key[:i], k) {
			return invalid("the primary key names a column that does not exist or is in it already")
		}
		c := &s.Columns[k]
		if c.Type.Kind == expr.JSON || c.Type.Kind == expr.List {
			return invalid("column %q of type %s cannot be part of the primary key", c.Name, c.Type)
		}
		if !c.NotNull {
			c.NotNull = true
		}
	}
	return nil
}

func (t *Table) validateOptions() error {
	o, s := t.Options, t.Schema()
	if o.TTL < 0 || o.Retention < 0 || o.RetentionBytes < 0 || o.FlushRows < 0 {
		return invalid("ttl, retention, retention_bytes and flush_rows must not be negative")
	}
	if o.TTL > 0 && t.Kind != Stream {
		return invalid("ttl is for stream tables")
	}
	for i, name := range o.PartitionBy {
		c, ok := s.Column(name)
		if !ok || !s.isKey(c) || slices.Contains(o.PartitionBy[:i], name) {
			return invalid("partition_by names %q, which is no column of the primary key or is in it already", name)
		}
	}
	if t.Kind == User && len(o.PartitionBy) > 0 && !slices.Equal(o.PartitionBy, []string{UserColumn}) {
		return invalid("a user table is partitioned by its user")
	}
	return nil
}

// checkEvolution makes sure that rows of the older schema can be read through the newer, and that keys keep their encoding and partition.
func checkEvolution(t *Table, older, newer *Schema) error {
	if len(older.Key) != len(newer.Key) {
		return invalid("the primary key of %s cannot be changed", t.Name)
	}
	for i, k := range older.Key {
		if older.Columns[k].ID != newer.Columns[newer.Key[i]].ID {
			return invalid("the primary key of %s cannot be changed", t.Name)
		}
	}
	for i, c := range newer.Columns {
		j := older.columnByID(c.ID)
		if j < 0 {
			if c.NotNull && (c.Default == nil || c.Default.Func != "") {
				return invalid("column %q is added NOT NULL without a constant default", c.Name).
					WithHint("rows that exist need a value: add DEFAULT with a constant")
			}
			continue
		}
		old := older.Columns[j]
		if c.NotNull && !old.NotNull {
			return invalid("column %q cannot become NOT NULL: older rows may hold NULL", c.Name)
		}
		if err := checkWidening(c.Name, old.Type, c.Type, newer.isKey(i)); err != nil {
			return err
		}
	}
	return nil
}

// checkWidening allows the type changes whose cast cannot fail and loses nothing; in a key, those that leave its encoding as it is.
func checkWidening(name string, from, to expr.Type, key bool) error {
	if from.Equal(to) {
		return nil
	}
	ok := false
	switch digits := integerDigits(from.Kind); {
	case digits > 0 && integerDigits(to.Kind) > digits, from.Kind == expr.Real && to.Kind == expr.Double:
		ok = true
	case from.Kind == expr.Decimal && to.Kind == expr.Decimal:
		ok = to.Scale >= from.Scale && to.Precision-to.Scale >= from.Precision-from.Scale
		ok = ok && (!key || to.Scale == from.Scale)
	case key:
	case digits > 0 && to.Kind == expr.Double:
		ok = from.Kind != expr.BigInt
	case digits > 0 && to.Kind == expr.Decimal:
		ok = int(to.Precision)-int(to.Scale) >= digits
	case to.Kind == expr.Text:
		ok = from.Kind != expr.List
	}
	if ok {
		return nil
	}
	return invalid("column %q cannot change from %s to %s", name, from, to).WithHint("only changes to a wider type are allowed")
}

// integerDigits returns the decimal digits that an integer kind can need, 0 for other kinds.
func integerDigits(k expr.Kind) int {
	switch k {
	case expr.SmallInt:
		return 5
	case expr.Integer:
		return 10
	case expr.BigInt:
		return 19
	default:
		return 0
	}
}
