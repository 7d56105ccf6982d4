package subscribe

import "kalamlog.dev/kalam/materializer"

// transition is what a change means to a subscriber. The zero transition means nothing.
type transition struct {
	event EventType
	how   string // the "transition" member of the payload
}

// transitionOf says what a change is to a filter that matched the row before it (oldMatch) and matches the row after it
// (newMatch). A row that does not exist does not match.
func transitionOf(op materializer.ChangeOp, oldMatch, newMatch bool) transition {
	switch {
	case oldMatch && newMatch:
		return transition{event: Updated}
	case newMatch && op == materializer.RowInserted:
		return transition{event: Inserted, how: transitionInsert}
	case newMatch:
		return transition{event: Inserted, how: transitionEnter}
	case oldMatch && op == materializer.RowDeleted:
		return transition{event: Deleted, how: transitionDelete}
	case oldMatch:
		return transition{event: Deleted, how: transitionLeave}
	}
	return transition{}
}
