package datafile

import (
	"github.com/parquet-go/parquet-go"

	"kalamlog.dev/kalam/query/expr"
)

// leafType is how the leaf values of a type are stored.
type leafType uint8

const (
	leafBool leafType = iota
	leafInt32
	leafInt64
	leafFloat
	leafDouble
	leafBytes     // TEXT, JSON, BLOB
	leafUUID      // 16 bytes
	leafDecimal32 // the unscaled value
	leafDecimal64
	leafDecimal128 // big-endian two's complement of decimalBytes(precision) bytes
)

// leafTypeOf returns the leaf type of t, of its innermost elements for a list.
func leafTypeOf(t expr.Type) leafType {
	switch t.Kind {
	case expr.Bool:
		return leafBool
	case expr.SmallInt, expr.Integer, expr.Date:
		return leafInt32
	case expr.BigInt, expr.Time, expr.Timestamp, expr.TimestampTZ:
		return leafInt64
	case expr.Real:
		return leafFloat
	case expr.Double:
		return leafDouble
	case expr.Text, expr.JSON, expr.Blob:
		return leafBytes
	case expr.UUID:
		return leafUUID
	case expr.Decimal:
		return decimalLeaf(t.Precision)
	case expr.List:
		return leafTypeOf(*t.Elem)
	}
	panic("datafile: no leaf for type " + t.String())
}

func decimalLeaf(precision uint8) leafType {
	switch {
	case precision <= 9:
		return leafDecimal32
	case precision <= 18:
		return leafDecimal64
	}
	return leafDecimal128
}

// decimalBytes returns the fewest bytes whose two's complement holds every number of precision digits, as Iceberg asks for.
func decimalBytes(precision uint8) int {
	// bits = precision * log2(10) + sign, log2(10) = 3.3219281
	return (int(precision)*33219281/10_000_000 + 1 + 1 + 7) / 8
}

// typeNode returns the Parquet node of a type, in its plain encoding.
func typeNode(t expr.Type) parquet.Node {
	switch t.Kind {
	case expr.Bool:
		return parquet.Leaf(parquet.BooleanType)
	case expr.SmallInt:
		return parquet.Int(16)
	case expr.Integer:
		return parquet.Int(32)
	case expr.BigInt:
		return parquet.Int(64)
	case expr.Real:
		return parquet.Leaf(nanFloat{parquet.FloatType})
	case expr.Double:
		return parquet.Leaf(nanFloat{parquet.DoubleType})
	case expr.Decimal:
		return decimalNode(t)
	case expr.Text:
		return parquet.String()
	case expr.Blob:
		return parquet.Leaf(parquet.ByteArrayType)
	case expr.JSON:
		return parquet.JSON()
	case expr.UUID:
		return parquet.UUID()
	case expr.List:
		return parquet.List(parquet.Optional(typeNode(*t.Elem)))
	}
	return timeNode(t)
}

func timeNode(t expr.Type) parquet.Node {
	switch t.Kind {
	case expr.Date:
		return parquet.Date()
	case expr.Time:
		return parquet.TimeAdjusted(parquet.Microsecond, false)
	case expr.Timestamp:
		return parquet.TimestampAdjusted(parquet.Microsecond, false)
	case expr.TimestampTZ:
		return parquet.TimestampAdjusted(parquet.Microsecond, true)
	}
	panic("datafile: no node for type " + t.String())
}

func decimalNode(t expr.Type) parquet.Node {
	switch decimalLeaf(t.Precision) {
	case leafDecimal32:
		return parquet.Decimal(int(t.Scale), int(t.Precision), parquet.Int32Type)
	case leafDecimal64:
		return parquet.Decimal(int(t.Scale), int(t.Precision), parquet.Int64Type)
	default:
		physical := parquet.FixedLenByteArrayType(decimalBytes(t.Precision))
		return parquet.Leaf(wideDecimal{parquet.Decimal(int(t.Scale), int(t.Precision), physical).Type()})
	}
}
