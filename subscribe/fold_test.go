package subscribe

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// fold is what a subscriber holds: its rows by id. It is strict: an event that does not fit what is held is a fault.
type fold struct {
	rows   map[string]string // id to JSON
	cursor log.Position
	ready  bool
	places map[string]bool // partition/offset of each change told
}

func newFold() *fold { return &fold{rows: map[string]string{}, places: map[string]bool{}} }

// rowID returns the id of a row.
func rowID(raw json.RawMessage) string {
	var r struct{ ID json.RawMessage }
	if err := json.Unmarshal(raw, &r); err != nil {
		return "broken: " + string(raw)
	}
	return string(r.ID)
}

func (f *fold) apply(e told) error {
	var p struct {
		Row, Old, New json.RawMessage
		Transition    string
		Partition     int
		Offset        uint64
	}
	if err := json.Unmarshal([]byte(e.Data), &p); err != nil {
		return fmt.Errorf("payload %s: %w", e.Data, err)
	}
	switch e.Type {
	case Reset:
		f.rows, f.ready = map[string]string{}, false
	case InitialRow:
		if f.ready {
			return fmt.Errorf("initial row after ready: %s", e.Data)
		}
		return f.put(p.Row)
	case Ready:
		f.ready = true
	case Inserted, Updated, Deleted:
		if err := f.change(e, p.Row, p.Old, p.New); err != nil {
			return err
		}
		place := fmt.Sprint(p.Partition, "/", p.Offset)
		if f.places[place] {
			return fmt.Errorf("change %s told twice", place)
		}
		f.places[place] = true
	case Failed:
		return fmt.Errorf("failed: %s", e.Data)
	default:
	}
	if !e.Cursor.IsZero() {
		if f.cursor.Covers(e.Cursor) && f.cursor.String() != e.Cursor.String() {
			return fmt.Errorf("cursor went back from %s to %s", f.cursor, e.Cursor)
		}
		f.cursor = e.Cursor
	}
	return nil
}

func (f *fold) change(e told, row, before, after json.RawMessage) error {
	if !f.ready {
		return fmt.Errorf("%s before ready", e.Type)
	}
	switch e.Type {
	case Inserted:
		return f.put(row)
	case Deleted:
		return f.take(row)
	default:
		if string(before) == string(after) {
			return fmt.Errorf("update without a difference: %s", e.Data)
		}
		if err := f.take(before); err != nil {
			return err
		}
		return f.put(after)
	}
}

func (f *fold) put(row json.RawMessage) error {
	id := rowID(row)
	if held, ok := f.rows[id]; ok {
		return fmt.Errorf("row %s is held as %s already", row, held)
	}
	f.rows[id] = string(row)
	return nil
}

func (f *fold) take(row json.RawMessage) error {
	id := rowID(row)
	if held := f.rows[id]; held != string(row) {
		return fmt.Errorf("%s is taken away, held is %q", row, held)
	}
	delete(f.rows, id)
	return nil
}

// changes are a table's changes read from the log by the simplest means.
type changes struct {
	table *materializer.Table
	all   []materializer.Change // in order
}

func readChanges(t testing.TB, r *rig, table *materializer.Table) *changes {
	t.Helper()
	c := &changes{table: table}
	for i := range table.Partitions {
		p := log.Partition{Table: table.ID, ID: log.PartitionID(i)}
		for at := log.Offset(0); at < r.log.End(p); {
			records, err := r.log.Read(p, at, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			for _, record := range records {
				change, err := materializer.DecodeChange(record)
				if err != nil {
					t.Fatal(err)
				}
				c.all = append(c.all, change)
			}
			at += log.Offset(len(records))
		}
	}
	slices.SortFunc(c.all, func(a, b materializer.Change) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Partition.ID, b.Partition.ID), cmp.Compare(a.Offset, b.Offset))
	})
	return c
}

// at folds the changes up to cursor and returns the rows that match, as a subscriber holds them.
func (c *changes) at(t testing.TB, q modelQuery, cursor log.Position) map[string]string {
	t.Helper()
	state := map[string]materializer.Row{}
	index, seen := log.Index(0), uint32(0)
	for _, change := range c.all {
		if change.Index != index {
			index, seen = change.Index, 0
		}
		seen++
		if !cursor.Covers(log.PositionOf(log.Part{Group: 1, Index: index, Seen: seen})) {
			break
		}
		if change.New == nil {
			delete(state, string(change.Key))
			continue
		}
		row, err := c.table.DecodeRow(change.New)
		if err != nil {
			t.Fatal(err)
		}
		state[string(change.Key)] = row
	}
	held := map[string]string{}
	for _, row := range state {
		if ok, err := q.filter.Match(row); err != nil {
			t.Fatal(err)
		} else if ok {
			id, text := q.project(row)
			held[id] = text
		}
	}
	return held
}
