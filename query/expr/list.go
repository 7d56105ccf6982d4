package expr

import "slices"

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
