package api

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"kalamlog.dev/kalam/internal/problem"
)

// scanAll returns the rows of body as read from r, and how it ended.
func scanAll(r io.Reader, maxRow int, sequence bool) ([]string, error) {
	s := newRowScanner(r, make([]byte, 0, 16), maxRow, sequence)
	var rows []string
	for {
		row, err := s.next()
		if err != nil {
			return rows, err
		}
		rows = append(rows, string(row))
	}
}

func TestRowScannerFindsRows(t *testing.T) {
	t.Parallel()
	long := `{"s":"` + strings.Repeat("x", 500) + `"}`
	for body, want := range map[string][]string{
		``:                                 nil,
		" \n\t ":                           nil,
		`[]`:                               nil,
		" [ ] \n":                          nil,
		`{}`:                               {`{}`},
		`[{"a":1}]`:                        {`{"a":1}`},
		"[ {\"a\":1} ,\n {\"a\":2} ] ":     {`{"a":1}`, `{"a":2}`},
		"{\"a\":1}\n{\"a\":2}\n":           {`{"a":1}`, `{"a":2}`},
		`{"a":1}{"a":2}`:                   {`{"a":1}`, `{"a":2}`},
		"{\n \"a\": {\"b\": [1, {}]}\n}":   {"{\n \"a\": {\"b\": [1, {}]}\n}"},
		`{"a":"}\"{\\"}`:                   {`{"a":"}\"{\\"}`},
		"\xEF\xBB\xBF[{\"a\":1}]":          {`{"a":1}`},
		long + "\r\n" + long:               {long, long},
		"{\"a\":\"[\"}\n\n\n{\"b\":\"]\"}": {`{"a":"["}`, `{"b":"]"}`},
	} {
		for name, r := range map[string]io.Reader{
			"whole": strings.NewReader(body), "bytes": iotest.OneByteReader(strings.NewReader(body)),
			"halves": iotest.HalfReader(strings.NewReader(body)), "eof with data": iotest.DataErrReader(strings.NewReader(body)),
		} {
			rows, err := scanAll(r, 1<<10, false)
			if !errors.Is(err, io.EOF) || fmt.Sprint(rows) != fmt.Sprint(want) {
				t.Errorf("%s, %q: %q, %v", name, body, rows, err)
			}
		}
	}
}

func TestRowScannerSaysWhereABodyBreaks(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]struct {
		rows    int
		message string
		hint    string
	}{
		`7`:                                {0, `row 1: a row is a JSON object, this begins with '7'`, "byte 1 of"},
		`[1]`:                              {0, `row 1: a row is a JSON object, this begins with '1'`, "byte 2 of"},
		`[{"a":1}`:                         {1, `the body ends within the array`, "byte 9 of"},
		`[{"a":1},`:                        {1, `the body ends within the array`, "byte 10 of"},
		`[`:                                {0, `the body ends within the array`, "byte 2 of"},
		`[{"a":1} {"a":2}]`:                {1, `'{' after row 1, where a comma or ] is due`, "byte 10 of"},
		`[{"a":1},]`:                       {1, `row 2: a row is a JSON object, this begins with ']'`, "byte 10 of"},
		`[{"a":1}]x`:                       {1, `'x' after the end of the array`, "byte 10 of"},
		`[[{"a":1}]]`:                      {0, `row 1: a row is a JSON object, this begins with '['`, "byte 2 of"},
		"{\"a\":1}\n{\"a\":":               {1, `row 2: `, "of the body"},
		"{\"a\":1}\n{\"a\":2]\n":           {1, `row 2: ']' where '}' is due`, "byte 15 of"},
		"{\"a\":1}\n{\"a\":\"x\n":          {1, `row 2: a string is not closed before its line ends`, "byte 16 of"},
		"{\"a\": 1\n{\"a\":2}\n":           {0, `row 1: a comma or } is due after the value of "a"`, "byte 9 of"},
		`{"a":1},{"a":2}`:                  {1, `row 2: a row is a JSON object, this begins with ','`, "byte 8 of"},
		`{"a":` + strings.Repeat("[", 600): {0, `arrays and objects nest deeper than 512`, "of the body"},
		`{"s":"` + strings.Repeat("x", 2000) + `"}`: {0, `row 1: it is larger than 1024 bytes`, "limits.row"},
	} {
		rows, err := scanAll(iotest.HalfReader(strings.NewReader(body)), 1<<10, false)
		p := problem.As(err)
		if p == nil || len(rows) != want.rows || !strings.Contains(p.Message, want.message) || !strings.Contains(p.Hint, want.hint) {
			t.Errorf("%.40q: %d rows, %v (%+v)", body, len(rows), err, p)
		}
	}
}

func TestNDJSONIsNoArray(t *testing.T) {
	t.Parallel()
	if _, err := scanAll(strings.NewReader(`[{"a":1}]`), 1<<10, true); !problem.Is(err, problem.BadJSON) {
		t.Error(err)
	}
}

func TestRowScannerPassesOnReadErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("gone")
	rows, err := scanAll(io.MultiReader(strings.NewReader("{\"a\":1}\n{\"a\""), iotest.ErrReader(broken)), 1<<10, false)
	if len(rows) != 1 || !errors.Is(err, broken) {
		t.Errorf("%q, %v", rows, err)
	}
	if _, err := scanAll(iotest.ErrReader(nil), 1<<10, false); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that never gives anything: %v", err)
	}
}

// endless gives the same row for ever.
type endless struct {
	row  string
	at   int
	read int64
}

func (e *endless) Read(b []byte) (int, error) {
	n := copy(b, e.row[e.at:])
	e.at = (e.at + n) % len(e.row)
	e.read += int64(n)
	return n, nil
}

func TestRowScannerMemoryDoesNotGrow(t *testing.T) {
	t.Parallel()
	s := newRowScanner(&endless{row: `{"id": 12345, "name": "some text of a row"}` + "\n"}, make([]byte, 0, 1000), 1<<20, false)
	for range 100_000 {
		if _, err := s.next(); err != nil {
			t.Fatal(err)
		}
	}
	if cap(s.buf) != 1000 {
		t.Errorf("the buffer grew to %d bytes", cap(s.buf))
	}
}
