package materializer

import (
	"bytes"
	"fmt"
	"slices"

	"kalamlog.dev/kalam/materializer/storage"
)

// prefetchFrom is the number of mutations from which on a batch's rows are looked up together: in key order one iterator finds them faster.
const prefetchFrom = 8

// maxPrefetched bounds the bytes of rows that are looked up together; a batch over larger rows looks up the rest one by one.
const maxPrefetched = 32 << 20

// prefetch holds what the backend has under the keys of a batch's mutations. The overlay goes before it.
type prefetch struct {
	wanted []wanted
	values [][]byte // by place of the mutation; nil: none
	known  []bool
	keys   [][]byte
	bytes  int
}

// wanted is a key to look up for the mutation at place.
type wanted struct {
	part  *part
	key   []byte
	place int
}

// load looks up the keys of all mutations that r still has to read; r itself stays where it is.
func (p *prefetch) load(s *step, r batchReader) error {
	p.wanted, p.values, p.known = p.wanted[:0], p.values[:0], p.known[:0]
	p.bytes = 0
	if r.left < prefetchFrom {
		return nil
	}
	r.m.set = nil
	for i := 0; ; i++ {
		m, err := r.next()
		if err != nil {
			return err
		}
		if m == nil {
			break
		}
		p.values, p.known = append(p.values, nil), append(p.known, false)
		t := s.catalog.TableByID(m.partition.Table)
		if t == nil || t.Kind == Stream || int(m.partition.ID) >= t.Partitions || len(m.key) == 0 {
			continue
		}
		at, err := s.partOf(t, m.partition)
		if err != nil {
			return err
		}
		if at.made {
			p.known[i] = true
			continue
		}
		p.wanted = append(p.wanted, wanted{at, m.key, i})
	}
	return p.lookUp(s)
}

func (p *prefetch) lookUp(s *step) error {
	slices.SortFunc(p.wanted, func(a, b wanted) int {
		if a.part != b.part {
			if a.part.id.Table != b.part.id.Table {
				return int(a.part.id.Table) - int(b.part.id.Table)
			}
			return int(a.part.id.ID) - int(b.part.id.ID)
		}
		return bytes.Compare(a.key, b.key)
	})
	for from := 0; from < len(p.wanted); {
		at := p.wanted[from].part
		p.keys = p.keys[:0]
		for _, w := range p.wanted[from:] {
			if w.part != at {
				break
			}
			p.keys = append(p.keys, w.key)
		}
		some := p.wanted[from : from+len(p.keys)]
		err := storage.Values(s.m.backend, at.name, p.keys, func(i int, value []byte) {
			place := some[i].place
			if p.bytes += len(value); p.bytes > maxPrefetched {
				return
			}
			p.known[place] = true
			if value != nil {
				p.values[place] = s.overlay.arena.copy(value)
			}
		})
		if err != nil {
			return fmt.Errorf("read state: %w", err)
		}
		from += len(some)
	}
	return nil
}

// value returns what was found for the mutation at place.
func (p *prefetch) value(place int) (value []byte, known bool) {
	if place >= len(p.known) {
		return nil, false
	}
	return p.values[place], p.known[place]
}
