package flusher

import (
	"container/heap"
	"errors"
	"fmt"
	"iter"
	"slices"

	"kalamlog.dev/kalam/flusher/datafile"
	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/flusher/objstore"
)

// rows yields the partition's rows of all files in offset order. The files of one flush are merged; flushes follow each other.
func (r *historyReader) rows() iter.Seq2[flushedRow, error] {
	byFlush := map[int64][]*manifest.File{}
	var flushes []int64
	for i := range r.manifest.Files {
		f := &r.manifest.Files[i]
		if _, ok := f.Offsets[r.partition.ID]; !ok {
			continue
		}
		if byFlush[f.Flush] == nil {
			flushes = append(flushes, f.Flush)
		}
		byFlush[f.Flush] = append(byFlush[f.Flush], f)
	}
	slices.Sort(flushes)
	return func(yield func(flushedRow, error) bool) {
		for _, n := range flushes {
			if !r.merge(byFlush[n], yield) {
				return
			}
		}
	}
}

// merge yields the rows of files by offset and reports whether to go on.
func (r *historyReader) merge(files []*manifest.File, yield func(flushedRow, error) bool) bool {
	var h mergeHeap
	defer func() {
		for _, s := range h {
			s.stop()
		}
	}()
	for _, f := range files {
		s, err := r.source(f)
		if err == nil {
			h = append(h, s)
			err = s.advance()
		}
		if err != nil {
			yield(flushedRow{}, err)
			return false
		}
	}
	h = slices.DeleteFunc(h, func(s *mergeSource) bool {
		if s.ended {
			s.stop()
		}
		return s.ended
	})
	heap.Init(&h)
	for len(h) > 0 {
		s := h[0]
		if !yield(s.row, nil) {
			return false
		}
		if err := s.advance(); err != nil {
			yield(flushedRow{}, err)
			return false
		}
		if s.ended {
			s.stop()
			heap.Pop(&h)
		} else {
			heap.Fix(&h, 0)
		}
	}
	return true
}

// mergeSource is the rows of one file.
type mergeSource struct {
	row    flushedRow
	ended  bool
	object objstore.Reader
	next   func() (datafile.Row, error, bool)
	halt   func()
}

func (r *historyReader) source(f *manifest.File) (*mergeSource, error) {
	schema := r.table.SchemaAt(f.Schema)
	if schema == nil {
		return nil, fmt.Errorf("%s has the unknown schema version %d", f.Path, f.Schema)
	}
	layout, err := datafile.NewLayout(schema)
	if err != nil {
		return nil, err
	}
	object, err := r.history.open(f)
	if err != nil {
		return nil, err
	}
	reader, err := datafile.NewReader(layout, object, object.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, errors.Join(err, object.Close()))
	}
	s := &mergeSource{row: flushedRow{file: f, schema: schema}, object: object}
	s.next, s.halt = iter.Pull2(reader.Rows(r.partition.ID))
	return s, nil
}

func (s *mergeSource) advance() error {
	row, err, ok := s.next()
	if !ok {
		s.ended = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.row.file.Path, err)
	}
	s.row.Row = row
	return nil
}

func (s *mergeSource) stop() {
	s.halt()
	_ = s.object.Close() // only read
}

// mergeHeap has the source with the lowest offset first.
type mergeHeap []*mergeSource

func (h mergeHeap) Len() int           { return len(h) }
func (h mergeHeap) Less(i, j int) bool { return h[i].row.Offset < h[j].row.Offset }
func (h mergeHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *mergeHeap) Push(x any)        { *h = append(*h, x.(*mergeSource)) } //nolint:forcetypeassert // only sources
func (h *mergeHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	*h = old[:len(old)-1]
	return s
}
