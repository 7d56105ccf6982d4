package materializer

import (
	"container/list"
	"encoding/binary"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

// maxPrograms bounds the compiled expressions that apply remembers.
const maxPrograms = 1024

// programs is a least-recently-used memory of the expressions that apply has compiled: the same statements come again and again. Used from one
// goroutine. It cannot change what apply answers.
type programs struct {
	byKey map[string]*list.Element
	order *list.List // front: used last
	key   []byte
}

type programEntry struct {
	key     string
	program *expr.Program
}

func newPrograms() *programs {
	return &programs{byKey: map[string]*list.Element{}, order: list.New()}
}

// compile returns the program of an encoded expression over rows of t's newest schema. The error is a *problem.Error, or a decoding error.
func (p *programs) compile(t *Table, encoded []byte) (*expr.Program, error) {
	p.key = binary.LittleEndian.AppendUint32(p.key[:0], uint32(t.ID))
	p.key = binary.LittleEndian.AppendUint32(p.key, t.Schema().Version)
	p.key = append(p.key, encoded...)
	if e, ok := p.byKey[string(p.key)]; ok {
		p.order.MoveToFront(e)
		return e.Value.(*programEntry).program, nil
	}
	node, err := expr.Decode(encoded)
	if err != nil {
		return nil, problem.New(problem.BadRequest, "an expression that does not decode").Because(err)
	}
	program, err := expr.Compile(node, t.plan().fields)
	if err != nil {
		return nil, err
	}
	entry := &programEntry{key: string(p.key), program: program}
	p.byKey[entry.key] = p.order.PushFront(entry)
	if p.order.Len() > maxPrograms {
		oldest := p.order.Back()
		p.order.Remove(oldest)
		delete(p.byKey, oldest.Value.(*programEntry).key)
	}
	return program, nil
}
