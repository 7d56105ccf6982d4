package api

import "kalamlog.dev/kalam/internal/problem"

// maxDepth bounds how deep arrays and objects nest in a row.
const maxDepth = 512

// framer finds the end of one JSON object in a text that comes in pieces. It checks what it needs to: that brackets
// match and that strings hold no raw control characters, so that a broken row is not searched for its end in all
// the rows after it. The values themselves are checked when they are decoded.
type framer struct {
	at       int // next byte to look at
	inString bool
	escaped  bool
	open     []byte // the closing brackets that are due, innermost last
}

func (f *framer) reset() { *f = framer{open: f.open[:0]} }

// scan looks at text from where it stopped and returns the length of the object, or 0 if its end is not in text yet.
// text begins with '{'. The error says what is wrong at byte f.at.
func (f *framer) scan(text []byte) (int, error) {
	for ; f.at < len(text); f.at++ {
		c := text[f.at]
		if f.inString {
			if err := f.stringByte(c); err != nil {
				return 0, err
			}
			continue
		}
		switch c {
		case '"':
			f.inString = true
		case '{', '[':
			if len(f.open) == maxDepth {
				return 0, problem.New(problem.BadJSON, "arrays and objects nest deeper than %d", maxDepth)
			}
			f.open = append(f.open, c+2) // '}' and ']' follow their opening brackets by 2 in ASCII
		case '}', ']':
			if f.open[len(f.open)-1] != c {
				return 0, problem.New(problem.BadJSON, "%q where %q is due", c, f.open[len(f.open)-1])
			}
			if f.open = f.open[:len(f.open)-1]; len(f.open) == 0 {
				return f.at + 1, nil
			}
		}
	}
	return 0, nil
}

func (f *framer) stringByte(c byte) error {
	switch {
	case f.escaped:
		f.escaped = false
	case c == '\\':
		f.escaped = true
	case c == '"':
		f.inString = false
	case c < ' ':
		return problem.New(problem.BadJSON, "a string is not closed before its line ends, or holds a raw control character")
	}
	return nil
}
