package expr

import "encoding/binary"

// The first byte of each encoded node.
const (
	tagNil byte = iota
	tagLiteral
	tagColumn
	tagParam
	tagUnary
	tagBinary
	tagIn
	tagBetween
	tagCase
	tagCast
	tagCall
	tagArray
)

// Encode returns the binary form of n: a version byte, then the tree in prefix order. Equal trees have equal bytes.
func Encode(n Node) []byte { return appendNode([]byte{nodeVersion}, n) }

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendFlag(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func appendNodes(dst []byte, ns []Node) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ns)))
	for _, n := range ns {
		dst = appendNode(dst, n)
	}
	return dst
}

func appendNode(dst []byte, n Node) []byte {
	switch n := n.(type) {
	case nil:
		return append(dst, tagNil)
	case Literal:
		return AppendValue(append(dst, tagLiteral), n.Value)
	case Column:
		return appendString(append(dst, tagColumn), n.Name)
	case Param:
		return binary.AppendUvarint(append(dst, tagParam), uint64(n.Number))
	case Unary:
		return appendNode(appendString(append(dst, tagUnary), n.Op), n.X)
	case Binary:
		return appendNode(appendNode(appendString(append(dst, tagBinary), n.Op), n.L), n.R)
	case In:
		return appendNodes(appendNode(appendFlag(append(dst, tagIn), n.Not), n.X), n.List)
	case Between:
		dst = appendNode(appendFlag(append(dst, tagBetween), n.Not), n.X)
		return appendNode(appendNode(dst, n.Low), n.High)
	case Case:
		return appendCase(dst, n)
	case Cast:
		return appendNode(appendType(appendFlag(append(dst, tagCast), n.Try), n.Type), n.X)
	case Call:
		return appendNodes(appendString(append(dst, tagCall), n.Name), n.Args)
	case Array:
		return appendNodes(append(dst, tagArray), n.Elems)
	}
	panic("expr: encoding of a foreign node")
}

func appendCase(dst []byte, n Case) []byte {
	dst = appendNode(append(dst, tagCase), n.Operand)
	dst = binary.AppendUvarint(dst, uint64(len(n.Whens)))
	for _, w := range n.Whens {
		dst = appendNode(appendNode(dst, w.Cond), w.Then)
	}
	return appendNode(dst, n.Else)
}

// Decode reads what Encode wrote. The error wraps ErrMalformed. Any input is safe.
func Decode(src []byte) (Node, error) {
	d := decoder{src: src}
	if d.byte() != nodeVersion {
		return nil, ErrMalformed
	}
	n := d.node(0)
	if d.err == nil && d.pos != len(src) {
		d.fail()
	}
	if d.err != nil {
		return nil, d.err
	}
	return n, nil
}

func (d *decoder) flag() bool {
	b := d.byte()
	if b > 1 {
		d.fail()
	}
	return b == 1
}

func (d *decoder) nodes(depth int) []Node {
	n := d.count()
	ns := make([]Node, 0, min(n, 64))
	for range n {
		ns = append(ns, d.node(depth))
		if d.err != nil {
			return nil
		}
	}
	return ns
}

// node reads a node, which must be there.
func (d *decoder) node(depth int) Node {
	n := d.optional(depth)
	if n == nil {
		d.fail()
	}
	return n
}

// optional reads a node or, for tagNil, nil.
func (d *decoder) optional(depth int) Node {
	if depth > maxDepth {
		d.fail()
	}
	depth++
	switch d.byte() {
	case tagNil:
		return nil
	case tagLiteral:
		return Literal{Value: d.value(depth)}
	case tagColumn:
		return Column{Name: d.text()}
	case tagParam:
		return Param{Number: d.number()}
	case tagUnary:
		return Unary{Op: d.text(), X: d.node(depth)}
	case tagBinary:
		return Binary{Op: d.text(), L: d.node(depth), R: d.node(depth)}
	case tagIn:
		return In{Not: d.flag(), X: d.node(depth), List: d.nodes(depth)}
	case tagBetween:
		return Between{Not: d.flag(), X: d.node(depth), Low: d.node(depth), High: d.node(depth)}
	case tagCase:
		return d.caseNode(depth)
	case tagCast:
		return Cast{Try: d.flag(), Type: d.typ(), X: d.node(depth)}
	case tagCall:
		return Call{Name: d.text(), Args: d.nodes(depth)}
	case tagArray:
		return Array{Elems: d.nodes(depth)}
	}
	d.fail()
	return nil
}

func (d *decoder) number() int {
	n := d.uvarint()
	if n == 0 || n > 1<<16 {
		d.fail()
	}
	return int(n)
}

func (d *decoder) caseNode(depth int) Node {
	c := Case{Operand: d.optional(depth)}
	n := d.count()
	for range n {
		w := When{Cond: d.node(depth), Then: d.node(depth)}
		if d.err != nil {
			return nil
		}
		c.Whens = append(c.Whens, w)
	}
	c.Else = d.optional(depth)
	return c
}
