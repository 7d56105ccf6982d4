package kafka

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// layout is the shape of a request's body in all its versions. Bodies are held against it before they are decoded: a decoder believes the counts it
// reads (it loops over four thousand million tags and allocates arrays up front), a layout only what the bytes bear out.
//
// As text it is a list of fields in wire order: i8 i16 i32 i64 bool uuid str nstr (nullable) bytes nbytes; "[ f ]" an array of the primitive f, "( f g )" one of
// structs. "v3:f" is there from version 3 on, "v0-3:f" in 0 to 3. Tagged fields, which end every struct of a flexible version, are implied; "!1" refuses
// the tag 1 where a nested struct would hide from the check.
type layout []field

type field struct {
	kind     fieldKind
	from, to int16
	width    int    // of fixed
	tag      uint32 // of refused tags
	elems    layout
}

type fieldKind uint8

const (
	fixedField fieldKind = iota
	stringField
	nullableStringField
	bytesField
	nullableBytesField
	primitivesField
	structsField
	refusedTagField
)

// parseLayout reads a layout's text. An error is a fault in the text of a key's file.
func parseLayout(text string) (layout, error) {
	for _, bracket := range []string{"[", "]", "(", ")"} {
		text = strings.ReplaceAll(text, bracket, bracket+" ")
	}
	text = strings.NewReplacer("]", " ]", ")", " )").Replace(text)
	l, rest, err := parseFields(strings.Fields(text), "")
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("layout has %q left over", rest)
	}
	return l, err
}

func parseFields(tokens []string, end string) (layout, []string, error) {
	var l layout
	for len(tokens) > 0 {
		token := tokens[0]
		tokens = tokens[1:]
		if token == end {
			return l, tokens, nil
		}
		f, err := parseField(token)
		if err != nil {
			return nil, nil, err
		}
		if closing := map[fieldKind]string{primitivesField: "]", structsField: ")"}[f.kind]; closing != "" {
			if f.elems, tokens, err = parseFields(tokens, closing); err != nil {
				return nil, nil, err
			}
		}
		l = append(l, f)
	}
	if end != "" {
		return nil, nil, fmt.Errorf("layout lacks a %q", end)
	}
	return l, nil, nil
}

func parseField(token string) (field, error) {
	f := field{to: math.MaxInt16}
	if gate, kind, gated := strings.Cut(token, ":"); gated {
		if err := f.parseGate(strings.TrimPrefix(gate, "v")); err != nil {
			return f, err
		}
		token = kind
	}
	if tag, refused := strings.CutPrefix(token, "!"); refused {
		n, err := strconv.ParseUint(tag, 10, 32)
		f.kind, f.tag = refusedTagField, uint32(n)
		return f, err
	}
	widths := map[string]int{"i8": 1, "bool": 1, "i16": 2, "i32": 4, "i64": 8, "uuid": 16}
	kinds := map[string]fieldKind{
		"str": stringField, "nstr": nullableStringField, "bytes": bytesField, "nbytes": nullableBytesField,
		"[": primitivesField, "(": structsField,
	}
	if f.width = widths[token]; f.width > 0 {
		return f, nil
	}
	kind, known := kinds[token]
	if !known {
		return f, fmt.Errorf("layout has an unknown field %q", token)
	}
	f.kind = kind
	return f, nil
}

func (f *field) parseGate(gate string) error {
	from, to, closed := strings.Cut(gate, "-")
	n, err := strconv.ParseInt(from, 10, 16)
	if err != nil {
		return fmt.Errorf("layout has a bad version %q", gate)
	}
	f.from = int16(n)
	if closed {
		if n, err = strconv.ParseInt(to, 10, 16); err != nil {
			return fmt.Errorf("layout has a bad version %q", gate)
		}
		f.to = int16(n)
	}
	return nil
}

// check reports whether body is a whole request of the version. What follows it is nobody's business.
func (l layout) check(body []byte, version int16, flexible bool) bool {
	w := walker{src: body, version: version, flexible: flexible}
	w.structure(l)
	return !w.bad
}

// walker passes over a body. Once bad it stays bad and its source is empty.
type walker struct {
	src      []byte
	version  int16
	flexible bool
	bad      bool
}

func (w *walker) fail() { w.src, w.bad = nil, true }

func (w *walker) skip(n int) {
	if n < 0 || n > len(w.src) {
		w.fail()
		return
	}
	w.src = w.src[n:]
}

func (w *walker) uvarint() uint32 {
	n, used := binary.Uvarint(w.src)
	if used <= 0 || used > 5 || n > math.MaxUint32 {
		w.fail()
		return 0
	}
	w.src = w.src[used:]
	return uint32(n)
}

// length reads a length or count of the given fixed width, -1 for null.
func (w *walker) length(width int) int {
	if w.flexible {
		n := int64(w.uvarint()) - 1
		if n > math.MaxInt32 {
			w.fail()
		}
		return int(n)
	}
	if len(w.src) < width {
		w.fail()
		return 0
	}
	b := w.src
	w.src = w.src[width:]
	if width == 2 {
		return int(int16(binary.BigEndian.Uint16(b)))
	}
	return int(int32(binary.BigEndian.Uint32(b)))
}

func (w *walker) structure(l layout) {
	for i := range l {
		if w.bad {
			return
		}
		if f := &l[i]; w.version >= f.from && w.version <= f.to {
			w.field(f)
		}
	}
	if w.flexible && !w.bad {
		w.tags(l)
	}
}

func (w *walker) field(f *field) {
	switch f.kind {
	case fixedField:
		w.skip(f.width)
	case stringField:
		w.skip(w.length(2))
	case nullableStringField:
		w.skip(max(0, w.length(2)))
	case bytesField:
		w.skip(w.length(4))
	case nullableBytesField:
		w.skip(max(0, w.length(4)))
	case primitivesField:
		for n := w.count(); n > 0 && !w.bad; n-- {
			w.field(&f.elems[0])
		}
	case structsField:
		for n := w.count(); n > 0 && !w.bad; n-- {
			w.structure(f.elems)
		}
	case refusedTagField:
	}
}

// count reads an array's length; each element takes at least a byte.
func (w *walker) count() int {
	n := w.length(4)
	if n > len(w.src) {
		w.fail()
		return 0
	}
	return n
}

func (w *walker) tags(l layout) {
	for n := w.uvarint(); n > 0 && !w.bad; n-- {
		tag := w.uvarint()
		for i := range l {
			if l[i].kind == refusedTagField && l[i].tag == tag {
				w.fail()
			}
		}
		w.skip(int(w.uvarint()))
	}
}
