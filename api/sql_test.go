package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/problem"
)

func TestSQLReply(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{})
	s.write(itemsPath, `[{"id":9223372036854775807,"name":"a","price":"0.0001"},{"id":-9223372036854775808,"name":"b"}]`)
	a := s.try(`SELECT id, name, price FROM app.items ORDER BY id`)
	var reply wire.SQLReply
	a.decode(t, &reply)
	r := reply.Results[0]
	if len(reply.Results) != 1 || r.RowCount != 2 || r.Position == "" || len(r.Columns) != 3 {
		t.Fatalf("%s", a.body)
	}
	if r.Columns[0] != (wire.Column{Name: "id", Type: "BIGINT"}) || r.Columns[2].Type != "DECIMAL(20,4)" {
		t.Errorf("columns %+v", r.Columns)
	}
	if got := first(reply); got != "-9223372036854775808|\"b\"|null\n9223372036854775807|\"a\"|\"0.0001\"" {
		t.Errorf("rows %s", got)
	}
	if a.header.Get("Content-Type") != "application/json" || a.header.Get("Content-Length") != strconv.Itoa(len(a.body)) {
		t.Errorf("header %v", a.header)
	}
}

func TestSQLParams(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{})
	s.sql(`INSERT INTO app.items (id, name, price, doc) VALUES ($1, $2, $3, $4)`,
		json.Number("9007199254740993"), "it's", json.Number("12345678901.2345"), map[string]any{"k": 1})
	if got := first(s.sql(`SELECT id, name, price, doc FROM app.items WHERE id = $1`, json.Number("9007199254740993"))); got != `9007199254740993|"it's"|"12345678901.2345"|{"k":1}` {
		t.Errorf("rows %s", got)
	}
	if got := first(s.sql(`SELECT count(*) FROM app.items WHERE price > $1 AND name = $2`, json.Number("1.5"), "it's")); got != "1" {
		t.Errorf("rows %s", got)
	}
	s.checkError(s.try(`SELECT $1`, []any{1, "a"}), "mixed list", problem.TypeMismatch)
}

func TestSQLErrors(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{})
	s.sql(`INSERT INTO app.items (id, name) VALUES (1, 'a')`)
	for sql, code := range map[string]problem.Code{
		`SELEC 1`:                                            problem.SyntaxError,
		`SELECT * FROM app.itms`:                             problem.UnknownTable,
		`SELECT * FROM ap.items`:                             problem.UnknownNamespace,
		`SELECT nme FROM app.items`:                          problem.UnknownColumn,
		`SELECT nosuch(name) FROM app.items`:                 problem.UnknownFunction,
		`INSERT INTO app.items (id, name) VALUES (1, 'b')`:   problem.DuplicateKey,
		`INSERT INTO app.items (id, name) VALUES (2, NULL)`:  problem.NotNull,
		`INSERT INTO app.items (id, name) VALUES ('x', 'b')`: problem.InvalidValue,
		`CREATE TABLE app.items (id BIGINT PRIMARY KEY)`:     problem.DuplicateTable,
		`CREATE SCHEMA app`:                                  problem.DuplicateNamespace,
		`CREATE TABLE app.x (id NOSUCHTYPE PRIMARY KEY)`:     problem.Unsupported,
	} {
		var reply wire.ErrorReply
		a := s.try(sql)
		if err := json.Unmarshal(a.body, &reply); err != nil || reply.Error.Code != string(code) || a.status != classOf(code).status {
			t.Errorf("%s: status %d, %s, want %s", sql, a.status, a.body, code)
		}
	}
	e := s.checkError(s.try("SELECT id,\n  FROM app.items WHERE"), "syntax", problem.SyntaxError)
	if e.Position == 0 {
		t.Errorf("no position: %+v", e)
	}
	if e := s.checkError(s.try(`SELECT id FROM app.itmes`), "table", problem.UnknownTable); !strings.Contains(e.Hint, "items") {
		t.Errorf("no suggestion: %+v", e)
	}
}

func TestSQLRequestsAreChecked(t *testing.T) {
	t.Parallel()
	s := newStack(t, Limits{Body: 1000})
	for body, code := range map[string]problem.Code{
		``:                                   problem.BadJSON,
		`{`:                                  problem.BadJSON,
		`nonsense`:                           problem.BadJSON,
		`[]`:                                 problem.BadJSON,
		`{"sql":7}`:                          problem.BadJSON,
		`{"sql":"SELECT 1"} x`:               problem.BadJSON,
		`{}`:                                 problem.BadRequest,
		`{"sql":" "}`:                        problem.BadRequest,
		`{"query":"SELECT 1"}`:               problem.BadRequest,
		`{"sql":"SELECT 1","at_least":"x"}`:  problem.PositionInvalid,
		`{"sql":"SELECT 1","params":[nope]}`: problem.BadJSON,
		`{"sql":"SELECT '` + strings.Repeat("x", 2000) + `'"}`: problem.BodyTooLarge,
	} {
		s.checkError(s.do(http.MethodPost, "/v1/sql", strings.NewReader(body)), body, code)
	}
	// Without a length the limit is found on the way.
	body := io.MultiReader(strings.NewReader(`{"sql":"SELECT '` + strings.Repeat("x", 2000) + `'"}`))
	s.checkError(s.do(http.MethodPost, "/v1/sql", body), "chunked", problem.BodyTooLarge)
	s.checkError(s.do(http.MethodPost, "/v1/sql", strings.NewReader(`{"sql":"SELECT 1"}`), "Accept", "application/pdf"), "pdf", problem.Unsupported)
}

func TestBatchThatFailsShowsWhatWasDone(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{})
	a := s.try(`INSERT INTO app.items (id, name) VALUES (1, 'a'); SELECT name FROM app.items; INSERT INTO app.items (id, name) VALUES (1, 'b'); SELECT 1`)
	var reply wire.SQLReply
	a.decode(t, &reply)
	if a.status != http.StatusConflict || len(reply.Results) != 2 || reply.Error == nil || reply.Error.Statement != 3 {
		t.Errorf("status %d, %s", a.status, a.body)
	}
	if reply.Results[0].Position == "" || string(reply.Results[1].Rows[0][0]) != `"a"` {
		t.Errorf("%s", a.body)
	}
}

func TestLargeResultsAreStreamed(t *testing.T) {
	t.Parallel()
	s := newStack(t, Limits{})
	const rows = 50_000
	sql := `SELECT i, 'text of row ' || i AS t FROM range(` + strconv.Itoa(rows) + `) AS r(i)`
	reply := s.sql(sql)
	if n := len(reply.Results[0].Rows); n != rows || reply.Results[0].RowCount != rows {
		t.Errorf("%d rows", n)
	}
	request, err := json.Marshal(wire.SQLRequest{SQL: sql})
	must(t, err)
	nd := s.do(http.MethodPost, "/v1/sql", bytes.NewReader(request), "Accept", "application/x-ndjson")
	if n := bytes.Count(nd.body, []byte("\n")); n != rows || !bytes.HasPrefix(nd.body, []byte(`{"i":0,"t":"text of row 0"}`+"\n")) {
		t.Errorf("NDJSON: %d lines, %.100s", n, nd.body)
	}
	csv := s.do(http.MethodPost, "/v1/sql", bytes.NewReader(request), "Accept", "text/csv")
	if n := bytes.Count(csv.body, []byte("\r\n")); n != rows+1 || !bytes.HasPrefix(csv.body, []byte("i,t\r\n0,text of row 0\r\n")) {
		t.Errorf("CSV: %d lines, %.100s", n, csv.body)
	}
}

// A query that fails after its first bytes were sent must not pass for a whole result in any format.
func TestErrorsInTheMiddleOfAResult(t *testing.T) {
	t.Parallel()
	s := newStack(t, Limits{})
	sql := `SELECT CASE WHEN i = 200000 THEN CAST('x' || i AS BIGINT) ELSE i END AS v FROM range(300000) AS r(i)`
	a := s.try(sql)
	var reply wire.SQLReply
	a.decode(t, &reply)
	if reply.Error == nil || len(reply.Results) == 1 && !reply.Results[0].Incomplete {
		t.Errorf("status %d, error %+v", a.status, reply.Error)
	}
	request, err := json.Marshal(wire.SQLRequest{SQL: sql})
	must(t, err)
	nd := s.do(http.MethodPost, "/v1/sql", bytes.NewReader(request), "Accept", "application/x-ndjson")
	lines := bytes.Split(bytes.TrimSpace(nd.body), []byte("\n"))
	if !bytes.HasPrefix(lines[len(lines)-1], []byte(`{"error":{"code":"`)) {
		t.Errorf("NDJSON ends with %.200s", lines[len(lines)-1])
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/v1/sql", bytes.NewReader(request))
	must(t, err)
	r.Header.Set("Accept", "text/csv")
	csv, err := http.DefaultClient.Do(r)
	must(t, err)
	defer csv.Body.Close()
	if _, err := io.Copy(io.Discard, csv.Body); err == nil && csv.StatusCode == http.StatusOK {
		t.Error("the CSV result ended as if it were whole")
	}
}

func TestCSVQuoting(t *testing.T) {
	t.Parallel()
	s := newStack(t, Limits{})
	request := `{"sql":"SELECT 'a,b' AS \"x\"\"y\", '' AS e, NULL AS n, 'l1\nl2' AS l, 1.50 AS d, TRUE AS b, DATE '2026-01-02' AS day"}`
	a := s.do(http.MethodPost, "/v1/sql", strings.NewReader(request), "Accept", "text/csv")
	want := "\"x\"\"y\",e,n,l,d,b,day\r\n\"a,b\",\"\",,\"l1\nl2\",1.50,true,2026-01-02\r\n"
	if string(a.body) != want || a.header.Get("Kalam-Position") == "" {
		t.Errorf("%q, %v", a.body, a.header)
	}
	two := s.do(http.MethodPost, "/v1/sql", strings.NewReader(`{"sql":"SELECT 1; SELECT 2"}`), "Accept", "text/csv")
	s.checkError(two, "two results", problem.BadRequest)
}

func TestAtLeastIsHonoured(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{})
	for i := range 50 {
		w := s.write(itemsPath, `{"id":`+strconv.Itoa(i)+`,"name":"x"}`)
		body, err := json.Marshal(wire.SQLRequest{SQL: `SELECT count(*) FROM app.items`, AtLeast: w.Position})
		must(t, err)
		var reply wire.SQLReply
		s.do(http.MethodPost, "/v1/sql", bytes.NewReader(body)).decode(t, &reply)
		if got := first(reply); got != strconv.Itoa(i+1) {
			t.Fatalf("after write %d: %s rows", i, got)
		}
		if a := s.do(http.MethodGet, itemsPath+"/"+strconv.Itoa(i)+"?at_least="+url.QueryEscape(w.Position), nil); a.status != http.StatusOK {
			t.Fatalf("status %d, %s", a.status, a.body)
		}
	}
}

func TestPositionsBeyondTheLogAreRefused(t *testing.T) {
	t.Parallel()
	s := newItems(t, Limits{})
	s.write(itemsPath, `{"id":1,"name":"x"}`)
	s.checkError(s.do(http.MethodGet, itemsPath+"/1?at_least=1:999999999", nil), "row", problem.PositionInvalid)
	s.checkError(s.do(http.MethodGet, itemsPath+"/1?at_least=77:1", nil), "group", problem.PositionInvalid)
}
