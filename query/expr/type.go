package expr

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

// Type is an SQL type. The zero Type is that of NULL. Types are compared with Equal.
type Type struct {
	Kind      Kind  `json:"kind"`
	Precision uint8 `json:"precision,omitempty"` // of Decimal, 1 to 38
	Scale     uint8 `json:"scale,omitempty"`     // of Decimal, 0 to Precision
	Elem      *Type `json:"elem,omitempty"`      // of List
}
