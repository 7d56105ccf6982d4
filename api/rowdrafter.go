package api

import (
	"strconv"
	"strings"

	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/internal/suggest"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// rowMode is what a body's rows are for.
type rowMode string

const (
	modeInsert rowMode = "insert" // the keys must not exist
	modeUpsert rowMode = "upsert" // whole rows, whether the keys exist or not
	modePatch  rowMode = "patch"  // the given columns of existing rows
	modeDelete rowMode = "delete" // the given keys, which must exist
)

func parseRowMode(s string) (rowMode, error) {
	switch m := rowMode(s); m {
	case "":
		return modeInsert, nil
	case modeInsert, modeUpsert, modePatch, modeDelete:
		return m, nil
	}
	p := problem.New(problem.BadRequest, "mode is insert, upsert, patch or delete")
	if near := suggest.Closest(s, []string{"insert", "upsert", "patch", "delete"}); near != "" {
		return "", p.WithHint("did you mean %s?", near)
	}
	return "", p
}

// rowDrafter turns the JSON rows of one request into mutations. It is used by one goroutine.
type rowDrafter struct {
	table   *materializer.Table
	decoder *rowDecoder
	drafter *materializer.Drafter
	mode    rowMode
	cond    precondition
}

// newRowDrafter drafts for t on behalf of caller; now, in microseconds, is what now() gives in defaults.
func newRowDrafter(t *materializer.Table, caller identity.Caller, now int64, ids *materializer.IDs, mode rowMode, cond precondition) *rowDrafter {
	return &rowDrafter{
		table: t, decoder: newRowDecoder(t, caller.Admin), drafter: materializer.NewDrafter(t, caller, now, ids), mode: mode, cond: cond,
	}
}

// request names what the rows are for, as a part of what an idempotency key stands for.
func (d *rowDrafter) request() string {
	return strings.Join([]string{
		strconv.FormatUint(uint64(d.table.ID), 10), string(d.mode), strconv.FormatInt(d.cond.version, 10),
		strconv.FormatBool(d.cond.exists), strconv.FormatBool(d.cond.absent),
	}, "/")
}

// draft makes the mutation of one JSON row. conditional says that the row, or the request, has a precondition.
func (d *rowDrafter) draft(raw []byte) (m materializer.Mutation, conditional bool, err error) {
	if err := d.decoder.decode(raw); err != nil {
		return m, false, err
	}
	cond, err := d.precondition()
	if err != nil {
		return m, false, err
	}
	if m, err = d.mutation(cond); err != nil {
		return materializer.Mutation{}, false, err
	}
	m.Version = cond.version
	return m, cond.given(), nil
}

// precondition is that of the row just decoded.
func (d *rowDrafter) precondition() (precondition, error) {
	if d.decoder.version == nil {
		return d.cond, nil
	}
	if d.cond.given() {
		return d.cond, problem.New(problem.BadRequest, "the row has a %s and the request an If-Match or If-None-Match", versionMember).
			WithHint("say it once")
	}
	return parseVersionMember(d.decoder.version, d.mode)
}

func (d *rowDrafter) mutation(cond precondition) (materializer.Mutation, error) {
	values, set := d.decoder.values, d.decoder.set
	switch d.mode {
	case modePatch:
		return d.drafter.Patch(values, set)
	case modeDelete:
		if err := d.keyOnly(); err != nil {
			return materializer.Mutation{}, err
		}
		return d.drafter.Remove(values, set)
	default:
		return d.put(cond, values, set)
	}
}

func (d *rowDrafter) put(cond precondition, values []expr.Value, set []bool) (materializer.Mutation, error) {
	op := materializer.Upsert
	if d.mode == modeInsert || cond.absent {
		op = materializer.Insert
	}
	m, row, err := d.drafter.Put(op, values, set)
	if err == nil && cond.exists {
		m = d.replacement(m, row)
	}
	return m, err
}

// replacement turns the upsert of a row into a patch of all its columns, which asks for the row to exist.
func (d *rowDrafter) replacement(m materializer.Mutation, row []expr.Value) materializer.Mutation {
	schema := d.table.Schema()
	key := make(map[int]bool, len(schema.Key))
	for _, i := range schema.Key {
		key[i] = true
	}
	m.Op, m.Row = materializer.Patch, nil
	for i := range schema.Columns {
		if !key[i] {
			m.Set = append(m.Set, materializer.Assignment{Column: i, Expr: expr.Literal{Value: row[i]}})
		}
	}
	return m
}

// keyOnly refuses other columns in a row that names what to delete: they could be meant as a condition, and are none.
func (d *rowDrafter) keyOnly() error {
	schema := d.table.Schema()
	for i, given := range d.decoder.set {
		if !given {
			continue
		}
		if _, ok := keyPlace(schema, i); !ok {
			return problem.New(problem.BadRequest, "mode delete takes key columns alone, %q is none", schema.Columns[i].Name)
		}
	}
	return nil
}

func keyPlace(s *materializer.Schema, column int) (int, bool) {
	for place, i := range s.Key {
		if i == column {
			return place, true
		}
	}
	return 0, false
}
