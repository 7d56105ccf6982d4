package expr

import "math"

// litClass tells how a constant adapts to the type beside it.
type litClass uint8

const (
	typed     litClass = iota // has its own type
	stringLit                 // 'text' as written: takes the other side's type
	intLit                    // 42 as written: takes any integer type that holds it
)

// staticType is an operand's type as overloads and common types see it.
type staticType struct {
	Type
	lit litClass
	val int128 // the value of an intLit
}

// normal is the type that a constant has when nothing beside it decides.
func (s staticType) normal() Type { return s.Type }

// Kinds that overloads of DuckDB's functions name and values here never have.
const (
	utinyInt Kind = 210 + iota
	usmallInt
	uinteger
	ubigInt
	uhugeInt
	bigNum
	interval
	timeTZ
	anyList
	structKind
	bitKind
)

// targetCost ranks the types that an implicit cast prefers.
func targetCost(k Kind) int {
	switch k {
	case BigInt:
		return 101
	case Integer:
		return 102
	case hugeInt:
		return 103
	case Double:
		return 104
	case Decimal:
		return 105
	case bigNum:
		return 106
	case Timestamp:
		return 120
	case TimestampTZ:
		return 123
	case Text, JSON:
		return 149
	case List, anyList, structKind:
		return 160
	}
	return 110
}

// literalFits reports whether an integer literal's value is in the range of k.
func literalFits(u int128, k Kind) bool {
	switch k {
	case Real, Double, hugeInt:
		return true
	case tinyInt, SmallInt, Integer, BigInt:
		low, high := intRange(k)
		i, ok := u.int64()
		return ok && i >= low && i <= high
	case utinyInt:
		return u.hi == 0 && u.lo <= math.MaxUint8
	case usmallInt:
		return u.hi == 0 && u.lo <= math.MaxUint16
	case uinteger:
		return u.hi == 0 && u.lo <= math.MaxUint32
	case ubigInt:
		return u.hi == 0
	case uhugeInt:
		return !u.negative()
	}
	return false
}

// implicitCost is the cost of casting from to kind to without being asked, -1 if that is not done. The rules and
// the numbers are DuckDB's.
func implicitCost(from staticType, to Kind) int {
	switch {
	case from.Kind == Null:
		if to == JSON {
			return targetCost(Text) + 1
		}
		return targetCost(to)
	case from.lit == stringLit:
		switch to {
		case Decimal, List, anyList, structKind:
			return -1
		case Text:
			return 1
		}
		return 20
	case from.lit == intLit:
		if from.Kind == to {
			return 0
		}
		if literalFits(from.val, to) {
			return targetCost(to) - 90
		}
	}
	return implicitKindCost(from.Kind, to)
}

func implicitKindCost(from, to Kind) int {
	if from == to || from == List && to == anyList {
		return 0
	}
	ok := false
	switch from {
	case JSON:
		if to == Text {
			return 1
		}
	case Text:
		if to == JSON {
			return 161
		}
	case tinyInt:
		ok = to == SmallInt || implicitFromSmall(to)
	case SmallInt:
		ok = implicitFromSmall(to)
	case Integer:
		ok = to != Integer && implicitFromSmall(to)
	case BigInt:
		ok = to != Integer && to != BigInt && implicitFromSmall(to)
	case hugeInt:
		ok = isFloat(to) || to == Decimal || to == bigNum
	case Real:
		ok = to == Double || to == bigNum
	case Double:
		ok = to == bigNum
	case Decimal:
		ok = isFloat(to)
	case Date:
		ok = isTimestamp(to)
	case Timestamp:
		ok = to == TimestampTZ
	}
	if !ok {
		return -1
	}
	return targetCost(to)
}

func implicitFromSmall(to Kind) bool {
	switch to {
	case Integer, BigInt, hugeInt, Real, Double, Decimal, bigNum:
		return true
	}
	return false
}

// decimalProperties gives the digits that hold every value of a type, as DuckDB counts them.
func decimalProperties(t Type) (precision, scale uint8, ok bool) {
	switch t.Kind {
	case Null:
		return 0, 0, true
	case Bool:
		return 1, 0, true
	case tinyInt:
		return 3, 0, true
	case SmallInt:
		return 5, 0, true
	case Integer:
		return 10, 0, true
	case BigInt:
		return 19, 0, true
	case hugeInt:
		return maxPrecision, 0, true
	case Decimal:
		return t.Precision, t.Scale, true
	}
	return 0, 0, false
}

// widenDecimal is the decimal type d, wide enough for the whole digits of t.
func widenDecimal(t Type, d Type) Type {
	p, _, _ := decimalProperties(t)
	if p > d.Precision-d.Scale {
		d.Precision = min(p+d.Scale, maxPrecision)
	}
	return d
}

// maxType is the type that values of both types become when they meet, as in CASE or a comparison. force, used for
// equality, finds a type even where no implicit cast leads.
func maxType(a, b staticType, force bool) (Type, bool) {
	if a.Kind == JSON && a.lit == typed {
		return a.Type, true
	}
	if b.Kind == JSON && b.lit == typed {
		return b.Type, true
	}
	var t Type
	var ok bool
	if a.Kind == b.Kind && a.lit == b.lit && a.lit != intLit {
		t, ok = maxOfSameKind(a.Type, b.Type, force)
	} else {
		t, ok = maxOfUnequal(a, b, force)
	}
	if ok || !force {
		return t, ok
	}
	if typeScore(a) < typeScore(b) {
		return b.Type, true
	}
	return a.Type, true
}

func maxOfSameKind(a, b Type, force bool) (Type, bool) {
	switch a.Kind {
	case Decimal:
		whole := max(a.Precision-a.Scale, b.Precision-b.Scale)
		scale := max(a.Scale, b.Scale)
		p := whole + scale
		if p > maxPrecision {
			p, scale = maxPrecision, maxPrecision-whole
		}
		return decimalType(p, scale), true
	case List:
		elem, ok := maxType(staticType{Type: *a.Elem}, staticType{Type: *b.Elem}, force)
		return listType(elem), ok
	}
	return a, true
}

func maxOfUnequal(a, b staticType, force bool) (Type, bool) {
	switch {
	case a.Kind == Null:
		return b.normal(), true
	case b.Kind == Null:
		return a.normal(), true
	case a.lit == stringLit:
		return b.normal(), true
	case b.lit == stringLit:
		return a.normal(), true
	case a.lit == intLit && b.lit == intLit:
		return maxType(staticType{Type: a.Type}, staticType{Type: b.Type}, force)
	}
	toB, toA := literalCost(a, b), literalCost(b, a)
	if toB >= 0 && (toB < toA || toA < 0) {
		return grown(a.Type, b.Type), true
	}
	if toA >= 0 {
		return grown(b.Type, a.Type), true
	}
	if a.lit == intLit || b.lit == intLit {
		return maxType(staticType{Type: a.Type}, staticType{Type: b.Type}, force)
	}
	if a.Kind == Bool && isInteger(b.Kind) {
		return b.Type, true
	}
	if b.Kind == Bool && isInteger(a.Kind) {
		return a.Type, true
	}
	return Type{}, false
}

// literalCost is implicitCost to a type that is not itself an adapting literal, to which nothing casts.
func literalCost(from, to staticType) int {
	if to.lit != typed {
		return -1
	}
	if from.Kind == List && to.Kind == List {
		return -1
	}
	return implicitCost(from, to.Kind)
}

func grown(from, to Type) Type {
	if to.Kind == Decimal {
		return widenDecimal(from, to)
	}
	return to
}

// typeScore ranks types that no implicit cast joins; the higher wins.
func typeScore(s staticType) int {
	if s.lit != typed {
		return 0
	}
	switch s.Kind {
	case Null:
		return 0
	case Bool:
		return 10
	case tinyInt:
		return 12
	case SmallInt:
		return 14
	case Integer:
		return 16
	case BigInt:
		return 18
	case hugeInt:
		return 20
	case Decimal:
		return 21
	case Real:
		return 22
	case Double:
		return 23
	case Time:
		return 50
	case Date:
		return 52
	case Timestamp, TimestampTZ:
		return 55
	case Text, JSON:
		return 77
	case Blob:
		return 101
	case UUID:
		return 102
	case List:
		return 126
	}
	return 1000
}

// comparisonType is the type that both sides of a comparison are cast to.
func comparisonType(a, b staticType, equality bool) (Type, bool) {
	t, ok := maxType(a, b, equality)
	if !ok {
		return Type{}, false
	}
	switch t.Kind {
	case Decimal:
		return comparedDecimal(t, a.Type, b.Type), true
	case Text, JSON:
		// Compared with text that is not a literal, the typed side decides.
		if !isText(a) && decidesText(a.Kind) {
			return a.normal(), true
		}
		if !isText(b) && decidesText(b.Kind) {
			return b.normal(), true
		}
	}
	return t, true
}

func isText(s staticType) bool { return s.lit != stringLit && (s.Kind == Text || s.Kind == JSON) }

func decidesText(k Kind) bool {
	return k == Bool || isNumeric(k) || k == Date || k == Time || isTimestamp(k)
}

func comparedDecimal(t, a, b Type) Type {
	ap, as, ok1 := decimalProperties(a)
	bp, bs, ok2 := decimalProperties(b)
	if !ok1 || !ok2 {
		return t
	}
	scale := max(as, bs)
	p := max(scale+max(ap-as, bp-bs), ap, bp)
	return decimalType(min(p, maxPrecision), scale)
}
