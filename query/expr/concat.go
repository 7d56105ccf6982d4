package expr

import (
	"strings"

	"kalamlog.dev/kalam/internal/problem"
)

func lowerText(s string) string { return strings.ToLower(s) }

// concat is ||: NULL if a side is NULL. Lists join lists and blobs blobs; else other types become text.
func (c *compiler) concat(a, b operand) (operand, error) {
	t := typeOf(Text)
	switch {
	case a.typ.Kind == List || b.typ.Kind == List:
		return c.concatLists(a, b)
	case a.typ.Kind == Null && b.typ.Kind == Null:
		t = Type{}
	case a.typ.Kind == Blob && b.typ.Kind == Blob:
		t = typeOf(Blob)
	}
	if x, ok := nullArgument(Type{}, a, b); ok {
		return x, nil
	}
	a, err := c.castTo(a, t)
	if err != nil {
		return operand{}, err
	}
	if b, err = c.castTo(b, t); err != nil {
		return operand{}, err
	}
	return strict2(a, b, t, func(x, y Value) (Value, error) {
		if err := checkTextSize(len(x.str) + len(y.str)); err != nil {
			return Value{}, err
		}
		return Value{kind: t.Kind, str: x.str + y.str}, nil
	}), nil
}

// maxTextSize bounds the bytes of a text that an expression makes, so that no row takes the server's memory.
const maxTextSize = 64 << 20

func checkTextSize(n int) error {
	if n > maxTextSize {
		return problem.New(problem.OutOfRange, "a text of %d bytes is too long", n).WithHint("texts are limited to %d bytes", maxTextSize)
	}
	return nil
}

func (c *compiler) concatLists(a, b operand) (operand, error) {
	if x, ok := nullArgument(Type{}, a, b); ok {
		return x, nil
	}
	if a.typ.Kind != List || b.typ.Kind != List {
		return operand{}, problem.New(problem.TypeMismatch, "cannot join %s and %s", a.typ, b.typ).
			WithHint("add an explicit cast")
	}
	elem, ok := maxType(staticType{Type: *a.typ.Elem}, staticType{Type: *b.typ.Elem}, false)
	if !ok {
		return operand{}, problem.New(problem.TypeMismatch, "cannot join %s and %s", a.typ, b.typ).
			WithHint("add an explicit cast")
	}
	t := listType(elem)
	a, err := c.castTo(a, t)
	if err != nil {
		return operand{}, err
	}
	if b, err = c.castTo(b, t); err != nil {
		return operand{}, err
	}
	return strict2(a, b, t, func(x, y Value) (Value, error) {
		out := make([]Value, 0, len(*x.list)+len(*y.list))
		return ListOf(append(append(out, *x.list...), *y.list...)), nil
	}), nil
}
