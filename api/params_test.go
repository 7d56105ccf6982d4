package api

import (
	"encoding/json"
	"testing"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

func TestParams(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]struct {
		kind expr.Kind
		text string
	}{
		`null`: {expr.Null, "NULL"}, `true`: {expr.Bool, "true"}, `"x\n"`: {expr.Text, "x\n"},
		`0`: {expr.BigInt, "0"}, `-7`: {expr.BigInt, "-7"},
		`9223372036854775807`:                     {expr.BigInt, "9223372036854775807"},
		`-9223372036854775808`:                    {expr.BigInt, "-9223372036854775808"},
		`9223372036854775808`:                     {expr.Decimal, "9223372036854775808"},
		`99999999999999999999999999999999999999`:  {expr.Decimal, "99999999999999999999999999999999999999"},
		`999999999999999999999999999999999999999`: {expr.Double, "1e+39"},
		`0.1`:                   {expr.Decimal, "0.1"},
		`-123456789.000000001`:  {expr.Decimal, "-123456789.000000001"},
		`1.50`:                  {expr.Decimal, "1.50"},
		`1e3`:                   {expr.Double, "1000.0"},
		` 5 `:                   {expr.BigInt, "5"},
		`{"a":[1]}`:             {expr.JSON, `{"a":[1]}`},
		`[]`:                    {expr.List, "[]"},
		`[1,null,2]`:            {expr.List, "[1, NULL, 2]"},
		`["a","b"]`:             {expr.List, "[a, b]"},
		`[1,2.5]`:               {expr.List, "[1.0, 2.5]"},
		`[1,2.5,1e1]`:           {expr.List, "[1.0, 2.5, 10.0]"},
		`[[1],[2.5],[]]`:        {expr.List, "[[1.0], [2.5], []]"},
		`[9223372036854775808]`: {expr.List, "[9223372036854775808]"},
	} {
		vs, err := sqlParams([]json.RawMessage{json.RawMessage(raw)})
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if vs[0].Kind() != want.kind || vs[0].String() != want.text {
			t.Errorf("%s is %s %s, want %s %s", raw, vs[0].Kind(), vs[0], want.kind, want.text)
		}
	}
	for raw, code := range map[string]problem.Code{
		`[1,"a"]`: problem.TypeMismatch, `[1,[2]]`: problem.TypeMismatch, `1e999`: problem.OutOfRange, ``: problem.BadJSON,
		`nul`: problem.BadJSON, `01`: problem.BadJSON, `{"a":}`: problem.BadJSON, `[1,]`: problem.BadJSON,
	} {
		if _, err := sqlParams([]json.RawMessage{json.RawMessage(raw)}); !problem.Is(err, code) {
			t.Errorf("%s: %v, want %s", raw, err, code)
		}
	}
}
