package writeback

import (
	"strconv"

	"kalamlog.dev/kalam/materializer/storage"
)

// Space is where a base keeps one life of a partition: a partition that is dropped and created again gets another space. The space with ID 0 has no
// name and is the backend's own.
type Space struct {
	ID   uint64
	Name storage.PartitionName
}

// String is unique, and shows an operator of the base what he looks at: "t/17/0#5".
func (s Space) String() string { return string(s.Name) + "#" + strconv.FormatUint(s.ID, 10) }

// Pair is a key of a base and its value.
type Pair struct{ Key, Value []byte }

// Around says what a base holds about a key: the pair below it, the value of the key itself (nil: none), and the key above it. A nil Key: none.
type Around struct {
	Below Pair
	At    []byte
	Above []byte
}

// Reader reads one state of a base. Keys have 1 to storage.MaxKey+1 bytes. A space that was never written is empty. What it returns stays
// valid.
type Reader interface {
	// Values returns the value of each key, nil for none. The keys ascend.
	Values(s Space, keys [][]byte) ([][]byte, error)
	// Around returns what is around each key. The keys ascend.
	Around(s Space, keys [][]byte) ([]Around, error)
	// Next returns up to n pairs in key order, those from key from on.
	Next(s Space, from []byte, n int) ([]Pair, error)
	// Previous returns up to n pairs in reverse key order, those before key before.
	Previous(s Space, before []byte, n int) ([]Pair, error)
}

// Write puts a pair; a nil Value deletes the key, a nil Key the whole space with everything in it.
type Write struct {
	Space      Space
	Key, Value []byte
}

// Base is an ordered store. Read may be called beside everything else but Close.
type Base interface {
	// Read has f read one state, that before a Write or that after it. f must be quick and must not write.
	Read(f func(Reader) error) error
	// Write does all of the writes or none, and returns when they are durable. They are not retained. One Write runs at a time.
	Write(writes []Write) error
	Close() error
}
