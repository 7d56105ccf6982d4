package expr

import (
	"testing"

	"kalamlog.dev/kalam/internal/problem"
)

func TestParseType(t *testing.T) {
	for s, want := range map[string]string{
		"int": "INTEGER", "INT4": "INTEGER", "pg_catalog.int8": "BIGINT", "bigint": "BIGINT", "smallint": "SMALLINT", "bool": "BOOLEAN", "float": "DOUBLE",
		"float4": "REAL", "float(24)": "REAL", "float(53)": "DOUBLE", "double precision": "DOUBLE", "numeric": "DECIMAL(18,3)", "decimal(10)": "DECIMAL(10,0)",
		"NUMERIC( 38 , 10 )": "DECIMAL(38,10)", "varchar(20)": "TEXT", "character varying": "TEXT", "bytea": "BLOB", "date": "DATE",
		"time": "TIME", "timestamp": "TIMESTAMP", "timestamp(6)": "TIMESTAMP", "timestamp(3) with time zone": "TIMESTAMPTZ",
		"TIMESTAMP  WITH TIME ZONE": "TIMESTAMPTZ", "timestamptz": "TIMESTAMPTZ", "uuid": "UUID", "jsonb": "JSON", "int[]": "INTEGER[]",
		"decimal(4,2)[][]": "DECIMAL(4,2)[][]", "text array": "TEXT[]",
	} {
		got, err := ParseType(s)
		if err != nil || got.String() != want || !got.Valid() {
			t.Errorf("%q: got %s, %v, want %s", s, got, err, want)
		}
		if again, err := ParseType(got.String()); err != nil || !again.Equal(got) {
			t.Errorf("%s does not parse back: %s, %v", got, again, err)
		}
	}
	for s, code := range map[string]problem.Code{
		"hugeint": problem.Unsupported, "tinyint": problem.Unsupported, "money": problem.Unsupported, "": problem.Unsupported,
		"decimal(39)": problem.InvalidDefinition, "decimal(4,5)": problem.InvalidDefinition, "decimal(0)": problem.InvalidDefinition,
		"decimal(1,2,3)": problem.InvalidDefinition, "decimal(x)": problem.InvalidDefinition, "decimal)1(": problem.InvalidDefinition,
		"int[][][][][][][][][][][][][][][][][]": problem.Unsupported,
	} {
		if _, err := ParseType(s); !problem.Is(err, code) {
			t.Errorf("%q: got %v, want %s", s, err, code)
		}
	}
}

func TestTypeEqual(t *testing.T) {
	types := []Type{
		{}, typeOf(Text), typeOf(Integer), decimalType(10, 2), decimalType(10, 3), listType(typeOf(Text)), listType(decimalType(10, 2)), listType(listType(typeOf(Text))),
	}
	for i, a := range types {
		for j, b := range types {
			if a.Equal(b) != (i == j) {
				t.Errorf("%s equals %s: %v", a, b, a.Equal(b))
			}
		}
	}
}

func TestNumberOf(t *testing.T) {
	for s, want := range map[string]string{
		"5": "INTEGER 5", "2147483648": "BIGINT 2147483648", "9223372036854775808": "DECIMAL(19,0) 9223372036854775808", "1_000": "INTEGER 1000",
		"1.50": "DECIMAL(3,2) 1.50", ".5": "DECIMAL(1,1) 0.5", "5.": "DECIMAL(1,0) 5", "1e3": "DOUBLE 1000.0", "007": "INTEGER 7",
		"12345678901234567890123456789012345678.9": "DOUBLE 1.2345678901234568e+37",
	} {
		v, err := NumberOf(s)
		if got := TypeOf(v).String() + " " + v.String(); err != nil || got != want {
			t.Errorf("%q: got %s, %v, want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"", "abc", "1e", "1.2.3", "-5", "."} {
		if _, err := NumberOf(s); !problem.Is(err, problem.SyntaxError) {
			t.Errorf("%q: got %v", s, err)
		}
	}
}
