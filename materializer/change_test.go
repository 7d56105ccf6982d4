package materializer

import (
	"fmt"
	"testing"
)

// describeChange prints a change: operation, previous offset, old and new row.
func describeChange(t testing.TB, table *Table, c Change) string {
	t.Helper()
	out := fmt.Sprint(int(c.Op))
	if c.HasPrevious {
		out += fmt.Sprint(" after ", c.Previous)
	}
	for _, raw := range [][]byte{c.Old, c.New} {
		if raw == nil {
			out += " []"
			continue
		}
		row, err := table.DecodeRow(raw)
		if err != nil {
			t.Fatal(err)
		}
		out += fmt.Sprint(" ", row.Values())
	}
	return out
}
