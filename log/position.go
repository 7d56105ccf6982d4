package log

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"kalamlog.dev/kalam/internal/problem"
)

// The named integers of the log.
type (
	// TableID identifies a table for ever: it is not reused after DROP TABLE. Ids below 1000 are system tables.
	TableID uint32
	// PartitionID is a partition's number within its table, from 0.
	PartitionID uint16
	// Offset numbers the changes of one (table, partition): dense, from 0.
	Offset uint64
	// Index is a Raft log index of a group. Every change carries the index of the entry it came from.
	Index uint64
	// GroupID is a Raft group, from 1.
	GroupID uint64
)

// Partition names one append-only sequence of changes.
type Partition struct {
	Table TableID
	ID    PartitionID
}

// Position is a point in the history of the groups: for each group the Raft index up to which everything is included.
// The zero Position lies before the first change. Its text form, a token that users pass around, is
// "group:index[.seen]" joined by commas: "1:4711" or, in the middle of an entry, "1:4711.3". Positions are immutable.
type Position struct {
	parts []Part // ascending by Group
}

// Part is a Position's share of one group. With Seen = 0 every change of entries up to and including Index is
// included. With Seen = n > 0 it is a cursor of one table: all of its changes before entry Index and the first n of entry Index,
// counted in the order (partition, offset).
type Part struct {
	Group GroupID
	Index Index
	Seen  uint32
}

// maxParts bounds a token that a stranger sends: no deployment has more groups.
const maxParts = 4096

// PositionOf returns the earliest position that covers every one of parts. Parts of index 0 are dropped.
func PositionOf(parts ...Part) Position {
	sorted := slices.DeleteFunc(slices.Clone(parts), func(p Part) bool { return p.Index == 0 })
	slices.SortFunc(sorted, func(a, b Part) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(b.Index, a.Index), cmp.Compare(b.reach(), a.reach()))
	})
	sorted = slices.CompactFunc(sorted, func(a, b Part) bool { return a.Group == b.Group })
	if len(sorted) == 0 {
		return Position{}
	}
	return Position{parts: sorted}
}

// ParsePosition reads the text form of a Position; "0" is the zero Position. The error is a *problem.Error PositionInvalid.
func ParsePosition(s string) (Position, error) {
	if s == "0" {
		return Position{}, nil
	}
	invalid := problem.New(problem.PositionInvalid, "%q is not a position", shorten(s)).
		WithHint("use a position token as a reply or an event carried it, such as 1:4711")
	if strings.Count(s, ",") >= maxParts {
		return Position{}, invalid
	}
	var parts []Part
	for text := range strings.SplitSeq(s, ",") {
		part, ok := parsePart(text)
		if !ok || len(parts) > 0 && parts[len(parts)-1].Group >= part.Group {
			return Position{}, invalid
		}
		parts = append(parts, part)
	}
	return Position{parts: parts}, nil
}

func parsePart(s string) (Part, bool) {
	group, rest, ok := strings.Cut(s, ":")
	if !ok {
		return Part{}, false
	}
	index, seen, hasSeen := strings.Cut(rest, ".")
	g, ok1 := parseNumber(group, 64)
	i, ok2 := parseNumber(index, 64)
	if !ok1 || !ok2 {
		return Part{}, false
	}
	part := Part{Group: GroupID(g), Index: Index(i)}
	if hasSeen {
		n, ok := parseNumber(seen, 32)
		if !ok {
			return Part{}, false
		}
		part.Seen = uint32(n)
	}
	return part, true
}

// parseNumber accepts only what String writes: a positive decimal without sign or leading zeros.
func parseNumber(s string, bits int) (uint64, bool) {
	if s == "" || s[0] < '1' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, bits)
	return n, err == nil
}

func shorten(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}

// String returns the text form. The zero Position is "0".
func (p Position) String() string {
	if len(p.parts) == 0 {
		return "0"
	}
	b := make([]byte, 0, 24*len(p.parts))
	for i, part := range p.parts {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(part.Group), 10)
		b = append(b, ':')
		b = strconv.AppendUint(b, uint64(part.Index), 10)
		if part.Seen > 0 {
			b = append(b, '.')
			b = strconv.AppendUint(b, uint64(part.Seen), 10)
		}
	}
	return string(b)
}

// IsZero reports whether p lies before the first change.
func (p Position) IsZero() bool { return len(p.parts) == 0 }

// Part returns p's share of g, the zero Part if it has none.
func (p Position) Part(g GroupID) Part {
	i, ok := slices.BinarySearchFunc(p.parts, g, func(part Part, g GroupID) int { return cmp.Compare(part.Group, g) })
	if !ok {
		return Part{}
	}
	return p.parts[i]
}

// Parts returns a copy of the parts, ascending by group.
func (p Position) Parts() []Part { return slices.Clone(p.parts) }

// Covers reports whether p has seen everything that q has.
func (p Position) Covers(q Position) bool {
	for _, part := range q.parts {
		mine := p.Part(part.Group)
		if mine.Index < part.Index || mine.Index == part.Index && mine.reach() < part.reach() {
			return false
		}
	}
	return true
}

// Max returns the earliest position that covers both p and q.
func (p Position) Max(q Position) Position {
	return PositionOf(slices.Concat(p.parts, q.parts)...)
}

// reach orders parts of the same index: all of the entry lies beyond any count of its changes.
func (p Part) reach() uint64 {
	if p.Seen == 0 {
		return math.MaxUint64
	}
	return uint64(p.Seen)
}
