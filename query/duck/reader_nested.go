package duck

import (
	"strconv"
	"strings"

	capi "github.com/duckdb/duckdb-go-bindings"

	"kalamlog.dev/kalam/query/expr"
)

// child returns a reader of a nested type's part; t is destroyed.
func child(t capi.LogicalType) *reader {
	defer capi.DestroyLogicalType(&t)
	return newReader(t)
}

// list sets up LIST: an entry (offset, length) into one child vector.
func (r *reader) list(t capi.LogicalType) {
	elem := child(capi.ListTypeChildType(t))
	r.name = elem.name + "[]"
	r.attach = func(v capi.Vector) { elem.load(capi.ListVectorGetChild(v)) }
	r.decode = func(row int) expr.Value {
		entry := at[[2]uint64](r.data, row)
		return elements(elem, int(entry[0]), int(entry[1]))
	}
}

// array sets up ARRAY: rows of a fixed number of elements in one child vector.
func (r *reader) array(t capi.LogicalType) {
	n := int(capi.ArrayTypeArraySize(t))
	elem := child(capi.ArrayTypeChildType(t))
	r.name = elem.name + "[" + strconv.Itoa(n) + "]"
	r.attach = func(v capi.Vector) { elem.load(capi.ArrayVectorGetChild(v)) }
	r.decode = func(row int) expr.Value { return elements(elem, row*n, n) }
}

func elements(elem *reader, from, n int) expr.Value {
	vs := make([]expr.Value, n)
	for i := range vs {
		vs[i] = elem.value(from + i)
	}
	return expr.ListOf(vs)
}

// structure sets up STRUCT: one child vector for each field; values are JSON objects.
func (r *reader) structure(t capi.LogicalType) {
	n := int(capi.StructTypeChildCount(t))
	names, fields := make([]string, n), make([]*reader, n)
	parts := make([]string, n)
	for i := range n {
		names[i] = capi.StructTypeChildName(t, capi.IdxT(i))
		fields[i] = child(capi.StructTypeChildType(t, capi.IdxT(i)))
		parts[i] = Ident(names[i]) + " " + fields[i].name
	}
	r.name = "STRUCT(" + strings.Join(parts, ", ") + ")"
	r.attach = func(v capi.Vector) { loadFields(fields, v) }
	r.decode = func(row int) expr.Value { return object(names, fields, row) }
}

func loadFields(fields []*reader, v capi.Vector) {
	for i, f := range fields {
		f.load(capi.StructVectorGetChild(v, capi.IdxT(i)))
	}
}

func object(names []string, fields []*reader, row int) expr.Value {
	dst := []byte{'{'}
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = expr.AppendJSON(dst, expr.TextOf(names[i]))
		dst = append(dst, ':')
		dst = expr.AppendJSON(dst, f.value(row))
	}
	return expr.JSONOf(string(append(dst, '}')))
}

// mapping sets up MAP: a list of (key, value); values are JSON objects with the keys as text.
func (r *reader) mapping(t capi.LogicalType) {
	key := child(capi.MapTypeKeyType(t))
	val := child(capi.MapTypeValueType(t))
	r.name = "MAP(" + key.name + ", " + val.name + ")"
	r.attach = func(v capi.Vector) {
		loadFields([]*reader{key, val}, capi.ListVectorGetChild(v))
	}
	r.decode = func(row int) expr.Value {
		entry := at[[2]uint64](r.data, row)
		dst := []byte{'{'}
		for i := range int(entry[1]) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = expr.AppendJSON(dst, expr.TextOf(key.value(int(entry[0])+i).String()))
			dst = append(dst, ':')
			dst = expr.AppendJSON(dst, val.value(int(entry[0])+i))
		}
		return expr.JSONOf(string(append(dst, '}')))
	}
}

// union sets up UNION: a STRUCT of a tag and one field for each member; values are JSON of the member that is set.
func (r *reader) union(t capi.LogicalType) {
	n := int(capi.UnionTypeMemberCount(t))
	tag := &reader{}
	integers[uint8](tag, "UTINYINT", expr.SmallInt)
	fields, parts := []*reader{tag}, make([]string, n)
	for i := range n {
		member := child(capi.UnionTypeMemberType(t, capi.IdxT(i)))
		fields = append(fields, member)
		parts[i] = Ident(capi.UnionTypeMemberName(t, capi.IdxT(i))) + " " + member.name
	}
	r.name = "UNION(" + strings.Join(parts, ", ") + ")"
	r.attach = func(v capi.Vector) { loadFields(fields, v) }
	r.decode = func(row int) expr.Value {
		set := int(tag.value(row).Int()) + 1
		return expr.JSONOf(string(expr.AppendJSON(nil, fields[set].value(row))))
	}
}
