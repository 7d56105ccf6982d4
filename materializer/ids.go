package materializer

import (
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

	"kalamlog.dev/kalam/query/expr"
)

// The layout of a snowflake id, as Twitter's: 41 bits of milliseconds since snowflakeEpoch, 10 bits of node, 12 bits of sequence.
const (
	snowflakeEpoch    = 1_704_067_200_000 // 2024-01-01 UTC, in ms
	snowflakeNodeBits = 10
	snowflakeSeqBits  = 12
)

// IDs generates the values of id defaults. One serves a whole node and is safe for concurrent use.
type IDs struct {
	node int64
	last atomic.Int64 // milliseconds << snowflakeSeqBits | sequence of the newest id
}

// NewIDs returns the generator of a node; node must differ between the nodes of a cluster (its low 10 bits count).
func NewIDs(node uint64) *IDs {
	return &IDs{node: int64(node & (1<<snowflakeNodeBits - 1))}
}

// Snowflake returns an id greater than any before it from this generator. now is in microseconds; when a millisecond's 4096 ids are used
// up, or the clock steps back, ids run ahead of the clock rather than repeat.
func (g *IDs) Snowflake(now int64) int64 {
	floor := (now/1000 - snowflakeEpoch) << snowflakeSeqBits
	for {
		last := g.last.Load()
		next := max(last+1, floor)
		if g.last.CompareAndSwap(last, next) {
			ms, seq := next>>snowflakeSeqBits, next&(1<<snowflakeSeqBits-1)
			return ms<<(snowflakeNodeBits+snowflakeSeqBits) | g.node<<snowflakeSeqBits | seq
		}
	}
}

// UUIDv7 returns a random id that sorts by creation time (RFC 9562).
func (g *IDs) UUIDv7() (expr.Value, error) {
	u, err := uuid.NewV7()
	return expr.UUIDOf(u), err
}

// ULID returns a sortable random id as its 26 characters.
func (g *IDs) ULID() expr.Value { return expr.TextOf(ulid.Make().String()) }
