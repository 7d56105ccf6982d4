package materializer

import (
	"slices"
	"strings"
	"testing"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/query/expr"
)

func TestInsertUpdateDelete(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(1))
	l.mustWrite(l.row(users, Insert, big(1), str("ann"), big(10)), l.row(users, Insert, big(2), str("bob"), big(20)))
	l.mustWrite(l.patch(users, 1, "n", op("-", column("n"), lit(big(1)))))
	l.mustWrite(l.row(users, Upsert, big(2), expr.Value{}, big(21)))
	r := l.mustWrite(l.key(users, Remove, big(1)))
	if want := (Applied{Done: true, Partition: log.Partition{Table: users.ID}, Offset: 4}); r.Applied[0] != want {
		t.Errorf("applied %v, want %v", r.Applied[0], want)
	}
	if got, want := l.rows(users), []string{"[2 NULL 21]@3"}; !slices.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
	var got []string
	for _, c := range l.changes(log.Partition{Table: users.ID}) {
		got = append(got, describeChange(t, users, c))
	}
	want := []string{
		"1 [] [1 ann 10]", "1 [] [2 bob 20]", "2 after 0 [1 ann 10] [1 ann 9]", "2 after 1 [2 bob 20] [2 NULL 21]", "3 after 2 [1 ann 9] []",
	}
	if !slices.Equal(got, want) {
		t.Errorf("changes:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if rows := l.verify(); rows < 1 {
		t.Errorf("verified %d rows", rows)
	}
}
