package expr

import (
	"slices"
	"unicode/utf8"

	"kalamlog.dev/kalam/internal/problem"
)

func (c *compiler) bindArray(n Array) (operand, error) {
	xs, err := c.bindAll(n.Elems)
	if err != nil {
		return operand{}, err
	}
	if len(xs) == 0 {
		return constantOf(ListOf(nil), listType(Type{})), nil
	}
	t, err := c.unify(xs, "a list")
	if err != nil {
		return operand{}, err
	}
	return applyN(xs, listType(t), func(vs []Value) (Value, error) { return ListOf(slices.Clone(vs)), nil }), nil
}

// listCall binds functions of lists.
func (c *compiler) listCall(name string, xs []operand) (operand, bool, error) {
	var x operand
	var err error
	switch name {
	case "len", "length", "array_length", "char_length", "character_length":
		if len(xs) == 1 && xs[0].typ.Kind == Null {
			return constantOf(Value{}, typeOf(BigInt)), true, nil
		}
		if len(xs) != 1 || xs[0].typ.Kind != List {
			return operand{}, true, wrongArguments(name, xs)
		}
		x = strict1(xs[0], typeOf(BigInt), func(v Value) (Value, error) { return IntOf(BigInt, int64(len(*v.list))), nil })
	case "list_contains", "array_contains", "list_has", "contains":
		x, err = c.listContains(name, xs)
	case "list_extract", "array_extract", "list_element":
		x, err = c.listElement(name, xs)
	default:
		return operand{}, false, nil
	}
	return x, true, err
}

// listContains reports whether a list has an element equal to a value; it is NULL if either is NULL.
func (c *compiler) listContains(name string, xs []operand) (operand, error) {
	if len(xs) != 2 || xs[0].typ.Kind != List && xs[0].typ.Kind != Null {
		return operand{}, wrongArguments(name, xs)
	}
	if x, ok := nullArgument(typeOf(Bool), xs...); ok {
		return x, nil
	}
	elem, ok := maxType(staticType{Type: *xs[0].typ.Elem}, xs[1].static(), false)
	if !ok {
		return operand{}, problem.New(problem.TypeMismatch, "a %s has no elements of %s", xs[0].typ, xs[1].typ)
	}
	list, err := c.castTo(xs[0], listType(elem))
	if err != nil {
		return operand{}, err
	}
	x, err := c.castTo(xs[1], elem)
	if err != nil {
		return operand{}, err
	}
	return strict2(list, x, typeOf(Bool), func(l, v Value) (Value, error) {
		for _, e := range *l.list {
			if e.kind != Null && compareSame(e, v) == 0 {
				return BoolOf(true), nil
			}
		}
		return BoolOf(false), nil
	}), nil
}

// listElement is the element at a place from 1, or from -1 backwards; NULL beyond. Of a text it is a character.
func (c *compiler) listElement(name string, xs []operand) (operand, error) {
	if len(xs) != 2 || implicitCost(xs[1].static(), BigInt) < 0 {
		return operand{}, wrongArguments(name, xs)
	}
	t := typeOf(Text)
	if xs[0].typ.Kind == List {
		t = Type{}
	}
	if null, ok := nullArgument(t, xs...); ok {
		return null, nil
	}
	place, err := c.castTo(xs[1], typeOf(BigInt))
	if err != nil {
		return operand{}, err
	}
	if xs[0].typ.Kind == Text {
		return strict2(xs[0], place, typeOf(Text), func(s, n Value) (Value, error) {
			i := n.Int()
			if i < 0 {
				i += int64(utf8.RuneCountInString(s.str)) + 1
			}
			if i < 1 {
				return TextOf(""), nil
			}
			return substring(s.str, i, 1)
		}), nil
	}
	if xs[0].typ.Kind != List {
		return operand{}, wrongArguments(name, xs)
	}
	return strict2(xs[0], place, *xs[0].typ.Elem, func(l, n Value) (Value, error) {
		i, size := n.Int(), int64(len(*l.list))
		if i < 0 {
			i += size + 1
		}
		if i < 1 || i > size {
			return Value{}, nil
		}
		return (*l.list)[i-1], nil
	}), nil
}
