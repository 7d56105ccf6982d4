package check

import (
	"fmt"

	"kalamlog.dev/kalam/internal/chaos/history"
)

// Violation is a promise that was not kept.
type Violation struct {
	Check string `json:"check"` // name of the rule
	What  string `json:"what"`
}

func (v Violation) String() string { return v.Check + ": " + v.What }

// maxOfOne bounds how many violations of one rule are told: one fault of the server breaks a rule many times.
const maxOfOne = 10

// findings collects violations.
type findings struct {
	list  []Violation
	count map[string]int
}

func (f *findings) add(rule, format string, args ...any) {
	if f.count == nil {
		f.count = map[string]int{}
	}
	if f.count[rule]++; f.count[rule] <= maxOfOne {
		f.list = append(f.list, Violation{rule, fmt.Sprintf(format, args...)})
	}
}

// done returns what was found, with a line for each rule that was broken more often than told.
func (f *findings) done() []Violation {
	for rule, n := range f.count {
		if n > maxOfOne {
			f.list = append(f.list, Violation{rule, fmt.Sprintf("%d violations in all", n)})
		}
	}
	return f.list
}

// name tells an operation in a violation.
func name(op *history.Op) string {
	return fmt.Sprintf("%s %d of %s by node %d (%s key %s value %s, %s after %d attempts%s)",
		op.Kind, op.ID, op.Client, op.Node, op.Table, op.Key, op.Value, op.Outcome, op.Attempts, codeOf(op))
}

func codeOf(op *history.Op) string {
	if op.Code == "" {
		return ""
	}
	return ", " + op.Code
}
