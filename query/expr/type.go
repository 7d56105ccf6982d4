package expr

import (
	"strconv"
	"strings"

	"kalamlog.dev/kalam/internal/problem"
)

// Kind is the family of a Type.
type Kind uint8

// The kinds, in the order of design section 3. The numbers are stored in rows, mutations and the catalog: append
// only.
const (
	Null Kind = iota // the type of the literal NULL; no column has it
	Bool
	SmallInt
	Integer
	BigInt
	Real
	Double
	Decimal
	Text
	Blob
	Date
	Time
	Timestamp
	TimestampTZ
	UUID
	JSON
	List
)

// Kinds that only intermediate results have. They are never stored and never leave the package: the root of a
// compiled expression turns tinyInt into SmallInt and hugeInt into Decimal.
const (
	tinyInt Kind = 200 + iota // 8-bit integer: what sign() gives
	hugeInt                   // 128-bit integer: what an integer literal beyond BIGINT is
)

// maxPrecision is the most digits a Decimal holds.
const maxPrecision = 38

// Type is an SQL type. The zero Type is that of NULL. Types are compared with Equal.
type Type struct {
	Kind      Kind  `json:"kind"`
	Precision uint8 `json:"precision,omitempty"` // of Decimal, 1 to 38
	Scale     uint8 `json:"scale,omitempty"`     // of Decimal, 0 to Precision
	Elem      *Type `json:"elem,omitempty"`      // of List
}

// String returns the type's SQL spelling: DECIMAL(10,2), TEXT[].
func (t Type) String() string {
	switch t.Kind {
	case Decimal:
		return "DECIMAL(" + strconv.Itoa(int(t.Precision)) + "," + strconv.Itoa(int(t.Scale)) + ")"
	case List:
		if t.Elem == nil {
			return "NULL[]"
		}
		return t.Elem.String() + "[]"
	default:
		return t.Kind.String()
	}
}

// String returns the SQL name of the kind without parameters.
func (k Kind) String() string {
	switch k {
	case Null:
		return "NULL"
	case Bool:
		return "BOOLEAN"
	case SmallInt:
		return "SMALLINT"
	case Integer:
		return "INTEGER"
	case BigInt:
		return "BIGINT"
	case Real:
		return "REAL"
	case Double:
		return "DOUBLE"
	case Decimal:
		return "DECIMAL"
	case Text:
		return "TEXT"
	case Blob:
		return "BLOB"
	case Date:
		return "DATE"
	case Time:
		return "TIME"
	case Timestamp:
		return "TIMESTAMP"
	case TimestampTZ:
		return "TIMESTAMPTZ"
	case UUID:
		return "UUID"
	case JSON:
		return "JSON"
	case List:
		return "LIST"
	case tinyInt:
		return "TINYINT"
	case hugeInt:
		return "HUGEINT"
	case interval:
		return "INTERVAL"
	}
	return "KIND(" + strconv.Itoa(int(k)) + ")"
}

// Equal reports whether t and o are the same type, element types included.
func (t Type) Equal(o Type) bool {
	if t.Kind != o.Kind || t.Precision != o.Precision || t.Scale != o.Scale {
		return false
	}
	if t.Elem == nil || o.Elem == nil {
		return t.Elem == o.Elem
	}
	return t.Elem.Equal(*o.Elem)
}

// Valid reports whether t is a type that a column may have.
func (t Type) Valid() bool {
	switch t.Kind {
	case Decimal:
		return t.Precision >= 1 && t.Precision <= maxPrecision && t.Scale <= t.Precision && t.Elem == nil
	case List:
		return t.Elem != nil && t.Precision == 0 && t.Scale == 0 && t.Elem.Valid()
	default:
		return t.Kind > Null && t.Kind <= JSON && t.Precision == 0 && t.Scale == 0 && t.Elem == nil
	}
}

func typeOf(k Kind) Type { return Type{Kind: k} }

func decimalType(precision, scale uint8) Type {
	return Type{Kind: Decimal, Precision: precision, Scale: scale}
}

func listType(elem Type) Type { return Type{Kind: List, Elem: &elem} }

// maxTypeDepth bounds how deep lists nest in a type's spelling.
const maxTypeDepth = 16

// ParseType reads a type's spelling, case-insensitive: PostgreSQL's and DuckDB's names, with parameters and []
// suffixes. FLOAT without a width is DOUBLE, as in PostgreSQL; VARCHAR's length is accepted and not enforced, as in
// DuckDB. The error is a *problem.Error (Unsupported, TypeMismatch, InvalidDefinition).
func ParseType(s string) (Type, error) {
	name := strings.ToLower(strings.Join(strings.Fields(s), " "))
	depth := 0
	for strings.HasSuffix(name, "[]") {
		name = strings.TrimSpace(strings.TrimSuffix(name, "[]"))
		if depth++; depth > maxTypeDepth {
			return Type{}, problem.New(problem.Unsupported, "lists nest at most %d deep", maxTypeDepth)
		}
	}
	if before, ok := strings.CutSuffix(name, " array"); ok {
		name, depth = before, depth+1
	}
	t, err := parseScalarType(name)
	for ; err == nil && depth > 0; depth-- {
		t = listType(t)
	}
	return t, err
}

func parseScalarType(name string) (Type, error) {
	base, args, err := splitTypeArgs(name)
	if err != nil {
		return Type{}, err
	}
	base = strings.TrimPrefix(base, "pg_catalog.")
	if base == "decimal" || base == "numeric" || base == "dec" {
		return parseDecimalType(name, args)
	}
	k, ok := kindOfName(base)
	if !ok {
		return Type{}, unknownType(base)
	}
	if base == "float" && len(args) == 1 && args[0] >= 1 && args[0] <= 24 {
		k = Real
	}
	return typeOf(k), nil
}

func kindOfName(base string) (Kind, bool) {
	switch base {
	case "bool", "boolean", "logical":
		return Bool, true
	case "smallint", "int2", "short", "int16":
		return SmallInt, true
	case "integer", "int", "int4", "signed", "int32":
		return Integer, true
	case "bigint", "int8", "long", "int64":
		return BigInt, true
	case "real", "float4":
		return Real, true
	case "double", "double precision", "float8", "float":
		return Double, true
	case "text", "varchar", "string", "char", "character", "character varying", "bpchar", "nvarchar":
		return Text, true
	case "blob", "bytea", "varbinary", "binary":
		return Blob, true
	case "date":
		return Date, true
	case "time", "time without time zone":
		return Time, true
	case "timestamp", "datetime", "timestamp without time zone", "timestamp_us":
		return Timestamp, true
	case "timestamptz", "timestamp with time zone":
		return TimestampTZ, true
	case "uuid", "guid":
		return UUID, true
	case "json", "jsonb":
		return JSON, true
	}
	return Null, false
}

// splitTypeArgs parts "decimal(10, 2)" into "decimal" and [10 2]; words after the closing parenthesis stay with the
// name ("timestamp(6) with time zone").
func splitTypeArgs(name string) (string, []int, error) {
	open := strings.IndexByte(name, '(')
	if open < 0 {
		return name, nil, nil
	}
	end := strings.IndexByte(name, ')')
	if end < open {
		return "", nil, problem.New(problem.InvalidDefinition, "type %q is not well formed", shorten(name))
	}
	var args []int
	for part := range strings.SplitSeq(name[open+1:end], ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil {
			return "", nil, problem.New(problem.InvalidDefinition, "type %q is not well formed", shorten(name))
		}
		args = append(args, n)
	}
	return strings.TrimSpace(strings.TrimSpace(name[:open]) + name[end+1:]), args, nil
}

func parseDecimalType(name string, args []int) (Type, error) {
	switch {
	case len(args) == 0:
		return decimalType(18, 3), nil
	case len(args) == 1:
		args = append(args, 0)
	}
	if len(args) != 2 || args[0] < 1 || args[0] > maxPrecision || args[1] < 0 || args[1] > args[0] {
		return Type{}, problem.New(problem.InvalidDefinition, "type %q is out of range", shorten(name)).
			WithHint("DECIMAL(p,s) takes p from 1 to %d and s from 0 to p", maxPrecision)
	}
	return decimalType(uint8(args[0]), uint8(args[1])), nil
}

func unknownType(base string) error {
	p := problem.New(problem.Unsupported, "type %q does not exist", shorten(base))
	switch base {
	case "tinyint", "int1", "utinyint":
		return p.WithHint("use SMALLINT")
	case "usmallint", "uint16":
		return p.WithHint("use INTEGER")
	case "uinteger", "uint32":
		return p.WithHint("use BIGINT")
	case "hugeint", "uhugeint", "ubigint", "int128", "uint64":
		return p.WithHint("use DECIMAL(38,0)")
	case "serial", "bigserial", "smallserial":
		return p.WithHint("use BIGINT with DEFAULT snowflake_id()")
	case "timetz", "time with time zone":
		return p.WithHint("use TIME, or TIMESTAMPTZ")
	}
	return p.WithHint("types are BOOLEAN, SMALLINT, INTEGER, BIGINT, REAL, DOUBLE, DECIMAL(p,s), TEXT, BLOB, DATE, " +
		"TIME, TIMESTAMP, TIMESTAMPTZ, UUID, JSON and lists of these")
}

// shorten cuts text for an error message.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && s[cut]&0xc0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}
