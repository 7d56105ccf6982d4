package expr

import (
	"kalamlog.dev/kalam/internal/problem"
)

func (c *compiler) bindCall(n Call) (operand, error) {
	xs, err := c.bindAll(n.Args)
	if err != nil {
		return operand{}, err
	}
	switch n.Name {
	case "coalesce", "ifnull":
		if len(xs) == 0 || n.Name == "ifnull" && len(xs) != 2 {
			return operand{}, wrongArguments(n.Name, xs)
		}
		return c.coalesce(xs)
	case "nullif":
		if len(xs) != 2 {
			return operand{}, wrongArguments(n.Name, xs)
		}
		return c.nullif(xs[0], xs[1])
	}
	return operand{}, problem.New(problem.UnknownFunction, "function %s is not supported here", shorten(n.Name))
}

func wrongArguments(name string, xs []operand) error {
	list := ""
	for i, x := range xs {
		if i > 0 {
			list += ", "
		}
		list += x.typ.String()
	}
	return problem.New(problem.TypeMismatch, "no function %s(%s)", name, list).WithHint("check the arguments' types, or cast them")
}
