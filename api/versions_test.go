package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/problem"
)

// conflict expects the error of a reply to tell which row a write met, and its version; "" if it does not exist.
func (s *stack) conflict(e *wire.Error, key string, row int64, version string) {
	s.t.Helper()
	have := "none"
	if c := e.Conflict; c != nil {
		current := ""
		if c.CurrentVersion != nil {
			current = strconv.FormatInt(*c.CurrentVersion, 10)
		}
		have = fmt.Sprintf("%s, row %d, version %s", c.Key, c.Row, current)
	}
	if want := fmt.Sprintf("%s, row %d, version %s", key, row, version); have != want {
		s.t.Errorf("conflict %s, want %s", have, want)
	}
}

func (s *stack) etag(path string) string {
	s.t.Helper()
	return strings.Trim(s.do(http.MethodGet, path, nil).header.Get("ETag"), `"`)
}

func TestConflictsNameKeyAndVersion(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{})
	s.write(itemsPath, `[{"id":9007199254740993,"name":"a"},{"id":2,"name":"b"}]`)
	one, two := itemsPath+"/9007199254740993", itemsPath+"/2"
	patch, upsert := itemsPath+"?mode=patch", itemsPath+"?mode=upsert"

	e := s.refused(problem.VersionConflict, patch, `{"id":9007199254740993,"n":1}`, "If-Match", "77").Error
	s.conflict(e, `{"id":9007199254740993}`, 1, s.etag(one))
	e = s.refused(problem.VersionConflict, upsert, `{"id":3,"name":"c"}`, "If-Match", "0").Error
	s.conflict(e, `{"id":3}`, 1, "")
	e = s.refused(problem.VersionConflict, upsert, `{"id":2,"name":"c"}`, "If-None-Match", "*").Error
	s.conflict(e, `{"id":2}`, 1, s.etag(two))
	// Without a precondition the code tells what is the matter, and the row is named all the same.
	e = s.refused(problem.DuplicateKey, itemsPath, `[{"id":8,"name":"x"},{"id":2,"name":"x"}]`).Error
	s.conflict(e, `{"id":2}`, 2, s.etag(two))
	e = s.refused(problem.KeyNotFound, patch, `[{"id":2,"n":1},{"id":8,"n":2}]`).Error
	s.conflict(e, `{"id":8}`, 2, "")

	a := s.try(`UPDATE app.items SET n = 1 WHERE id = 2 AND _offset = 77`)
	var reply wire.SQLReply
	a.decode(t, &reply)
	if a.status != http.StatusPreconditionFailed || reply.Error.Code != string(problem.VersionConflict) {
		t.Errorf("status %d, %s", a.status, a.body)
	}
	s.conflict(reply.Error, `{"id":2}`, 0, s.etag(two))
}

func TestVersionOfEachRow(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{})
	s.write(itemsPath, `[{"id":1,"name":"a"},{"id":2,"name":"b"}]`)
	one, two := s.etag(itemsPath+"/1"), s.etag(itemsPath+"/2")
	upsert := itemsPath + "?mode=upsert"

	body := func(first, second string) string {
		return `[{"id":1,"name":"A","_version":` + first + `},{"_version":` + second + `,"id":2,"name":"B"},{"id":3,"name":"C","_version":null}]`
	}
	e := s.refused(problem.VersionConflict, upsert, body(one, "99")).Error
	s.conflict(e, `{"id":2}`, 2, two)
	if got := first(s.sql(`SELECT id, name FROM app.items ORDER BY id`)); got != "1|\"a\"\n2|\"b\"" {
		t.Errorf("a refused body was applied in part: %s", got)
	}
	s.write(upsert, body(one, `"`+two+`"`))
	e = s.refused(problem.VersionConflict, upsert, `[{"id":9,"name":"x"},{"id":3,"name":"C","_version":null}]`).Error
	s.conflict(e, `{"id":3}`, 2, s.etag(itemsPath+"/3"))
	e = s.refused(problem.VersionConflict, upsert, `[{"id":4,"name":"x","_version":"*"},{"id":3,"name":"C"}]`).Error
	s.conflict(e, `{"id":4}`, 1, "")
	s.write(itemsPath+"?mode=patch", `[{"id":1,"n":7,"_version":`+s.etag(itemsPath+"/1")+`},{"id":2,"n":7}]`)
	s.write(itemsPath+"?mode=delete", `[{"id":1,"_version":`+s.etag(itemsPath+"/1")+`},{"id":3,"_version":"*"}]`)
	if got := first(s.sql(`SELECT id, name, n FROM app.items ORDER BY id`)); got != `2|"B"|7` {
		t.Errorf("stored: %s", got)
	}

	for _, c := range []struct{ mode, row string }{
		{"insert", `{"id":5,"name":"x","_version":1}`},
		{"delete", `{"id":5,"_version":null}`},
		{"patch", `{"id":5,"_version":null}`},
	} {
		s.refused(problem.BadRequest, itemsPath+"?mode="+c.mode, c.row)
	}
	s.refused(problem.InvalidValue, upsert, `{"id":5,"name":"x","_version":-1}`)
	s.refused(problem.InvalidValue, upsert, `{"id":5,"name":"x","_version":"new"}`)
	s.refused(problem.DuplicateColumn, upsert, `{"id":5,"name":"x","_version":1,"_version":1}`)
	s.refused(problem.BadRequest, upsert, `{"id":5,"name":"x","_version":1}`, "If-Match", "1")
}

// TestWriteAnswersWithVersion: a client goes on from its own write without reading it back.
func TestWriteAnswersWithVersion(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{})
	a := s.do(http.MethodPost, itemsPath, strings.NewReader(`{"id":1,"name":"a"}`))
	for range 3 {
		etag := a.header.Get("ETag")
		if etag != `"`+s.etag(itemsPath+"/1")+`"` {
			t.Fatalf("ETag %s", etag)
		}
		if a = s.do(http.MethodPost, itemsPath+"?mode=patch", strings.NewReader(`{"id":1,"n":1}`), "If-Match", etag); a.status != http.StatusOK {
			t.Fatalf("status %d, %s", a.status, a.body)
		}
	}
	a = s.do(http.MethodPost, itemsPath+"?mode=upsert", strings.NewReader(`[{"id":1,"name":"a"},{"id":2,"name":"a"}]`))
	if a.header.Get("ETag") != "" {
		t.Error("two rows have one ETag")
	}
}

// TestCompareAndSetLosesNothing: clients that add one to a few rows by reading and writing with If-Match or _offset, and try
// again after a conflict, end with the exact sum.
func TestCompareAndSetLosesNothing(t *testing.T) {
	t.Parallel()
	s := newStack(t, Limits{})
	s.sql(`CREATE SCHEMA app; CREATE TABLE app.counters (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)`)
	const clients, increments, keys = 8, 40, 3
	path := "/v1/tables/app/counters/rows"
	for k := range keys {
		s.write(path, fmt.Sprintf(`{"id":%d,"n":0}`, k))
	}
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			for i := range increments {
				for !s.increment(path, (client+i)%keys, client%2 == 0) {
				}
			}
		})
	}
	wg.Wait()
	if got, want := first(s.sql(`SELECT sum(n)::BIGINT FROM app.counters`)), strconv.Itoa(clients*increments); got != want {
		t.Errorf("the counters add up to %s, want %s", got, want)
	}
}

// increment reports false if another client came first.
func (s *stack) increment(path string, id int, bySQL bool) bool {
	var row struct {
		Row     struct{ N int64 }
		Version int64
	}
	a := s.do(http.MethodGet, path+"/"+strconv.Itoa(id), nil)
	if err := json.Unmarshal(a.body, &row); err != nil {
		s.t.Errorf("%s: %v", a.body, err)
		return true
	}
	if bySQL {
		a = s.try(`UPDATE app.counters SET n = $1 WHERE id = $2 AND _offset = $3`, row.Row.N+1, id, row.Version)
	} else {
		body := fmt.Sprintf(`{"id":%d,"n":%d}`, id, row.Row.N+1)
		a = s.do(http.MethodPost, path+"?mode=patch", strings.NewReader(body), "If-Match", strconv.FormatInt(row.Version, 10))
	}
	if a.status != http.StatusOK && a.status != http.StatusPreconditionFailed {
		s.t.Errorf("status %d, %s", a.status, a.body)
	}
	return a.status != http.StatusPreconditionFailed
}

func TestAtomicBodies(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{})
	rows := func(from, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `{"id":%d,"name":"x"}`, from+i)
		}
		return b.String()
	}
	if r := s.write(itemsPath, rows(0, 1000)); r.Batches != 1 {
		t.Errorf("1000 rows took %d batches", r.Batches)
	}
	if r := s.write(itemsPath, rows(10_000, 2500)); r.Batches != 3 || r.RowCount != 2500 {
		t.Errorf("2500 rows took %d batches", r.Batches)
	}
	if r := s.write(itemsPath+"?atomic=true", rows(20_000, 2500)); r.Batches != 1 || r.RowCount != 2500 {
		t.Errorf("2500 rows at once took %d batches", r.Batches)
	}
	// The last of 2500 rows exists: nothing is kept.
	r := s.refused(problem.DuplicateKey, itemsPath+"?atomic=true", rows(30_000, 2499)+`{"id":1,"name":"x"}`)
	s.conflict(r.Error, `{"id":1}`, 2500, s.etag(itemsPath+"/1"))
	if r.RowCount != 0 || *r.Error.RowsKept != 0 {
		t.Errorf("kept %d rows, %d", r.RowCount, *r.Error.RowsKept)
	}
	r = s.refused(problem.NotAtomic, itemsPath+"?atomic=true", rows(1_000_000, atomicRows+1))
	if r.RowCount != 0 || !strings.Contains(r.Error.Hint, "atomic") {
		t.Errorf("%+v", r)
	}
	large := strings.Repeat(`{"id":%,"name":"`+strings.Repeat("x", 1<<20)+`"}`, 16)
	for i := range 16 {
		large = strings.Replace(large, "%", strconv.Itoa(500+i), 1)
	}
	s.refused(problem.NotAtomic, itemsPath+"?atomic=true&mode=upsert", large)
	s.refused(problem.BadRequest, itemsPath+"?atomic=perhaps", `{"id":5,"name":"x"}`)
	if got := first(s.sql(`SELECT count(*) FROM app.items`)); got != "6000" {
		t.Errorf("%s rows are stored", got)
	}
}

// TestAtomicStatements: a statement of many rows is all or nothing, or refused, or takes steps because the request says so.
func TestAtomicStatements(t *testing.T) {
	t.Parallel()
	s := newStack(t, Limits{})
	s.sql(`CREATE SCHEMA app; CREATE TABLE app.t (id BIGINT PRIMARY KEY, n BIGINT NOT NULL, pad TEXT)`)
	s.sql(`INSERT INTO app.t SELECT i, 1, 'x' FROM range(0, 60000) r(i)`)
	s.sql(`INSERT INTO app.t SELECT i, 1, 'x' FROM range(60000, 120000) r(i)`)
	code := func(a answer) string {
		var reply wire.SQLReply
		a.decode(t, &reply)
		if reply.Error == nil {
			return ""
		}
		return reply.Error.Code
	}
	if r := s.sql(`UPDATE app.t SET n = 2 WHERE id < 5000`); r.Results[0].RowCount != 5000 || r.Results[0].Batches != 0 {
		t.Errorf("%d rows in %d batches", r.Results[0].RowCount, r.Results[0].Batches)
	}
	// One row in 5000 divides by zero at apply: nothing is changed.
	s.sql(`UPDATE app.t SET n = 0 WHERE id = 4321`)
	if a := s.try(`UPDATE app.t SET n = 10 % n WHERE id < 5000`); a.status == http.StatusOK {
		t.Errorf("division by zero: %s", a.body)
	}
	if got := first(s.sql(`SELECT count(*) FROM app.t WHERE n = 2`)); got != "4999" {
		t.Errorf("a refused statement was applied in part: %s rows are left", got)
	}
	for _, statement := range []string{`UPDATE app.t SET n = 3`, `DELETE FROM app.t`, `INSERT INTO app.t SELECT i, 1, 'x' FROM range(200000, 320000) r(i)`} {
		if got := code(s.try(statement)); got != string(problem.NotAtomic) {
			t.Errorf("%s: %s", statement, got)
		}
	}
	if got := first(s.sql(`SELECT count(*), sum(n)::BIGINT FROM app.t`)); got != "120000|124998" {
		t.Errorf("refused statements were applied in part: %s", got)
	}
	steps := s.do(http.MethodPost, "/v1/sql", strings.NewReader(`{"sql":"UPDATE app.t SET n = 3","atomic":false}`))
	var reply wire.SQLReply
	steps.decode(t, &reply)
	if len(reply.Results) != 1 || reply.Results[0].RowCount != 120_000 || reply.Results[0].Batches != 120 {
		t.Errorf("in steps: status %d, %.300s", steps.status, steps.body)
	}
	// A row that fails midway leaves the steps before it, and the reply says so.
	s.sql(`UPDATE app.t SET n = 0 WHERE id = 119999`)
	steps = s.do(http.MethodPost, "/v1/sql", strings.NewReader(`{"sql":"UPDATE app.t SET n = 10 % n","atomic":false}`))
	var failed wire.ErrorReply
	steps.decode(t, &failed)
	kept := first(s.sql(`SELECT count(*) FROM app.t WHERE n = 1`))
	if failed.Error.RowsKept == nil || strconv.FormatInt(*failed.Error.RowsKept, 10) != kept || kept == "0" {
		t.Errorf("kept %s rows, reply %s", kept, steps.body)
	}
	pad := strings.Repeat("x", 1<<20)
	values := strings.TrimSuffix(strings.Repeat(fmt.Sprintf("(%d, 1, '%s'),", 1_000_000, pad), 17), ",")
	for i := range 17 {
		values = strings.Replace(values, "(1000000,", fmt.Sprintf("(%d,", 2_000_000+i), 1)
	}
	if got := code(s.try(`INSERT INTO app.t VALUES ` + values)); got != string(problem.NotAtomic) {
		t.Errorf("17 MiB of VALUES: %s", got)
	}
}
