package check

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"kalamlog.dev/kalam/internal/chaos/history"
)

// place is where a change is.
type place struct {
	partition int32
	offset    int64
}

// Log checks what writers were told of a table against its log as it was read at the end. In linear time, but for a sort: every
// acknowledged write is there, at the offset it was told; none is there that failed, that nobody tried, or twice; the writes of a
// client, and writes of which one was acknowledged before the other began, are in order. What a read was shown is in the log at that offset.
// Values of the table's writes must be unique.
func Log(table string, ops []history.Op, log history.Log) []Violation {
	c := &logCheck{log: log, where: map[string]place{}, tried: map[string]*history.Op{}}
	for p, changes := range log {
		for o, change := range changes {
			c.index(change, place{p, int64(o)})
		}
	}
	var writes []*history.Op
	for i := range ops {
		op := &ops[i]
		switch {
		case op.Table != table:
		case op.Kind.Writes():
			c.write(op)
			writes = append(writes, op)
		case op.Kind == history.Read && op.Outcome == history.OK && op.Offset >= 0:
			c.saw(op)
		}
	}
	c.untried()
	c.clientOrder(writes)
	c.realTime(writes)
	return c.done()
}

type logCheck struct {
	findings
	log   history.Log
	where map[string]place // of values
	tried map[string]*history.Op
}

func (c *logCheck) index(change history.Change, at place) {
	if change.Gone {
		c.add("no deletes", "partition %d offset %d deletes key %s", at.partition, at.offset, change.Key)
		return
	}
	if before, twice := c.where[change.Value]; twice {
		c.add("nothing twice", "value %s is at partition %d offset %d and at %d offset %d", change.Value, before.partition, before.offset, at.partition, at.offset)
	}
	c.where[change.Value] = at
}

func (c *logCheck) write(op *history.Op) {
	c.tried[op.Value] = op
	at, there := c.where[op.Value]
	switch {
	case op.Outcome == history.OK && !there:
		c.add("acknowledged is kept", "%s was acknowledged at partition %d offset %d and is not in the log", name(op), op.Partition, op.Offset)
	case op.Outcome == history.Fail && there:
		c.add("failed is not applied", "%s is in the log at partition %d offset %d", name(op), at.partition, at.offset)
	case op.Outcome == history.OK && at != place{op.Partition, op.Offset}:
		c.add("offsets as told", "%s was told partition %d offset %d and is at %d offset %d", name(op), op.Partition, op.Offset, at.partition, at.offset)
	case there && c.log[at.partition][at.offset].Key != op.Key:
		c.add("offsets as told", "%s is in the log with key %s", name(op), c.log[at.partition][at.offset].Key)
	}
}

func (c *logCheck) saw(op *history.Op) {
	changes := c.log[op.Partition]
	if op.Offset >= int64(len(changes)) {
		c.add("read is in the log", "%s saw offset %d, the log of partition %d ends at %d", name(op), op.Offset, op.Partition, len(changes))
		return
	}
	if got := changes[op.Offset]; got.Key != op.Key || got.Value != op.Value {
		c.add("read is in the log", "%s saw offset %d, where the log has key %s value %s", name(op), op.Offset, got.Key, got.Value)
	}
}

func (c *logCheck) untried() {
	for _, value := range slices.Sorted(maps.Keys(c.where)) {
		if at := c.where[value]; c.tried[value] == nil {
			c.add("only what was tried", "value %s at partition %d offset %d was never written", value, at.partition, at.offset)
		}
	}
}

// clientOrder checks that what one client wrote, one after the other, is in that order in each partition.
func (c *logCheck) clientOrder(writes []*history.Op) {
	type of struct {
		client    string
		partition int32
	}
	last := map[of]*history.Op{}
	offset := map[of]int64{}
	sorted := slices.SortedFunc(slices.Values(writes), func(a, b *history.Op) int {
		return cmp.Or(strings.Compare(a.Client, b.Client), cmp.Compare(a.ID, b.ID))
	})
	for _, op := range sorted {
		at, there := c.where[op.Value]
		if !there || op.Outcome != history.OK {
			continue
		}
		k := of{op.Client, at.partition}
		if before := last[k]; before != nil && offset[k] > at.offset {
			c.add("a client's order", "%s is at offset %d, before %s at %d", name(op), at.offset, name(before), offset[k])
		}
		last[k], offset[k] = op, at.offset
	}
}

// realTime checks that a write which was acknowledged before another began has the smaller offset.
func (c *logCheck) realTime(writes []*history.Op) {
	byOffset := map[int32][]*history.Op{}
	for _, op := range writes {
		if at, there := c.where[op.Value]; there {
			byOffset[at.partition] = append(byOffset[at.partition], op)
		}
	}
	for p, list := range byOffset {
		slices.SortFunc(list, func(a, b *history.Op) int { return cmp.Compare(c.where[a.Value].offset, c.where[b.Value].offset) })
		latest := list[0] // of the ones before, the last to begin
		for _, op := range list {
			if op.Return < latest.Invoke {
				c.add("real-time order", "partition %d: %s returned before %s began, and has the larger offset", p, name(op), name(latest))
			}
			if op.Invoke > latest.Invoke {
				latest = op
			}
		}
	}
}

// Counters checks the log of the table of counters: each change adds one, and each row was counted up once for every
// acknowledged operation and at most once for every one of unknown outcome.
func Counters(ops []history.Op, log history.Log) []Violation {
	var f findings
	value := map[string]int64{}
	for _, p := range slices.Sorted(maps.Keys(log)) {
		for o, change := range log[p] {
			n, err := strconv.ParseInt(change.Value, 10, 64)
			if _, known := value[change.Key]; err != nil || known && n != value[change.Key]+1 || !known && n != 0 {
				f.add("counters count by one", "partition %d offset %d sets %s to %s after %d", p, o, change.Key, change.Value, value[change.Key])
			}
			value[change.Key] = n
		}
	}
	acknowledged, unknown := map[string]int64{}, map[string]int64{}
	for i := range ops {
		switch op := &ops[i]; {
		case op.Kind != history.Add:
		case op.Outcome == history.OK:
			acknowledged[op.Key]++
		case op.Outcome == history.Info:
			unknown[op.Key]++
		}
	}
	for _, key := range slices.Sorted(maps.Keys(acknowledged)) {
		if n := value[key]; n < acknowledged[key] || n > acknowledged[key]+unknown[key] {
			f.add("counted once", "%s is %d after %d acknowledged and %d unknown operations", key, n, acknowledged[key], unknown[key])
		}
	}
	return f.done()
}

// SameLog checks that a log read through another door or from another node is the same.
func SameLog(what string, log, other history.Log) []Violation {
	var f findings
	for _, p := range slices.Sorted(maps.Keys(log)) {
		if len(log[p]) != len(other[p]) {
			f.add("one log", "%s has %d changes in partition %d, expected %d", what, len(other[p]), p, len(log[p]))
		}
		for o := range min(len(log[p]), len(other[p])) {
			if log[p][o] != other[p][o] {
				f.add("one log", "%s has %+v at partition %d offset %d, expected %+v", what, other[p][o], p, o, log[p][o])
			}
		}
	}
	for _, p := range slices.Sorted(maps.Keys(other)) {
		if _, known := log[p]; !known {
			f.add("one log", "%s has a partition %d", what, p)
		}
	}
	return f.done()
}

// SameRows checks that the rows a node serves are the fold of the log.
func SameRows(what string, log history.Log, rows map[string]string) []Violation {
	var f findings
	fold := log.Fold()
	for _, key := range slices.Sorted(maps.Keys(fold)) {
		if got, there := rows[key]; !there {
			f.add("state is the fold", "%s has no row %s", what, key)
		} else if got != fold[key] {
			f.add("state is the fold", "%s has %s in row %s, the log says %s", what, got, key, fold[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		if _, there := fold[key]; !there {
			f.add("state is the fold", "%s has a row %s that the log does not", what, key)
		}
	}
	return f.done()
}
