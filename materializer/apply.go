package materializer

import (
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/query/expr"
)

// rowState is what the state holds under a key.
type rowState struct {
	exists  bool
	version log.Offset // offset of the key's last change
	raw     []byte
}

// effect is what a mutation does to its row.
type effect struct {
	op      ChangeOp // 0: nothing, the mutation is skipped
	row     []byte   // the row after it, nil for RowDeleted
	scratch bool     // row lies in the applier's buffer, valid until it is used again
	refused *problem.Error
}

func refuse(p *problem.Error) (effect, error) { return effect{refused: p}, nil }

// applier decides what mutations do. What it answers depends on its arguments alone.
type applier struct {
	programs *programs
	values   []expr.Value
	row      []byte
}

// apply folds m over the row it addresses. The error reports damage; what the user did wrong is refused in the effect.
func (a *applier) apply(t *Table, cur rowState, m *rawMutation) (effect, error) {
	if int(m.partition.ID) >= t.Partitions {
		return refuse(problem.New(problem.BadRequest, "%s has no partition %d", t.QualifiedName(), m.partition.ID))
	}
	if t.Kind == Stream {
		if m.op != Insert {
			return refuse(problem.New(problem.Unsupported, "%s is a stream: its rows can only be inserted", t.QualifiedName()))
		}
		return a.put(t, RowInserted, m)
	}
	if len(m.key) == 0 {
		return refuse(problem.New(problem.BadRequest, "a row of %s without a key", t.QualifiedName()))
	}
	why, refused, err := a.check(t, cur, m)
	switch {
	case refused != nil || err != nil:
		return effect{refused: refused}, err
	case why == fits:
		return a.hit(t, cur, m)
	case m.miss == Skip:
		return effect{}, nil
	}
	return refuse(describe(why, t, cur, m))
}

// hit does what m says, its preconditions hold.
func (a *applier) hit(t *Table, cur rowState, m *rawMutation) (effect, error) {
	switch {
	case m.op == Patch:
		return a.patch(t, cur, m)
	case m.op == Remove:
		return effect{op: RowDeleted}, nil
	case m.op == Check:
		return effect{}, nil
	case cur.exists:
		return a.put(t, RowUpdated, m)
	default:
		return a.put(t, RowInserted, m)
	}
}

// misfit is why a mutation does not fit its row.
type misfit uint8

const (
	fits misfit = iota
	keyExists
	keyAbsent
	versionDiffers
	conditionFalse
)

// check compares m's preconditions with its row. An upsert of a key that does not exist has none but an expected version.
func (a *applier) check(t *Table, cur rowState, m *rawMutation) (misfit, *problem.Error, error) {
	switch {
	case m.op == Insert && cur.exists:
		return keyExists, nil, nil
	case m.op == Insert:
		return fits, nil, nil
	case !cur.exists && m.op == Upsert && m.version < 0:
		return fits, nil, nil
	case !cur.exists:
		return keyAbsent, nil, nil
	case m.version >= 0 && cur.version != log.Offset(m.version):
		return versionDiffers, nil, nil
	case m.where == nil:
		return fits, nil, nil
	}
	return a.condition(t, cur, m)
}

// condition evaluates m.where over the current row.
func (a *applier) condition(t *Table, cur rowState, m *rawMutation) (misfit, *problem.Error, error) {
	program, err := a.programs.compile(t, m.where)
	if err != nil {
		p, err := refusalOf(err)
		return fits, p, err
	}
	row, err := t.DecodeRow(cur.raw)
	if err != nil {
		return fits, nil, err
	}
	ok, err := program.Match(&row)
	if err != nil {
		p, err := refusalOf(err)
		return fits, p, err
	}
	if !ok {
		return conditionFalse, nil, nil
	}
	return fits, nil, nil
}

// describe says to the user why m does not fit its row.
func describe(why misfit, t *Table, cur rowState, m *rawMutation) *problem.Error {
	key, name := keyText(t.Schema(), m.key), t.QualifiedName()
	if isCatalog(t.ID) {
		return describeCatalog(why, t.ID, key)
	}
	switch why {
	case keyExists:
		return problem.New(problem.DuplicateKey, "key %s already exists in %s", key, name).WithHint("use upsert to replace the row")
	case versionDiffers:
		return problem.New(problem.VersionConflict, "key %s of %s has version %d, not %d", key, name, cur.version, m.version).
			WithHint("read the row again and repeat the write with its version")
	case conditionFalse:
		return problem.New(problem.VersionConflict, "the condition does not hold for key %s of %s", key, name)
	default:
		if m.version >= 0 {
			return problem.New(problem.VersionConflict, "key %s does not exist in %s, version %d was expected", key, name, m.version)
		}
		return problem.New(problem.KeyNotFound, "key %s does not exist in %s", key, name)
	}
}

// describeCatalog speaks of tables and schemas where describe speaks of keys.
func describeCatalog(why misfit, table log.TableID, key string) *problem.Error {
	switch {
	case table == SystemTables && why == keyExists:
		return problem.New(problem.DuplicateTable, "table %s already exists", key)
	case table == SystemTables && why == keyAbsent:
		return problem.New(problem.UnknownTable, "table %s does not exist", key)
	case table == SystemNamespaces && why == keyExists:
		return problem.New(problem.DuplicateNamespace, "schema %s already exists", key)
	case table == SystemNamespaces && why == keyAbsent:
		return problem.New(problem.UnknownNamespace, "schema %s does not exist", key)
	}
	return changedMeanwhile("the catalog was changed at the same time")
}

// refusalOf splits what an expression answered with: a *problem.Error is the user's, anything else ours.
func refusalOf(err error) (*problem.Error, error) {
	if p := problem.As(err); p != nil {
		return p, nil
	}
	return nil, err
}

// put is the effect of m's complete row, brought up to the newest schema.
func (a *applier) put(t *Table, op ChangeOp, m *rawMutation) (effect, error) {
	row, err := t.DecodeRow(m.row)
	if err != nil {
		return refuse(problem.New(problem.BadRequest, "a row that does not decode").Because(err))
	}
	if row.view.same {
		return effect{op: op, row: m.row}, nil
	}
	a.load(t, row)
	return a.encode(t, op)
}

// load sets a.values to row's, through the newest schema.
func (a *applier) load(t *Table, row Row) {
	a.values = a.values[:0]
	for i := range t.Schema().Columns {
		a.values = append(a.values, row.Column(i))
	}
}

// encode is the effect of the row a.values.
func (a *applier) encode(t *Table, op ChangeOp) (effect, error) {
	row, err := EncodeRow(a.row[:0], t.Schema(), a.values)
	if err != nil {
		p, err := refusalOf(err)
		return effect{refused: p}, err
	}
	a.row = row
	return effect{op: op, row: row, scratch: true}, nil
}

// patch evaluates every assignment over the row as it was, then sets them all.
func (a *applier) patch(t *Table, cur rowState, m *rawMutation) (effect, error) {
	row, err := t.DecodeRow(cur.raw)
	if err != nil {
		return effect{}, err
	}
	a.load(t, row)
	for i := range m.set {
		place, refused := assigned(t, m.schema, m.set[i].column)
		if refused != nil {
			return refuse(refused)
		}
		v, err := a.evaluate(t, &row, t.Schema().Columns[place], m.set[i].expr)
		if err != nil {
			p, err := refusalOf(err)
			return effect{refused: p}, err
		}
		a.values[place] = v
	}
	return a.encode(t, RowUpdated)
}

// assigned finds the place in the newest schema of a column that a Patch written in an older version sets.
func assigned(t *Table, version uint32, column int) (int, *problem.Error) {
	s := t.SchemaAt(version)
	if s == nil || column >= len(s.Columns) {
		return 0, problem.New(problem.BadRequest, "an assignment to column %d of schema version %d, which %s does not have", column, version, t.QualifiedName())
	}
	place := t.Schema().columnByID(s.Columns[column].ID)
	if place < 0 {
		return 0, problem.New(problem.UnknownColumn, "column %q of %s does not exist any more", s.Columns[column].Name, t.QualifiedName())
	}
	if t.Schema().isKey(place) {
		return 0, problem.New(problem.Unsupported, "column %q is part of the key of %s and cannot be set", s.Columns[column].Name, t.QualifiedName()).
			WithHint("delete the row and insert it under its new key")
	}
	return place, nil
}

func (a *applier) evaluate(t *Table, row *Row, c Column, encoded []byte) (expr.Value, error) {
	program, err := a.programs.compile(t, encoded)
	if err != nil {
		return expr.Value{}, err
	}
	v, err := program.Eval(row)
	if err != nil {
		return expr.Value{}, err
	}
	if v.IsNull() || program.Type().Equal(c.Type) {
		return v, nil
	}
	v, err = expr.CastValue(v, c.Type)
	if err != nil {
		return expr.Value{}, inColumn(c.Name, err)
	}
	return v, nil
}
