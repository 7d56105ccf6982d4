package subscribe

import (
	"testing"

	"kalamlog.dev/kalam/materializer"
)

func TestTransition(t *testing.T) {
	t.Parallel()
	const ins, upd, del = materializer.RowInserted, materializer.RowUpdated, materializer.RowDeleted
	for _, c := range []struct {
		name     string
		op       materializer.ChangeOp
		old, new bool
		event    EventType
		how      string
	}{
		{"insert that matches", ins, false, true, Inserted, "insert"},
		{"insert that does not", ins, false, false, "", ""},
		{"update within the filter", upd, true, true, Updated, ""},
		{"update into the filter", upd, false, true, Inserted, "enter"},
		{"update out of the filter", upd, true, false, Deleted, "leave"},
		{"update outside the filter", upd, false, false, "", ""},
		{"delete of a match", del, true, false, Deleted, "delete"},
		{"delete of another", del, false, false, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := transitionOf(c.op, c.old, c.new)
			if want := (transition{event: c.event, how: c.how}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}
