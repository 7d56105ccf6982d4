package duck

import (
	"fmt"
	"strings"

	capi "github.com/duckdb/duckdb-go-bindings"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

// bind gives a prepared statement its parameters. Text for a parameter whose type the statement tells is converted as
// a string literal would be.
func bind(stmt capi.PreparedStatement, params []expr.Value) error {
	want := int(capi.NParams(stmt))
	if want > len(params) {
		return problem.New(problem.BadRequest, "the statement has %d parameters and %d values were given", want, len(params))
	}
	for i := range want {
		if err := bindOne(stmt, capi.IdxT(i+1), params); err != nil {
			return err
		}
	}
	return nil
}

func bindOne(stmt capi.PreparedStatement, place capi.IdxT, params []expr.Value) error {
	n, err := parameterNumber(capi.ParameterName(stmt, place))
	if err != nil || n > len(params) {
		return problem.New(problem.BadRequest, "parameter %s has no value", capi.ParameterName(stmt, place)).
			WithHint("parameters are $1, $2, ...")
	}
	v, err := coerceText(params[n-1], capi.ParamType(stmt, place))
	if err != nil {
		return err
	}
	cv := newValue(v)
	defer capi.DestroyValue(&cv)
	if capi.BindValue(stmt, place, cv) == capi.StateError {
		return fmt.Errorf("bind parameter %d", n)
	}
	return nil
}

func parameterNumber(name string) (int, error) {
	var n int
	_, err := fmt.Sscanf(name, "%d", &n)
	if err == nil && n < 1 {
		err = fmt.Errorf("parameter %q", name)
	}
	return n, err
}

// coerceText converts a text to the type that a statement expects of a parameter, if that is one of ours.
func coerceText(v expr.Value, want capi.Type) (expr.Value, error) {
	if v.Kind() != expr.Text {
		return v, nil
	}
	kinds := map[capi.Type]expr.Kind{
		capi.TypeBoolean: expr.Bool, capi.TypeSmallInt: expr.SmallInt, capi.TypeInteger: expr.Integer,
		capi.TypeBigInt: expr.BigInt, capi.TypeFloat: expr.Real, capi.TypeDouble: expr.Double, capi.TypeDate: expr.Date,
		capi.TypeTime: expr.Time, capi.TypeTimestamp: expr.Timestamp, capi.TypeTimestampTZ: expr.TimestampTZ,
		capi.TypeUUID: expr.UUID, capi.TypeBlob: expr.Blob,
	}
	k, ok := kinds[want]
	if !ok {
		return v, nil
	}
	return expr.CastValue(v, expr.Type{Kind: k})
}

// newValue returns v as a value of DuckDB's, to be destroyed.
func newValue(v expr.Value) capi.Value {
	switch v.Kind() {
	case expr.Bool:
		return capi.CreateBool(v.Bool())
	case expr.SmallInt:
		return capi.CreateInt16(int16(v.Int()))
	case expr.Integer:
		return capi.CreateInt32(int32(v.Int()))
	case expr.BigInt:
		return capi.CreateInt64(v.Int())
	case expr.Real:
		return capi.CreateFloat(float32(v.Float()))
	case expr.Double:
		return capi.CreateDouble(v.Float())
	case expr.Decimal:
		hi, lo, scale := v.DecimalParts()
		return capi.CreateDecimal(capi.NewDecimal(decimalWidth(v, scale), scale, capi.NewHugeInt(lo, int64(hi))))
	case expr.Text, expr.JSON:
		return capi.CreateVarchar(v.Str())
	case expr.Blob:
		return newBlob(v)
	case expr.List:
		return newList(v.List())
	default:
		return newTime(v)
	}
}

func newTime(v expr.Value) capi.Value {
	switch v.Kind() {
	case expr.Date:
		return capi.CreateDate(capi.NewDate(int32(v.Int())))
	case expr.Time:
		return capi.CreateTime(capi.NewTime(v.Int()))
	case expr.Timestamp:
		return capi.CreateTimestamp(capi.NewTimestamp(v.Int()))
	case expr.TimestampTZ:
		return capi.CreateTimestampTZ(capi.NewTimestamp(v.Int()))
	case expr.UUID:
		hi, lo := uuidWords(v)
		return capi.CreateUUID(capi.NewUHugeInt(lo, hi))
	}
	return capi.CreateNullValue()
}

// newBlob works around an empty blob, of which the bindings would take the address of the first byte.
func newBlob(v expr.Value) capi.Value {
	if b := []byte(v.Str()); len(b) > 0 {
		return capi.CreateBlob(b)
	}
	return capi.CreateBlob(make([]byte, 0, 1))
}

func newList(vs []expr.Value) capi.Value {
	elems := make([]capi.Value, len(vs))
	t := capi.CreateLogicalType(capi.TypeSQLNull)
	for i, v := range vs {
		elems[i] = newValue(v)
		defer capi.DestroyValue(&elems[i])
		if !v.IsNull() {
			capi.DestroyLogicalType(&t)
			t = logicalType(typeOf(v))
		}
	}
	defer capi.DestroyLogicalType(&t)
	return capi.CreateListValue(t, elems)
}

// typeOf returns a type that holds v.
func typeOf(v expr.Value) expr.Type {
	switch v.Kind() {
	case expr.Decimal:
		_, _, scale := v.DecimalParts()
		return expr.Type{Kind: expr.Decimal, Precision: decimalWidth(v, scale), Scale: scale}
	case expr.List:
		t := expr.Type{Kind: expr.Text}
		for _, e := range v.List() {
			if !e.IsNull() {
				t = typeOf(e)
			}
		}
		return expr.Type{Kind: expr.List, Elem: &t}
	}
	return expr.Type{Kind: v.Kind()}
}

// decimalWidth counts a decimal's digits: at least scale+1 so that 0.5 has a whole part.
func decimalWidth(v expr.Value, scale uint8) uint8 {
	digits := len(strings.TrimLeft(strings.NewReplacer("-", "", ".", "").Replace(v.String()), "0"))
	return uint8(min(max(digits, int(scale)+1), 38))
}

func uuidWords(v expr.Value) (hi, lo uint64) {
	u := v.UUIDBytes()
	for i := range 8 {
		hi, lo = hi<<8|uint64(u[i]), lo<<8|uint64(u[8+i])
	}
	return hi, lo
}

// logicalType returns DuckDB's type for t, to be destroyed. JSON is text here: DuckDB keeps it as such.
func logicalType(t expr.Type) capi.LogicalType {
	switch t.Kind {
	case expr.Decimal:
		return capi.CreateDecimalType(t.Precision, t.Scale)
	case expr.List:
		elem := logicalType(*t.Elem)
		defer capi.DestroyLogicalType(&elem)
		return capi.CreateListType(elem)
	default:
		return capi.CreateLogicalType(typeID(t.Kind))
	}
}

func typeID(k expr.Kind) capi.Type {
	switch k {
	case expr.Bool:
		return capi.TypeBoolean
	case expr.SmallInt:
		return capi.TypeSmallInt
	case expr.Integer:
		return capi.TypeInteger
	case expr.BigInt:
		return capi.TypeBigInt
	case expr.Real:
		return capi.TypeFloat
	case expr.Double:
		return capi.TypeDouble
	case expr.Blob:
		return capi.TypeBlob
	case expr.Date:
		return capi.TypeDate
	case expr.Time:
		return capi.TypeTime
	case expr.Timestamp:
		return capi.TypeTimestamp
	case expr.TimestampTZ:
		return capi.TypeTimestampTZ
	case expr.UUID:
		return capi.TypeUUID
	default:
		return capi.TypeVarchar
	}
}
