package expr

import "kalamlog.dev/kalam/internal/problem"

func (c *compiler) jsonArrow(op string, a, b operand) (operand, error) {
	return operand{}, problem.New(problem.Unsupported, "operator %s is not supported here", op)
}
