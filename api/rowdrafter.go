package api

import (
	"net/http"
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

// precondition is what If-Match and If-None-Match ask of the one row of a body.
type precondition struct {
	version int64 // of the row, or materializer.AnyVersion
	exists  bool  // If-Match: *
	absent  bool  // If-None-Match: *
}

func (p precondition) given() bool { return p.version >= 0 || p.exists || p.absent }

func parsePrecondition(h http.Header, mode rowMode) (precondition, error) {
	p := precondition{version: materializer.AnyVersion}
	match, noneMatch := strings.TrimSpace(h.Get("If-Match")), strings.TrimSpace(h.Get("If-None-Match"))
	switch {
	case match != "" && noneMatch != "":
		return p, problem.New(problem.BadRequest, "If-Match and If-None-Match exclude each other")
	case noneMatch == "*":
		p.absent = true
	case noneMatch != "":
		return p, problem.New(problem.BadRequest, "If-None-Match of a write is *").WithHint("it says that the key must not exist")
	case match == "*":
		p.exists = true
	case match != "":
		v, err := strconv.ParseInt(strings.Trim(match, `"`), 10, 64)
		if err != nil || v < 0 {
			return p, problem.New(problem.BadRequest, "If-Match is a row's version or *").
				WithHint("the ETag of a point read is the version that If-Match expects")
		}
		p.version = v
	}
	if (p.version >= 0 || p.exists) && mode == modeInsert {
		return p, problem.New(problem.BadRequest, "If-Match asks for a row that exists, mode insert for one that does not").
			WithHint("use mode=upsert or mode=patch")
	}
	if p.absent && (mode == modePatch || mode == modeDelete) {
		return p, problem.New(problem.BadRequest, "If-None-Match: * asks for a row that does not exist, mode %s for one that does", mode)
	}
	return p, nil
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

// conditional reports whether the request has a precondition, which is about a single row.
func (d *rowDrafter) conditional() bool { return d.cond.given() }

// request names what the rows are for, as a part of what an idempotency key stands for.
func (d *rowDrafter) request() string {
	return strings.Join([]string{
		strconv.FormatUint(uint64(d.table.ID), 10), string(d.mode), strconv.FormatInt(d.cond.version, 10),
		strconv.FormatBool(d.cond.exists), strconv.FormatBool(d.cond.absent),
	}, "/")
}

// draft makes the mutation of one JSON row.
func (d *rowDrafter) draft(raw []byte) (materializer.Mutation, error) {
	if err := d.decoder.decode(raw); err != nil {
		return materializer.Mutation{}, err
	}
	m, err := d.mutation()
	if m.Version = d.cond.version; err != nil {
		return materializer.Mutation{}, err
	}
	return m, nil
}

func (d *rowDrafter) mutation() (materializer.Mutation, error) {
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
		return d.put(values, set)
	}
}

func (d *rowDrafter) put(values []expr.Value, set []bool) (materializer.Mutation, error) {
	op := materializer.Upsert
	if d.mode == modeInsert || d.cond.absent {
		op = materializer.Insert
	}
	m, row, err := d.drafter.Put(op, values, set)
	if err == nil && d.cond.exists {
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

// translate names a broken precondition as such: without one a missing key is another error.
func (d *rowDrafter) translate(err error) error {
	p := problem.As(err)
	if p == nil || !d.cond.given() || (p.Code != problem.KeyNotFound && p.Code != problem.DuplicateKey) {
		return err
	}
	q := *p
	q.Code, q.Hint = problem.VersionConflict, ""
	return &q
}
