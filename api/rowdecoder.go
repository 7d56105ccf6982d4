package api

import (
	"bytes"
	"encoding/json"
	"strconv"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/internal/suggest"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// rowDecoder turns the JSON objects of one request into values of a table's columns, without maps and boxed values:
// bulk loads spend most of their time here. It is used by one goroutine.
type rowDecoder struct {
	table   *materializer.Table
	columns []materializer.Column
	places  map[string]int // by the names that the caller may give
	guess   []int          // the columns of the last row's members, in their order: the next row's are mostly the same
	values  []expr.Value   // of the last row
	set     []bool
	version []byte // the text of the last row's _version, nil if it has none
}

// newRowDecoder decodes rows of t's newest schema. Hidden columns may be given only if hidden is set.
func newRowDecoder(t *materializer.Table, hidden bool) *rowDecoder {
	columns := t.Schema().Columns
	d := &rowDecoder{
		table: t, columns: columns, places: make(map[string]int, len(columns)),
		values: make([]expr.Value, len(columns)), set: make([]bool, len(columns)),
	}
	for i, c := range columns {
		if hidden || !c.Hidden {
			d.places[c.Name] = i
		}
	}
	return d
}

// decode reads one object into values and set, which stay as they are until the next call. A member that no column
// is named after, or that comes twice, is an error: silently dropping what a user sent is no option.
func (d *rowDecoder) decode(raw []byte) error {
	clear(d.values)
	clear(d.set)
	d.version = nil
	member := 0
	_, err := d.members(raw, func(name, value []byte) error {
		if string(name) == versionMember {
			return d.expect(value)
		}
		place, err := d.place(member, name)
		if err != nil {
			return err
		}
		member++
		v, ok := smallInteger(value, d.columns[place].Type.Kind)
		if !ok {
			if v, err = expr.FromJSON(value, d.columns[place].Type); err != nil {
				return inColumn(d.columns[place].Name, err)
			}
		}
		d.values[place], d.set[place] = v, true
		return nil
	})
	return err
}

// expect notes the row's precondition.
func (d *rowDecoder) expect(value []byte) error {
	if d.version != nil {
		return problem.New(problem.DuplicateColumn, "%s is given twice", versionMember)
	}
	d.version = value
	return nil
}

// smallInteger reads the most frequent numbers: up to 9 digits for an integer column that holds any such.
func smallInteger(raw []byte, k expr.Kind) (expr.Value, bool) {
	if (k != expr.BigInt && k != expr.Integer) || len(raw) > 9 || raw[0] == '0' && len(raw) > 1 {
		return expr.Value{}, false
	}
	var n int64
	for _, c := range raw {
		if c < '0' || c > '9' {
			return expr.Value{}, false
		}
		n = n*10 + int64(c-'0')
	}
	return expr.IntOf(k, n), true
}

// place finds the column that the member-th name of the row means.
func (d *rowDecoder) place(member int, name []byte) (int, error) {
	if member < len(d.guess) {
		if i := d.guess[member]; string(name) == d.columns[i].Name {
			return i, d.once(i)
		}
	}
	i, ok := d.places[string(name)]
	if !ok {
		return 0, d.unknown(string(name))
	}
	d.guess = append(d.guess[:min(member, len(d.guess))], i)
	return i, d.once(i)
}

func (d *rowDecoder) once(place int) error {
	if d.set[place] {
		return problem.New(problem.DuplicateColumn, "column %q is given twice", d.columns[place].Name)
	}
	return nil
}

func (d *rowDecoder) unknown(name string) error {
	names := make([]string, 0, len(d.columns))
	for _, c := range d.columns {
		if _, ok := d.places[c.Name]; ok {
			names = append(names, c.Name)
		}
	}
	if len(name) > 100 {
		name = name[:100]
	}
	p := problem.New(problem.UnknownColumn, "%s has no column %q", d.table.QualifiedName(), name)
	if near := suggest.Closest(name, names); near != "" {
		return p.WithHint("did you mean %q?", near)
	}
	return p.WithHint("DESCRIBE %s lists its columns", d.table.QualifiedName())
}

// members walks over the object that raw is and gives each member's name and the text of its value. It returns the
// place where an error is; values are delimited, not checked, which expr.FromJSON does. With a nil f it looks for errors
// alone.
func (d *rowDecoder) members(raw []byte, f func(name, value []byte) error) (int, error) {
	at := skipSpace(raw, 1)
	if at < len(raw) && raw[at] == '}' {
		return at, endOf(raw, at+1)
	}
	for {
		nameEnd, err := stringEnd(raw, at)
		if err != nil {
			return nameEnd, err
		}
		name := raw[at:nameEnd]
		at = skipSpace(raw, nameEnd)
		if at >= len(raw) || raw[at] != ':' {
			return at, problem.New(problem.BadJSON, "a colon is due after %s", shortened(name))
		}
		start := skipSpace(raw, at+1)
		if at, err = valueEnd(raw, start); err != nil {
			return at, err
		}
		if f != nil {
			if err := callMember(f, name, raw[start:at]); err != nil {
				return start, err
			}
		}
		at = skipSpace(raw, at)
		switch {
		case at < len(raw) && raw[at] == ',':
			at = skipSpace(raw, at+1)
		case at < len(raw) && raw[at] == '}':
			return at, endOf(raw, at+1)
		default:
			return at, problem.New(problem.BadJSON, "a comma or } is due after the value of %s", shortened(name))
		}
	}
}

// callMember gives f the name without quotes and escapes.
func callMember(f func(name, value []byte) error, quoted, value []byte) error {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		var plain string
		if err := json.Unmarshal(quoted, &plain); err != nil {
			return problem.New(problem.BadJSON, "the name %s is not a JSON string", shortened(quoted))
		}
		name = []byte(plain)
	}
	return f(name, value)
}

func endOf(raw []byte, at int) error {
	if at != len(raw) {
		return problem.New(problem.BadJSON, "more follows after the row's closing brace")
	}
	return nil
}

func skipSpace(raw []byte, at int) int {
	for at < len(raw) && (raw[at] == ' ' || raw[at] == '\n' || raw[at] == '\t' || raw[at] == '\r') {
		at++
	}
	return at
}

// stringEnd returns the place after the string that begins at at.
func stringEnd(raw []byte, at int) (int, error) {
	if at >= len(raw) || raw[at] != '"' {
		return at, problem.New(problem.BadJSON, "a member's name in double quotes is due")
	}
	for i := at + 1; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			return i + 1, nil
		case c == '\\':
			i++
		case c < ' ':
			return i, problem.New(problem.BadJSON, "a string holds a raw control character")
		}
	}
	return len(raw), problem.New(problem.BadJSON, "a string is not closed")
}

// valueEnd returns the place after the value that begins at at.
func valueEnd(raw []byte, at int) (int, error) {
	if at >= len(raw) {
		return at, problem.New(problem.BadJSON, "a value is missing")
	}
	switch raw[at] {
	case '"':
		return stringEnd(raw, at)
	case '{', '[':
		var f framer
		n, err := f.scan(raw[at:])
		if err != nil {
			return at + f.at, err
		}
		if n == 0 {
			return len(raw), problem.New(problem.BadJSON, "an array or object is not closed")
		}
		return at + n, nil
	}
	end := at
	for end < len(raw) && !delimiter(raw[end]) {
		end++
	}
	if end == at {
		return at, problem.New(problem.BadJSON, "a value is due, not %q", raw[at])
	}
	return end, nil
}

func delimiter(c byte) bool {
	switch c {
	case ',', '}', ']', ' ', '\t', '\r', '\n', '"', '{', '[', ':':
		return true
	}
	return false
}

// inColumn says which column an error is about.
func inColumn(name string, err error) error {
	p := problem.As(err)
	if p == nil {
		return err
	}
	q := *p
	q.Message = "column " + strconv.Quote(name) + ": " + p.Message
	return &q
}

// inRow says which row of the body, from 1, an error is about.
func inRow(row int64, err error) error {
	p := problem.As(err)
	if p == nil {
		return err
	}
	q := *p
	q.Message = rowPrefix(row) + p.Message
	return &q
}

func rowPrefix(row int64) string { return "row " + strconv.FormatInt(row, 10) + ": " }

func shortened(raw []byte) string {
	if len(raw) > 64 {
		return string(raw[:61]) + "..."
	}
	return string(raw)
}
