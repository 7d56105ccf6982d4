package history

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Load reads back what a Recorder wrote to dir: to judge a run again.
func Load(dir string) (ops []Op, trails []*Trail, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return nil, nil, err
	}
	for _, path := range paths {
		l := loader{open: map[int]int{}}
		if err := l.read(path); err != nil {
			return nil, nil, fmt.Errorf("load %s: %w", path, err)
		}
		ops = append(ops, l.ops...)
		if l.trail != nil {
			trails = append(trails, l.trail)
		}
	}
	slices.SortStableFunc(ops, func(a, b Op) int { return cmp.Compare(a.Invoke, b.Invoke) })
	return ops, trails, nil
}

// loader reads one file, which is a client's or a reader's.
type loader struct {
	ops   []Op
	open  map[int]int // index in ops by id
	trail *Trail
}

func (l *loader) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if err := l.line(lines.Bytes()); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (l *loader) line(raw []byte) error {
	var head struct{ Event, How, Reader string }
	if err := json.Unmarshal(raw, &head); err != nil {
		return err
	}
	switch {
	case head.How != "":
		l.trail = new(Trail)
		return json.Unmarshal(raw, l.trail)
	case head.Reader != "":
		var s Seen
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		if l.trail == nil {
			return fmt.Errorf("%s has no first line", s.Reader)
		}
		l.trail.Seen = append(l.trail.Seen, s)
		return nil
	}
	var op Op
	if err := json.Unmarshal(raw, &op); err != nil {
		return err
	}
	if head.Event == "invoke" {
		op.Outcome, op.Return = Info, Never
		l.open[op.ID] = len(l.ops)
		l.ops = append(l.ops, op)
		return nil
	}
	i, ok := l.open[op.ID]
	if !ok {
		return fmt.Errorf("operation %d of %s returned before it began", op.ID, op.Client)
	}
	if op.Outcome == Info {
		op.Return = Never
	}
	l.ops[i] = op
	return nil
}
