package check

import (
	"maps"
	"slices"

	"kalamlog.dev/kalam/internal/chaos/history"
	"kalamlog.dev/kalam/log"
)

// Trail checks what one reader was shown against the log of its table. A reader that has come to its end has seen everything.
//
//	Ordered     the offsets of a partition ascend, over all connections of a reader that resumes
//	Unique      nothing is shown twice
//	Reliable    nothing is left out, from the start to the end of the log
//	Resumable   the same holds across every cut, whichever node is asked next, without a reset
//	Bookmarked  after progress or ready at a position comes nothing of before it
//	Initial     initial rows and the changes after them leave no gap and do not overlap
func Trail(t *history.Trail, l history.Log) []Violation {
	c := &trailCheck{trail: t, log: l}
	c.begin()
	for i := range t.Seen {
		c.see(&t.Seen[i])
	}
	c.end()
	return c.done()
}

type trailCheck struct {
	findings
	trail    *history.Trail
	log      history.Log
	next     map[int32]int64 // by partition, the offset that is due; absent after initial rows until the first change
	rows     map[string]string
	initial  map[int32]map[int64]bool // offsets of initial rows and changes since: true for rows
	ready    bool
	bookmark log.Position
}

func (c *trailCheck) begin() {
	c.ready = false
	c.next = map[int32]int64{}
	c.rows = map[string]string{}
	c.initial = map[int32]map[int64]bool{}
	c.bookmark = log.Position{}
	for p := range c.log {
		switch c.trail.How {
		case history.Tail, history.Topic:
			c.next[p] = 0
		case history.Branch:
			c.next[p] = c.trail.Starts[p]
		case history.Folded, history.Snapshot:
		}
	}
}

func (c *trailCheck) see(s *history.Seen) {
	switch s.Kind {
	case history.Opened:
		if c.trail.How == history.Snapshot || s.Cursor == "" && c.trail.How == history.Folded {
			if c.ready {
				c.snapshotSession(s.Session - 1)
			}
			c.begin()
		}
	case history.Row:
		c.matchesLog(s)
		c.row(s)
	case history.Changed, history.Deleted:
		c.matchesLog(s)
		c.change(s)
	case history.Ready, history.Progress:
		c.ready = c.ready || s.Kind == history.Ready
		c.bookmarked(s)
	case history.Reset:
		c.add("resumable", "%s was reset by node %d: %s", c.trail.Name, s.Node, s.Error)
		c.begin()
	case history.Broken:
	}
}

// matchesLog checks that what was shown is what the log has at that offset.
func (c *trailCheck) matchesLog(s *history.Seen) {
	changes := c.log[s.Partition]
	if s.Offset < 0 || s.Offset >= int64(len(changes)) {
		c.add("reliable", "%s was shown partition %d offset %d by node %d, the log ends at %d", c.trail.Name, s.Partition, s.Offset, s.Node, len(changes))
		return
	}
	want := history.Change{Key: s.Key, Value: s.Value, Gone: s.Kind == history.Deleted}
	if got := changes[s.Offset]; got != want {
		c.add("reliable", "%s was shown %+v at partition %d offset %d by node %d, the log has %+v", c.trail.Name, want, s.Partition, s.Offset, s.Node, got)
	}
}

func (c *trailCheck) row(s *history.Seen) {
	if c.trail.How != history.Folded && c.trail.How != history.Snapshot {
		c.add("initial", "%s was shown an initial row it did not ask for", c.trail.Name)
		return
	}
	if _, twice := c.rows[s.Key]; twice {
		c.add("unique", "%s was shown row %s twice", c.trail.Name, s.Key)
	}
	c.rows[s.Key] = s.Value
	c.mark(s, true)
}

func (c *trailCheck) mark(s *history.Seen, row bool) {
	if c.initial[s.Partition] == nil {
		c.initial[s.Partition] = map[int64]bool{}
	}
	c.initial[s.Partition][s.Offset] = row
}

func (c *trailCheck) change(s *history.Seen) {
	due, known := c.next[s.Partition]
	switch {
	case !known: // the first one after initial rows: Initial and the folded rows tell of a gap
	case s.Offset < due:
		c.add("unique", "%s was shown partition %d offset %d again by node %d, %d was due", c.trail.Name, s.Partition, s.Offset, s.Node, due)
	case s.Offset > due:
		c.add("reliable", "%s was shown partition %d offset %d by node %d, %d was due", c.trail.Name, s.Partition, s.Offset, s.Node, due)
	}
	if c.initial[s.Partition][s.Offset] {
		c.add("initial", "%s was shown partition %d offset %d as a row and as a change", c.trail.Name, s.Partition, s.Offset)
	}
	c.next[s.Partition] = s.Offset + 1
	c.mark(s, false)
	if s.Kind == history.Deleted {
		delete(c.rows, s.Key)
	} else {
		c.rows[s.Key] = s.Value
	}
	if s.Cursor == "" {
		return
	}
	if at, err := log.ParsePosition(s.Cursor); err != nil {
		c.add("bookmarked", "%s: cursor %q: %v", c.trail.Name, s.Cursor, err)
	} else if !c.bookmark.IsZero() && c.bookmark.Covers(at) {
		c.add("bookmarked", "%s was shown a change at %s after progress to %s", c.trail.Name, at, c.bookmark)
	}
}

func (c *trailCheck) bookmarked(s *history.Seen) {
	if s.Cursor == "" {
		return
	}
	at, err := log.ParsePosition(s.Cursor)
	if err != nil {
		c.add("bookmarked", "%s: position %q: %v", c.trail.Name, s.Cursor, err)
		return
	}
	c.bookmark = c.bookmark.Max(at)
}

// end checks that a reader which was waited for has seen the whole log.
func (c *trailCheck) end() {
	for _, p := range slices.Sorted(maps.Keys(c.log)) {
		if due, known := c.next[p]; known && due < int64(len(c.log[p])) {
			c.add("reliable", "%s ended at offset %d of partition %d, the log ends at %d", c.trail.Name, due, p, len(c.log[p]))
		}
	}
	switch c.trail.How {
	case history.Folded, history.Snapshot:
		if !c.ready {
			c.add("initial", "%s was never shown all initial rows", c.trail.Name)
			return
		}
		for _, v := range SameRows(c.trail.Name+" folded", c.log, c.rows) {
			c.add("initial", "%s", v.What)
		}
		c.snapshotSession(len(c.trail.Seen))
	case history.Tail, history.Branch, history.Topic:
	}
}

// snapshotSession checks a session of a table of inserts only: its rows and changes are every offset from 0 on, without a gap.
func (c *trailCheck) snapshotSession(session int) {
	if c.trail.Table != history.Events {
		return
	}
	for _, p := range slices.Sorted(maps.Keys(c.initial)) {
		offsets := slices.Sorted(maps.Keys(c.initial[p]))
		if last := offsets[len(offsets)-1]; last != int64(len(offsets))-1 {
			c.add("initial", "%s, session %d: %d rows and changes of partition %d reach offset %d", c.trail.Name, session, len(offsets), p, last)
		}
	}
}
