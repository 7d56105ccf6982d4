package expr

import (
	"strings"
)

func lowerText(s string) string { return strings.ToLower(s) }

// concat is ||: NULL if a side is NULL; other types become text.
func (c *compiler) concat(a, b operand) (operand, error) {
	t := typeOf(Text)
	a, err := c.castTo(a, t)
	if err != nil {
		return operand{}, err
	}
	if b, err = c.castTo(b, t); err != nil {
		return operand{}, err
	}
	return strict2(a, b, t, func(x, y Value) (Value, error) { return TextOf(x.str + y.str), nil }), nil
}
