package materializer

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// describeChange prints a change: operation, previous offset, old and new row.
func describeChange(t testing.TB, table *Table, c Change) string {
	t.Helper()
	parts := []string{strconv.Itoa(int(c.Op))}
	if c.HasPrevious {
		parts = append(parts, fmt.Sprint("after ", c.Previous))
	}
	for _, raw := range [][]byte{c.Old, c.New} {
		if raw == nil {
			parts = append(parts, "[]")
			continue
		}
		row, err := table.DecodeRow(raw)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, fmt.Sprint(row.Values()))
	}
	return strings.Join(parts, " ")
}
