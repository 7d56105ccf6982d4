package subscribe

import (
	"strconv"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/query/expr"
)

// EventType names what an event tells, as in the public interface.
type EventType string

// The events of a subscription: Subscribed, InitialRow..., Ready, then changes. Reset starts over with initial rows. Failed is
// the last one.
const (
	Subscribed EventType = "subscribed"
	InitialRow EventType = "row"
	Ready      EventType = "ready"
	Inserted   EventType = "insert"
	Updated    EventType = "update"
	Deleted    EventType = "delete"
	Progress   EventType = "progress"
	Reset      EventType = "reset"
	Failed     EventType = "error"
)

func eventTypes() []EventType {
	return []EventType{Subscribed, InitialRow, Ready, Inserted, Updated, Deleted, Progress, Reset, Failed}
}

// Event is one thing that a subscriber is told.
type Event struct {
	Type    EventType
	Cursor  log.Position   // set on Ready, Inserted, Updated, Deleted and Progress: resume after it; zero otherwise
	Data    []byte         // JSON payload, valid until the next call of Next
	Problem *problem.Error // of Failed: what Data says, for doors that have their own error shape
}

// MovesCursor reports whether e has a Cursor.
func (e *Event) MovesCursor() bool {
	switch e.Type {
	case Ready, Inserted, Updated, Deleted, Progress:
		return true
	default:
		return false
	}
}

// The transitions that Inserted and Deleted carry: whether the row itself came or went, or only its match.
const (
	transitionInsert = "insert"
	transitionEnter  = "enter"
	transitionDelete = "delete"
	transitionLeave  = "leave"
)

// place is where and when a row was last changed.
type place struct {
	partition log.PartitionID
	offset    log.Offset
	timestamp int64 // microseconds UTC
}

// batch collects events whose payloads share one buffer. The payloads are cut out by done, when the buffer no longer moves.
type batch struct {
	buf    []byte
	events []Event
	ends   []int // by event: where its payload ends in buf

	before, after []byte // rows being encoded
}

func (b *batch) reset() { b.buf, b.events, b.ends = b.buf[:0], b.events[:0], b.ends[:0] }

// memory is what the batch keeps when it is reused.
func (b *batch) memory() int {
	return cap(b.buf) + cap(b.before) + cap(b.after) + cap(b.events)*eventOverhead
}

// size is the bytes that the collected events take.
func (b *batch) size() int { return len(b.buf) + len(b.events)*eventOverhead }

// eventOverhead is about what an Event takes beside its payload.
const eventOverhead = 80

// add closes the payload that was appended to buf since the last event.
func (b *batch) add(t EventType, cursor log.Position) {
	b.events = append(b.events, Event{Type: t, Cursor: cursor})
	b.ends = append(b.ends, len(b.buf))
}

func (b *batch) done() []Event {
	start := 0
	for i, end := range b.ends {
		b.events[i].Data = b.buf[start:end:end]
		start = end
	}
	return b.events
}

// addSubscribed tells how the query was understood.
func (b *batch) addSubscribed(id string, q *liveQuery) {
	b.buf = append(b.buf, `{"id":`...)
	b.buf = appendString(b.buf, id)
	b.buf = append(b.buf, `,"sql":`...)
	b.buf = appendString(b.buf, q.sql)
	b.buf = append(b.buf, `,"table":`...)
	b.buf = appendString(b.buf, q.table.QualifiedName())
	b.buf = append(b.buf, `,"columns":[`...)
	for i, o := range q.outputs {
		if i > 0 {
			b.buf = append(b.buf, ',')
		}
		b.buf = append(b.buf, `{"name":`...)
		b.buf = appendString(b.buf, o.name)
		b.buf = append(b.buf, `,"type":`...)
		b.buf = appendString(b.buf, o.typ.String())
		b.buf = append(b.buf, '}')
	}
	b.buf = append(b.buf, "]}"...)
	b.add(Subscribed, log.Position{})
}

// addPosition tells a position: Ready and Progress, which move the cursor there.
func (b *batch) addPosition(t EventType, p log.Position) {
	b.buf = append(b.buf, `{"position":`...)
	b.buf = appendString(b.buf, p.String())
	b.buf = append(b.buf, '}')
	b.add(t, p)
}

// addReset tells that what the subscriber holds is void and is replaced by the rows at p.
func (b *batch) addReset(reason string, p log.Position) {
	b.buf = append(b.buf, `{"reason":`...)
	b.buf = appendString(b.buf, reason)
	b.buf = append(b.buf, `,"position":`...)
	b.buf = appendString(b.buf, p.String())
	b.buf = append(b.buf, '}')
	b.add(Reset, log.Position{})
}

// addFailed tells why the subscription ends.
func (b *batch) addFailed(p *problem.Error) {
	b.buf = append(b.buf, `{"error":{"code":`...)
	b.buf = appendString(b.buf, string(p.Code))
	b.buf = append(b.buf, `,"message":`...)
	b.buf = appendString(b.buf, p.Message)
	if p.Hint != "" {
		b.buf = append(b.buf, `,"hint":`...)
		b.buf = appendString(b.buf, p.Hint)
	}
	b.buf = append(b.buf, "}}"...)
	b.add(Failed, log.Position{})
	b.events[len(b.events)-1].Problem = p
}

// addRow tells one row, already encoded as a JSON object. transition is empty for initial rows.
func (b *batch) addRow(t EventType, transition string, row []byte, at place, cursor log.Position) {
	b.buf = append(b.buf, `{"row":`...)
	b.buf = append(b.buf, row...)
	if transition != "" {
		b.buf = append(b.buf, `,"transition":"`...)
		b.buf = append(b.buf, transition...)
		b.buf = append(b.buf, '"')
	}
	b.buf = appendPlace(b.buf, at)
	b.add(t, cursor)
}

// addUpdate tells a row before and after a change.
func (b *batch) addUpdate(before, after []byte, at place, cursor log.Position) {
	b.buf = append(b.buf, `{"old":`...)
	b.buf = append(b.buf, before...)
	b.buf = append(b.buf, `,"new":`...)
	b.buf = append(b.buf, after...)
	b.buf = appendPlace(b.buf, at)
	b.add(Updated, cursor)
}

// appendPlace closes a payload's object.
func appendPlace(dst []byte, at place) []byte {
	dst = append(dst, `,"partition":`...)
	dst = strconv.AppendUint(dst, uint64(at.partition), 10)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendUint(dst, uint64(at.offset), 10)
	dst = append(dst, `,"timestamp":`...)
	dst = expr.AppendJSON(dst, expr.IntOf(expr.TimestampTZ, at.timestamp))
	return append(dst, '}')
}

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
	return expr.AppendJSON(dst, expr.TextOf(s))
}
