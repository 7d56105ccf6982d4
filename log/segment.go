package log

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	segmentSuffix = ".log"
	indexSuffix   = ".index"
)

// segment is one append-only file of frames: those of its partition from offset base to limit. What the file holds behind
// limit was written before a crash and is not part of the log.
type segment struct {
	part *partition
	base Offset
	path string

	limit atomic.Uint64 // first offset behind the segment; 0 while it is the one appended to
	dirty atomic.Bool   // has writes that no sync has covered
	bytes atomic.Int64  // of complete frames; -1 if only the file knows

	saving sync.Mutex // one writer of the index file at a time; guards index.saved

	size  int64        // append position, known to the appender alone
	index *sparseIndex // of the segment appended to, guarded by part.mu; nil for others, whose index lives in openFile
}

func segmentName(base Offset) string { return fmt.Sprintf("%020d%s", base, segmentSuffix) }

// parseSegmentName returns the base that a segment's file name states.
func parseSegmentName(name string) (Offset, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	n, ok := parseDigits(digits)
	return Offset(n), ok
}

func newSegment(p *partition, base, limit Offset) *segment {
	s := &segment{part: p, base: base, path: p.store.fs.PathJoin(p.dir, segmentName(base))}
	s.limit.Store(uint64(limit))
	s.bytes.Store(-1)
	return s
}

func (s *segment) indexPath() string { return strings.TrimSuffix(s.path, segmentSuffix) + indexSuffix }

func (s *segment) damage(position int64, err error) error {
	return &CorruptionError{Path: s.path, Position: position, Err: err}
}

// entries returns the index of s, whose open file is f.
func (s *segment) entries(f *openFile) ([]indexEntry, error) {
	s.part.mu.RLock()
	live := s.index
	var entries []indexEntry
	if live != nil {
		entries = live.entries
	}
	s.part.mu.RUnlock()
	if live != nil {
		return entries, nil
	}
	f.index.once.Do(func() {
		x, _, err := s.loadIndex(f, Offset(s.limit.Load()))
		if err != nil {
			f.index.err = err
			return
		}
		f.index.entries = x.entries
		if x.saved < len(x.entries) {
			_ = s.saveIndex(x) // an index that cannot be saved is made again the next time
		}
	})
	return f.index.entries, f.index.err
}

// loadIndex reads the index of the frames before end and completes it from the segment. It returns the
// position of end in the file. Frames before end that cannot be read are damage.
func (s *segment) loadIndex(f vfs.File, end Offset) (*sparseIndex, int64, error) {
	entries, whole := s.readIndexFile(end)
	x := &sparseIndex{entries: entries}
	if whole {
		x.saved = len(entries)
	}
	from := indexEntry{offset: s.base}
	if len(entries) > 0 {
		from = entries[len(entries)-1]
		x.entries = entries[:len(entries)-1]
	}
	position, err := s.scan(f, from, end, x)
	if err != nil && from.position > 0 {
		x = &sparseIndex{}
		position, err = s.scan(f, indexEntry{offset: s.base}, end, x)
	}
	return x, position, err
}

// readIndexFile returns the stored entries of frames before end, and whether more may be appended to the file.
func (s *segment) readIndexFile(end Offset) ([]indexEntry, bool) {
	data, err := readFile(s.part.store.fs, s.indexPath())
	if err != nil {
		return nil, false
	}
	entries, whole := decodeIndex(data, indexSeed(s.part.id, s.base))
	for i, e := range entries {
		if e.offset >= end {
			return entries[:i], false
		}
	}
	if len(entries) > 0 && entries[0].offset != s.base {
		return nil, false
	}
	return entries, whole
}

// scan reads the frames from one on up to end, adds them to x and returns the position of end.
func (s *segment) scan(f vfs.File, from indexEntry, end Offset, x *sparseIndex) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("scan segment: %w", err)
	}
	w := frameWindow{seg: s, position: from.position, chunk: scanChunk}
	at := from.offset
	for at < end {
		fr, err := w.next(f, info.Size(), at)
		if err != nil {
			return 0, err
		}
		x.add(fr, w.position-fr.size)
		at = fr.end()
	}
	if at > end {
		return 0, s.damage(w.position, fmt.Errorf("%w: offset %d lies within a frame", errFrame, end))
	}
	return w.position, nil
}

// saveIndex appends what the index file lacks, or writes it anew if it held something else.
func (s *segment) saveIndex(x *sparseIndex) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.part.mu.RLock()
	entries := x.entries
	s.part.mu.RUnlock()
	if x.saved == len(entries) {
		return nil
	}
	fs := s.part.store.fs
	chunk := appendIndexChunk(nil, indexSeed(s.part.id, s.base), entries[x.saved:])
	file, at, err := s.openIndex(fs, x.saved)
	if err != nil {
		return fmt.Errorf("save index: %w", err)
	}
	_, err = file.WriteAt(chunk, at)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("save index: %w", err)
	}
	x.saved = len(entries)
	return nil
}

// openIndex opens the index file for writing and returns where the next chunk goes.
func (s *segment) openIndex(fs vfs.FS, saved int) (vfs.File, int64, error) {
	if saved == 0 {
		file, err := fs.Create(s.indexPath(), vfs.WriteCategoryUnspecified)
		return file, 0, err
	}
	file, err := fs.OpenReadWrite(s.indexPath(), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

// Sizes of reads.
const (
	pointChunk = 8 << 10
	scanChunk  = 256 << 10
)

// frameWindow reads consecutive frames of one segment.
type frameWindow struct {
	seg      *segment
	position int64  // in the file, of buf
	buf      []byte // read and not yet decoded
	chunk    int    // how much is read at once
}

// next returns the frame at the window's position, which must have base. The file counts size bytes; a frame beyond is
// damage. The frame aliases a buffer that is never reused.
func (w *frameWindow) next(f io.ReaderAt, size int64, base Offset) (frame, error) {
	if err := w.fill(f, size, frameHeaderSize); err != nil {
		return frame{}, err
	}
	need, err := frameSize(w.buf)
	if err != nil {
		return frame{}, w.seg.damage(w.position, err)
	}
	if err := w.fill(f, size, need); err != nil {
		return frame{}, err
	}
	fr, err := decodeFrame(w.buf[:need], w.seg.part.seed)
	if err == nil && fr.base != base {
		err = fmt.Errorf("%w: offset %d stands where %d belongs", errFrame, fr.base, base)
	}
	if err != nil {
		return frame{}, w.seg.damage(w.position, err)
	}
	w.position += need
	w.buf = w.buf[need:]
	return fr, nil
}

func (w *frameWindow) fill(f io.ReaderAt, size, need int64) error {
	have := int64(len(w.buf))
	if have >= need {
		return nil
	}
	left := size - w.position
	if left < need {
		return w.seg.damage(w.position, fmt.Errorf("%w: %d bytes needed, %d left", io.ErrUnexpectedEOF, need, max(left, 0)))
	}
	buf := make([]byte, min(max(need, int64(w.chunk)), left))
	copy(buf, w.buf)
	n, err := f.ReadAt(buf[have:], w.position+have)
	if err != nil && (err != io.EOF || int64(n) < need-have) {
		return w.seg.damage(w.position+have+int64(n), fmt.Errorf("read: %w", err))
	}
	w.buf = buf[:have+int64(n)]
	return nil
}
