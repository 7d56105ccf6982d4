package materializer

import (
	"strings"
	"testing"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
)

// TestBatchOfLargeRows: a small batch that would change very much is refused whole, and one within the bound applies although its rows are too many to
// be looked up together.
func TestBatchOfLargeRows(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(1))
	large := str(strings.Repeat("x", 1<<20))
	const rows = 80
	for i := range int64(rows) {
		l.mustWrite(l.row(users, Insert, big(i), large, big(0)))
	}
	var patches []Mutation
	for i := range int64(rows) {
		patches = append(patches, l.patch(users, i, "n", op("+", column("n"), lit(big(1)))))
	}
	l.refused(problem.NotAtomic, patches...)
	l.mustWrite(patches[:rows/2]...)
	records := l.changes(log.Partition{Table: users.ID})
	if len(records) != rows+rows/2 {
		t.Errorf("%d changes", len(records))
	}
	l.mustWrite(patches[rows/2:]...)
	l.verify()
}
