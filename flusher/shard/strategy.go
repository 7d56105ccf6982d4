package shard

import (
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// Strategy distributes rows over shards. Implementations are stateless and safe for concurrent use: the same key gives
// the same shard for ever, on every node.
type Strategy interface {
	// ShardKey names the shard of a row with the given key. The name becomes a file name: 1 to 64 of
	// [A-Za-z0-9_.-], not starting with a dot. It is called once for each flushed row.
	ShardKey(key string) string

	// ShardCount returns how many names ShardKey gives at most, 1 to MaxShards.
	ShardCount() int
}

// MaxShards bounds ShardCount: a flush keeps one file open for each shard.
const MaxShards = 1024

// letters is a constant string so that slicing a shard name from it allocates nothing.
const letters = "abcdefghijklmnopqrstuvwxyz"

// Alphabetic shards by the first character: a to z, upper case folded. Every other key, the empty one included, is in z.
type Alphabetic struct{}

// ShardKey returns the lower-case first letter of key, or "z".
func (Alphabetic) ShardKey(key string) string {
	if key == "" {
		return "z"
	}
	c := key[0] | 0x20
	if c < 'a' || c > 'z' {
		return "z"
	}
	return letters[c-'a' : c-'a'+1]
}

// ShardCount returns 26.
func (Alphabetic) ShardCount() int { return len(letters) }

const digits = "0123456789"

// Numeric shards by the first digit of a number, a leading minus sign skipped: -57 is in 5. Every other key is in 0.
type Numeric struct{}

// ShardKey returns the first digit of key, or "0".
func (Numeric) ShardKey(key string) string {
	if key != "" && key[0] == '-' {
		key = key[1:]
	}
	if key == "" || key[0] < '0' || key[0] > '9' {
		return "0"
	}
	return digits[key[0]-'0' : key[0]-'0'+1]
}

// ShardCount returns 10.
func (Numeric) ShardCount() int { return len(digits) }

// Hash shards evenly by a consistent hash: raising the count from n to m moves only (m-n)/m of the keys.
type Hash struct{ names []string }

// NewHash returns a Hash over count shards, 1 to MaxShards; the Registry checks the bounds.
func NewHash(count int) Hash {
	names := make([]string, count)
	for i := range names {
		digits := strconv.Itoa(i)
		names[i] = "shard-" + "0000"[min(len(digits), 4):] + digits
	}
	return Hash{names: names}
}

// ShardKey returns shard-0000, shard-0001 and so on.
func (h Hash) ShardKey(key string) string {
	return h.names[jump(xxhash.Sum64String(key), len(h.names))]
}

// ShardCount returns the count given to NewHash.
func (h Hash) ShardCount() int { return len(h.names) }

// jump is the jump consistent hash of Lamping and Veach (arXiv:1406.2294).
func jump(key uint64, buckets int) int {
	b, j := int64(-1), int64(0)
	for j < int64(buckets) {
		b = j
		key = key*2862933555777941757 + 1
		j = int64(float64(b+1) * (float64(int64(1)<<31) / float64((key>>33)+1)))
	}
	return int(b)
}
