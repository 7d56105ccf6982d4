package materializer

import "unsafe"

// arenaChunk is what an arena takes from the heap at a time, and what it keeps when it is reset.
const arenaChunk = 256 << 10

// arena hands out memory that lives until reset: a step's rows and keys come and go together.
type arena struct {
	first []byte // kept over resets
	free  []byte // capacity not handed out yet
}

// bytes returns n bytes that may hold anything.
func (a *arena) bytes(n int) []byte {
	if n > len(a.free) {
		if n > arenaChunk {
			return make([]byte, n)
		}
		a.free = make([]byte, arenaChunk)
		if a.first == nil {
			a.first = a.free
		}
	}
	b := a.free[:n:n]
	a.free = a.free[n:]
	return b
}

// text returns a copy of b as a string that must not be used after reset.
func (a *arena) text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	c := a.bytes(len(b))
	copy(c, b)
	return unsafe.String(unsafe.SliceData(c), len(c))
}

// copy returns a copy of b.
func (a *arena) copy(b []byte) []byte {
	c := a.bytes(len(b))
	copy(c, b)
	return c
}

// reset takes everything back.
func (a *arena) reset() { a.free = a.first }
