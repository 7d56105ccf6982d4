package api

import (
	"bytes"
	"errors"
	"io"

	"kalamlog.dev/kalam/internal/problem"
)

// bufferBytes is how much of a body is read at once, and how much of a reply is collected before it is sent.
const bufferBytes = 64 << 10

// rowScanner splits a body into the JSON texts of its rows, with memory for one row and bufferBytes. A body is a JSON
// array of objects, or objects one after the other with white space between them: NDJSON, a single object.
type rowScanner struct {
	r        io.Reader
	buf      []byte // buf[pos:] is read and not yet taken
	pos      int
	base     int64 // place of buf[0] in the body
	err      error // of r, io.EOF at its end
	maxRow   int
	sequence bool // an array is no sequence of rows: the content type says NDJSON
	inArray  bool
	rows     int64 // begun so far
	frame    framer
}

// newRowScanner reads rows of at most maxRow bytes from r, using buf's memory first. With sequence set a body that is
// an array is refused.
func newRowScanner(r io.Reader, buf []byte, maxRow int, sequence bool) *rowScanner {
	return &rowScanner{r: r, buf: buf[:0], maxRow: maxRow, sequence: sequence}
}

// next returns the text of the next row, valid until the call after it, and io.EOF after the last. Other errors are
// problems that name the row, or those of the reader.
func (s *rowScanner) next() ([]byte, error) {
	c, err := s.between()
	if err != nil {
		return nil, err
	}
	s.rows++
	if c != '{' {
		return nil, s.broken(s.pos, "a row is a JSON object, this begins with %q", c)
	}
	return s.object()
}

// between moves to the first byte of the next row and returns it.
func (s *rowScanner) between() (byte, error) {
	first := s.base == 0 && s.pos == 0 && s.rows == 0
	c, err := s.peek()
	if first && err == nil && c == 0xEF {
		c, err = s.skipByteOrderMark()
	}
	if first && err == nil && c == '[' && !s.sequence {
		s.inArray = true
		s.pos++
		if c, err = s.peek(); err == nil && c == ']' {
			return 0, s.endArray()
		}
		return c, s.within(err)
	}
	if !s.inArray {
		return c, err
	}
	switch {
	case err != nil:
		return 0, s.within(err)
	case c == ']':
		return 0, s.endArray()
	case c != ',':
		return 0, s.broken(s.pos, "%q after row %d, where a comma or ] is due", c, s.rows)
	}
	s.pos++
	c, err = s.peek()
	return c, s.within(err)
}

// within says that the body must not end here.
func (s *rowScanner) within(err error) error {
	if errors.Is(err, io.EOF) {
		return s.broken(s.pos, "the body ends within the array")
	}
	return err
}

func (s *rowScanner) endArray() error {
	s.pos++
	s.inArray = false
	c, err := s.peek()
	if err == nil {
		return s.broken(s.pos, "%q after the end of the array", c)
	}
	return err
}

func (s *rowScanner) skipByteOrderMark() (byte, error) {
	for len(s.buf)-s.pos < 3 && s.fill() == nil {
	}
	if bytes.HasPrefix(s.buf[s.pos:], []byte("\xEF\xBB\xBF")) {
		s.pos += 3
	}
	return s.peek()
}

// peek skips white space and returns the next byte without taking it.
func (s *rowScanner) peek() (byte, error) {
	for {
		for ; s.pos < len(s.buf); s.pos++ {
			switch c := s.buf[s.pos]; c {
			case ' ', '\t', '\r', '\n':
			default:
				return c, nil
			}
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
}

// object takes the object that begins at pos.
func (s *rowScanner) object() ([]byte, error) {
	s.frame.reset()
	for {
		n, err := s.frame.scan(s.buf[s.pos:])
		if err != nil {
			return nil, s.broken(s.pos+s.frame.at, "%s", problem.As(err).Message)
		}
		if n > 0 && n <= s.maxRow {
			row := s.buf[s.pos : s.pos+n : s.pos+n]
			s.pos += n
			return row, nil
		}
		if n > 0 || len(s.buf)-s.pos > s.maxRow {
			return nil, s.endless(problem.New(problem.BodyTooLarge, "%sit is larger than %d bytes", rowPrefix(s.rows), s.maxRow).
				WithHint("limits.row is the most that a row may take"))
		}
		if err := s.fill(); errors.Is(err, io.EOF) {
			return nil, s.endless(s.broken(len(s.buf), "the body ends within it"))
		} else if err != nil {
			return nil, err
		}
	}
}

// endless returns err, which says that a row has no end, or what breaks the row before.
func (s *rowScanner) endless(err error) error {
	var d rowDecoder
	text := s.buf[s.pos:]
	if at, fault := d.members(text, nil); fault != nil && at < len(text) {
		return s.broken(s.pos+at, "%s", problem.As(fault).Message)
	}
	return err
}

// fill reads more, making room first: by moving what is not taken to the front, and by growing when a row needs it.
func (s *rowScanner) fill() error {
	if s.err != nil {
		return s.err
	}
	if s.pos > 0 && len(s.buf) == cap(s.buf) {
		s.base += int64(s.pos)
		s.buf = s.buf[:copy(s.buf, s.buf[s.pos:])]
		s.pos = 0
	}
	if len(s.buf) == cap(s.buf) {
		grown := make([]byte, len(s.buf), max(512, 2*cap(s.buf)))
		copy(grown, s.buf)
		s.buf = grown
	}
	for range maxEmptyReads {
		n, err := s.r.Read(s.buf[len(s.buf):cap(s.buf)])
		s.buf = s.buf[:len(s.buf)+n]
		s.err = err
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	s.err = io.ErrNoProgress
	return s.err
}

const maxEmptyReads = 100

// broken reports bad JSON at buf[at].
func (s *rowScanner) broken(at int, format string, args ...any) *problem.Error {
	p := problem.New(problem.BadJSON, format, args...)
	p.Message = rowPrefix(s.rows) + p.Message
	return p.WithHint("byte %d of the body", s.base+int64(at)+1)
}
