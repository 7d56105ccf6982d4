package expr

// This file holds the agreed signatures until their real files exist; it is deleted by whoever implements them.

// --- type.go
func (t Type) String() string          { panic("todo") } // SQL spelling: DECIMAL(10,2), TEXT[]
func (t Type) Equal(o Type) bool       { panic("todo") }
func ParseType(s string) (Type, error) { panic("todo") } // the spellings of PostgreSQL and DuckDB (int4, varchar(n), timestamptz, ...)

// --- value.go: constructors and accessors (accessors panic on the wrong kind: a bug of ours)
func BoolOf(b bool) Value                                  { panic("todo") }
func IntOf(k Kind, i int64) Value                          { panic("todo") } // SmallInt, Integer, BigInt, Date, Time, Timestamp, TimestampTZ
func FloatOf(k Kind, f float64) Value                      { panic("todo") } // Real, Double
func DecimalOf(hi, lo uint64, scale uint8) Value           { panic("todo") }
func TextOf(s string) Value                                { panic("todo") }
func JSONOf(s string) Value                                { panic("todo") } // s must be valid JSON
func BlobOf(b []byte) Value                                { panic("todo") }
func UUIDOf(u [16]byte) Value                              { panic("todo") }
func ListOf(vs []Value) Value                              { panic("todo") }
func (v Value) Bool() bool                                 { panic("todo") }
func (v Value) Int() int64                                 { panic("todo") } // the integer kinds and the date and time kinds
func (v Value) Float() float64                             { panic("todo") }
func (v Value) DecimalParts() (hi, lo uint64, scale uint8) { panic("todo") }
func (v Value) Str() string                                { panic("todo") } // Text, JSON, Blob
func (v Value) UUIDBytes() [16]byte                        { panic("todo") }
func (v Value) List() []Value                              { panic("todo") }
func (v Value) String() string                             { panic("todo") } // text as CAST(v AS TEXT) gives; "NULL" for NULL

// Compare orders two values of the same type as ORDER BY ASC does (NULL last, NaN greatest), for tests and sorting.
func Compare(a, b Value) int { panic("todo") }

// CastValue converts v to t with SQL's explicit-cast rules; the error is a *problem.Error (InvalidValue, OutOfRange, TypeMismatch).
func CastValue(v Value, t Type) (Value, error) { panic("todo") }

// --- json.go: values to and from JSON. Integers travel as JSON numbers, decimals as JSON strings, NaN and infinities as strings, blobs as base64, dates and
// timestamps as ISO 8601 text (timestamptz with Z), JSON columns as the JSON itself, lists as arrays.
func AppendJSON(dst []byte, v Value) []byte { panic("todo") }

// FromJSON reads one JSON value (raw, complete) as type t. Numbers may also come as strings and are exact; the error is a *problem.Error.
func FromJSON(raw []byte, t Type) (Value, error) { panic("todo") }

// --- codec.go: binary form of values and nodes, versioned, deterministic; decoders never panic on any input.
func AppendValue(dst []byte, v Value) []byte     { panic("todo") }
func DecodeValue(src []byte) (Value, int, error) { panic("todo") }
func Encode(n Node) []byte                       { panic("todo") }
func Decode(src []byte) (Node, error)            { panic("todo") }

// --- compile.go
// Field is a column that an expression may name.
type Field struct {
	Name string
	Type Type
}

// Row gives the columns of one row by their place in the fields given to Compile. Column must be cheap: it is called only
// for the columns an expression needs.
type Row interface{ Column(i int) Value }

// Values is a Row held as a slice.
type Values []Value

func (v Values) Column(i int) Value { return v[i] }

// Program is a compiled expression, safe for concurrent use.
type Program struct{}

// Bind replaces $n by params[n-1].
func Bind(n Node, params []Value) (Node, error) { panic("todo") }

// Compile resolves names, checks types and folds constants. What it cannot evaluate exactly as DuckDB does it refuses with a *problem.Error
// (UnknownColumn with a did-you-mean hint, UnknownFunction, TypeMismatch, Unsupported).
func Compile(n Node, fields []Field) (*Program, error) { panic("todo") }

func (p *Program) Type() Type                  { panic("todo") }
func (p *Program) Columns() []int              { panic("todo") } // the fields it reads, ascending
func (p *Program) Eval(row Row) (Value, error) { panic("todo") } // error: *problem.Error (OutOfRange, DivisionByZero, InvalidValue)
func (p *Program) Match(row Row) (bool, error) { panic("todo") } // WHERE: NULL is false; Compile's type must be Bool
