package log

import (
	"errors"
)

var errGone = errors.New("no segment holds the offset")

// reader walks the frames of one partition in order. It is not safe for concurrent use.
type reader struct {
	part   *partition
	want   Offset // no frame that ends at or before it is returned
	chunk  int
	below  bool     // reads what lies before the partition's start too; the caller keeps it from being deleted
	seg    *segment // nil until positioned
	era    uint64   // of part, when positioned
	at     Offset   // base of the frame at window's position
	window frameWindow
}

func newReader(p *partition, from Offset, chunk int) *reader {
	return &reader{part: p, want: from, chunk: chunk}
}

// next returns the first frame that it has not returned and that holds an offset from want on, if one lies before end. end is
// what the partition's end was at some time. The frame aliases a buffer that is never reused.
func (r *reader) next(end Offset) (frame, bool, error) {
	for r.want < end {
		if err := r.trimmed(nil); err != nil {
			return frame{}, false, err
		}
		if r.seg == nil || r.era != r.part.era.Load() {
			if err := r.locate(); err != nil {
				return frame{}, false, r.trimmed(err)
			}
		}
		if limit := r.seg.limit.Load(); limit != 0 && uint64(r.at) >= limit {
			r.seg = nil
			continue
		}
		f, err := r.read()
		if err != nil {
			return frame{}, false, r.trimmed(err)
		}
		r.at = f.end()
		if r.at > r.want {
			r.want = r.at
			return f, true, nil
		}
	}
	return frame{}, false, nil
}

// trimmed returns err, unless retention has taken what the reader wants: then it says that.
func (r *reader) trimmed(err error) error {
	if start := r.part.start.Load(); !r.below && r.want < start.Offset {
		return errTrimmed(r.want, start.Offset)
	}
	return err
}

func (r *reader) read() (frame, error) {
	if len(r.window.buf) >= frameBodyStart {
		if need, err := frameSize(r.window.buf); err == nil && int64(len(r.window.buf)) >= need {
			return r.window.next(nil, 0, r.at) // no need for the file
		}
	}
	f, err := r.part.store.files.acquire(r.seg)
	if err != nil {
		return frame{}, err
	}
	defer r.part.store.files.release(f)
	size := r.seg.bytes.Load()
	if size < 0 {
		info, err := f.Stat()
		if err != nil {
			return frame{}, err
		}
		size = info.Size()
	}
	return r.window.next(f, size, r.at)
}

// locate positions the reader at or before the frame of r.want.
func (r *reader) locate() error {
	if err := r.part.load(); err != nil {
		return err
	}
	r.era = r.part.era.Load()
	s := r.part.segmentOf(r.want)
	if s == nil {
		return &CorruptionError{Path: r.part.dir, Err: errGone}
	}
	entries, err := r.part.indexOf(s)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return s.damage(0, errGone)
	}
	e := lastBefore(entries, func(e indexEntry) bool { return e.offset <= r.want })
	r.seg, r.at = s, e.offset
	r.window = frameWindow{seg: s, position: e.position, chunk: r.chunk}
	return nil
}
