package writeback

import (
	"bytes"
	"sync"
	"sync/atomic"
)

// memory is a base in memory. Its contents survive Close, as a disk's do.
type memory struct {
	mu      sync.Mutex
	content *layer
	writes  atomic.Int64
	failing error  // of writes to come
	writing func() // called before each write
}

func newMemory() *memory { return &memory{content: newLayer()} }

func (m *memory) Read(f func(Reader) error) error { return f(memoryReader{m.copy()}) }

func (m *memory) copy() *layer {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.content.copy()
}

func (m *memory) Write(writes []Write) error {
	if m.writing != nil {
		m.writing()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failing != nil {
		return m.failing
	}
	m.writes.Add(1)
	for _, w := range writes {
		switch {
		case w.Key == nil:
			for _, p := range (memoryReader{m.content}).all(w.Space) {
				m.content.cells.Delete(cell{space: w.Space.ID, key: p.Key})
			}
		case w.Value == nil:
			m.content.cells.Delete(cell{space: w.Space.ID, key: w.Key})
		default:
			m.content.set(cell{space: w.Space.ID, key: bytes.Clone(w.Key), value: bytes.Clone(w.Value)})
		}
	}
	return nil
}

func (m *memory) Close() error { return nil }

type memoryReader struct{ l *layer }

func (r memoryReader) all(s Space) []Pair {
	pairs, _ := r.Next(s, nil, 1<<30)
	return pairs
}

func (r memoryReader) Values(s Space, keys [][]byte) ([][]byte, error) {
	values := make([][]byte, len(keys))
	for i, key := range keys {
		c, _ := r.l.find(s.ID, key)
		values[i] = c.value
	}
	return values, nil
}

func (r memoryReader) Around(s Space, keys [][]byte) ([]Around, error) {
	around := make([]Around, len(keys))
	for i, key := range keys {
		c, ok := r.l.find(s.ID, key)
		if ok {
			around[i].At = c.value
		}
		for _, p := range must(r.Next(s, append(bytes.Clone(key), 0), 1)) {
			around[i].Above = p.Key
		}
		for _, p := range must(r.Previous(s, key, 1)) {
			around[i].Below = p
		}
	}
	return around, nil
}

func must(p []Pair, _ error) []Pair { return p }

func (r memoryReader) Next(s Space, from []byte, n int) (out []Pair, err error) {
	for c := r.l.up(s.ID, from, []byte{0xff}); len(out) < n; c.advance() {
		at, ok := c.peek()
		if !ok {
			break
		}
		out = append(out, Pair{at.key, at.value})
	}
	return out, nil
}

func (r memoryReader) Previous(s Space, before []byte, n int) (out []Pair, err error) {
	for c := r.l.down(s.ID, before, nil); len(out) < n; c.advance() {
		at, ok := c.peek()
		if !ok {
			break
		}
		out = append(out, Pair{at.key, at.value})
	}
	return out, nil
}
