package writeback

import (
	"bytes"
	"fmt"
	"iter"
	"sync"

	"kalamlog.dev/kalam/materializer/storage"
)

// Chunks are the pairs that a scan takes from the base at a time: few at first, as many scans end soon, then more while they are small.
const (
	minChunk   = 16
	maxChunk   = 1024
	chunkBytes = 256 << 10
)

// chunk is a stretch of the base, checked and opened. last: there is nothing behind it.
type chunk struct {
	pairs []Pair
	last  bool
}

// grow returns the size of the chunk that follows c.
func (c chunk) grow(n int) int {
	size := 0
	for _, p := range c.pairs {
		size += len(p.Key) + len(p.Value)
	}
	if size >= chunkBytes {
		return max(n/2, 1)
	}
	return min(2*n, maxChunk, max(1, n*chunkBytes/(size+1)))
}

// nextChunk returns up to n pairs of the base from key from on.
func (b *Backend) nextChunk(s Space, from []byte, n int) (c chunk, err error) {
	unborn := b.unborn(s)
	err = b.base.Read(func(r Reader) error {
		around, err := b.aroundOne(r, s, from, unborn)
		if err != nil {
			return err
		}
		pairs, err := r.Next(s, from, n)
		if err != nil {
			return err
		}
		c = chunk{last: len(pairs) < n}
		expect := around.above
		if around.at != nil {
			expect = linkTo(from)
		}
		for i, p := range pairs {
			next, value, err := openRecord(s, p.Key, p.Value)
			if err != nil {
				return err
			}
			if linkTo(p.Key) != expect || i > 0 && bytes.Compare(pairs[i-1].Key, p.Key) >= 0 {
				return damage(s, "a record before key %x is missing", p.Key)
			}
			expect = next
			c.pairs = append(c.pairs, Pair{p.Key, value})
		}
		if c.last && expect != endOfChain {
			return damage(s, "the records after key %x are missing", from)
		}
		return nil
	})
	return c, b.found(err)
}

// previousChunk returns up to n pairs of the base before key before, the highest first. The head is not one.
func (b *Backend) previousChunk(s Space, before []byte, n int) (c chunk, err error) {
	unborn := b.unborn(s)
	err = b.base.Read(func(r Reader) error {
		around, err := b.aroundOne(r, s, before, unborn)
		if err != nil {
			return err
		}
		if !around.hasHead {
			c = chunk{last: true}
			return nil
		}
		pairs, err := r.Previous(s, before, n)
		if err != nil {
			return err
		}
		c = chunk{}
		upper, follower := before, around.next // of the pair below before
		for _, p := range pairs {
			next, value, err := openRecord(s, p.Key, p.Value)
			if err != nil {
				return err
			}
			if next != follower || bytes.Compare(p.Key, upper) >= 0 {
				return damage(s, "a record after key %x is missing", p.Key)
			}
			if c.last = p.Key[0] == headTag; c.last {
				return nil
			}
			upper, follower = p.Key, linkTo(p.Key)
			c.pairs = append(c.pairs, Pair{p.Key, value})
		}
		if len(pairs) < n {
			return damage(s, "its head is missing")
		}
		return nil
	})
	return c, b.found(err)
}

func (b *Backend) aroundOne(r Reader, s Space, key []byte, unborn bool) (neighbours, error) {
	around, err := r.Around(s, [][]byte{key})
	if err != nil {
		return neighbours{}, err
	}
	n, err := checkAround(s, key, around[0])
	if err == nil && !n.hasHead && !unborn {
		err = damage(s, "its head is missing")
	}
	return n, err
}

// source yields cells in the order of a scan.
type source interface {
	peek() (cell, bool)
	advance()
}

// pairs is a chunk of the base as a source.
type pairs []Pair

func (p *pairs) peek() (cell, bool) {
	if len(*p) == 0 {
		return cell{}, false
	}
	return cell{key: (*p)[0].Key, value: (*p)[0].Value}, true
}

func (p *pairs) advance() { *p = (*p)[1:] }

// scan yields the entries of s between lower (included) and upper (excluded).
func (v *view) scan(s Space, lower, upper []byte, reverse bool, yield func(storage.Entry, error) bool) {
	for n := minChunk; bytes.Compare(lower, upper) < 0; {
		var c chunk
		var err error
		from, to := lower, upper // of the stretch that c is about
		if reverse {
			if c, err = v.b.previousChunk(s, upper, n); err == nil && !c.last {
				from = maxKey(lower, c.pairs[len(c.pairs)-1].Key)
			}
			upper = from
		} else {
			if c, err = v.b.nextChunk(s, lower, n); err == nil && !c.last {
				to = minKey(upper, append(bytes.Clone(c.pairs[len(c.pairs)-1].Key), 0))
			}
			lower = to
		}
		if err == nil {
			var more bool
			if more, err = v.merge(s, c, from, to, reverse, yield); err == nil && !more {
				return
			}
		}
		if err != nil {
			yield(storage.Entry{}, fmt.Errorf("scan %q: %w", s.Name, err))
			return
		}
		n = c.grow(n)
	}
}

// merge yields what the view holds from key from to before key to; c is the base's part of it. It reports false if yield has had enough.
func (v *view) merge(s Space, c chunk, from, to []byte, reverse bool, yield func(storage.Entry, error) bool) (more bool, err error) {
	changed, err := v.changed()
	if err != nil {
		return false, err
	}
	within := c.pairs
	for len(within) > 0 && outside(within[len(within)-1].Key, from, to) {
		within = within[:len(within)-1]
	}
	base := pairs(within)
	sources := make([]source, 0, len(v.layers)+len(changed)+1)
	for _, layers := range [][]*layer{v.layers, changed} {
		for _, l := range layers {
			var walk *cursor
			if reverse {
				walk = l.down(s.ID, to, from)
			} else {
				walk = l.up(s.ID, from, to)
			}
			defer walk.close()
			sources = append(sources, walk)
		}
	}
	sources = append(sources, &base)
	for {
		first, ok := pick(sources, reverse)
		if !ok {
			return true, nil
		}
		if !first.gone && !yield(storage.Entry{Key: first.key[1:], Value: first.value}, nil) {
			return false, nil
		}
	}
}

func outside(key, from, to []byte) bool {
	return bytes.Compare(key, from) < 0 || bytes.Compare(key, to) >= 0
}

// pick takes the cell that is due from the first of the sources that has it, and the same key from all others.
func pick(sources []source, reverse bool) (first cell, ok bool) {
	for _, s := range sources {
		c, valid := s.peek()
		if !valid {
			continue
		}
		if order := bytes.Compare(c.key, first.key); !ok || order < 0 && !reverse || order > 0 && reverse {
			first, ok = c, true
		}
	}
	if !ok {
		return cell{}, false
	}
	for _, s := range sources {
		if c, valid := s.peek(); valid && bytes.Equal(c.key, first.key) {
			s.advance()
		}
	}
	return first, true
}

func minKey(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return a
	}
	return b
}

func maxKey(a, b []byte) []byte {
	if bytes.Compare(a, b) > 0 {
		return a
	}
	return b
}

// bounds returns the base's keys between which r lies.
func bounds(r storage.Range) (lower, upper []byte) {
	upper = []byte{pastTag}
	if r.End != nil {
		upper = storedKey(r.End)
	}
	return storedKey(r.Start), upper
}

// Scan implements storage.Reader.
func (b *Backend) Scan(p storage.PartitionName, r storage.Range) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		v, err := b.view()
		if err != nil {
			yield(storage.Entry{}, err)
			return
		}
		defer v.close()
		v.scanPartition(p, r, yield)
	}
}

func (v *view) scanPartition(p storage.PartitionName, r storage.Range, yield func(storage.Entry, error) bool) {
	s, err := v.space(p)
	if err != nil {
		yield(storage.Entry{}, err)
		return
	}
	lower, upper := bounds(r)
	v.scan(s, lower, upper, r.Reverse, yield)
}

// snapshot implements storage.Snapshot.
type snapshot struct {
	view   *view
	mu     sync.Mutex
	closed bool
	scans  int // that run; the view is closed when it is closed and none runs
}

// Snapshot implements storage.Backend.
func (b *Backend) Snapshot() (storage.Snapshot, error) {
	v, err := b.view()
	if err != nil {
		return nil, err
	}
	return &snapshot{view: v}, nil
}

func (s *snapshot) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	s.scans++
	return nil
}

func (s *snapshot) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.scans--; s.closed && s.scans == 0 {
		s.view.close()
	}
}

// Value implements storage.Reader.
func (s *snapshot) Value(p storage.PartitionName, key []byte) ([]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	space, err := s.view.space(p)
	if err != nil {
		return nil, err
	}
	value, err := s.view.value(space, storedKey(key))
	return given(p, value, err)
}

// given makes the answer of Value of what was found: a copy, ErrNotFound or the error.
func given(p storage.PartitionName, value []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", p, err)
	}
	if value == nil {
		return nil, storage.ErrNotFound
	}
	return append([]byte{}, value...), nil
}

// Scan implements storage.Reader.
func (s *snapshot) Scan(p storage.PartitionName, r storage.Range) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		if err := s.enter(); err != nil {
			yield(storage.Entry{}, err)
			return
		}
		defer s.leave()
		s.view.scanPartition(p, r, yield)
	}
}

// Close implements storage.Snapshot. Scans that run go on.
func (s *snapshot) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	if s.closed = true; s.scans == 0 {
		s.view.close()
	}
	return nil
}
