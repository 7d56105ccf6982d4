package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Recorder keeps a run's history in memory and in a directory. Safe for concurrent use.
type Recorder struct {
	dir   string
	began time.Time

	mu     sync.Mutex
	files  map[string]*file
	ops    []*Op
	trails []*Trail
	acked  map[string]int64 // by table, when the latest acknowledged write began
	err    error            // the first one
}

type file struct {
	f *os.File
	w *bufio.Writer
}

// NewRecorder records into files of dir, which must exist. The clock of the run starts now.
func NewRecorder(dir string) *Recorder {
	return &Recorder{dir: dir, began: time.Now(), files: map[string]*file{}, acked: map[string]int64{}}
}

// Now returns the nanoseconds since the start of the run.
func (r *Recorder) Now() int64 { return int64(time.Since(r.began)) }

// Invoke records that op begins, now.
func (r *Recorder) Invoke(op *Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.Invoke, op.Offset = r.Now(), -1
	r.ops = append(r.ops, op)
	r.writeLocked(op.Client, struct {
		Event string `json:"event"`
		*Op
	}{"invoke", op})
}

// Return records that op has ended, now, with its outcome.
func (r *Recorder) Return(op *Op, outcome Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.Outcome, op.Return = outcome, r.Now()
	r.writeLocked(op.Client, struct {
		Event Outcome `json:"event"`
		*Op
	}{outcome, op})
	switch {
	case outcome == Info:
		op.Return = Never
	case outcome == OK && op.Kind.Writes():
		r.acked[op.Table] = max(r.acked[op.Table], op.Invoke)
	}
}

// AckedSince reports whether a write that began after a moment was acknowledged on each of the tables.
func (r *Recorder) AckedSince(moment int64, tables ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range tables {
		if r.acked[t] < moment {
			return false
		}
	}
	return true
}

// Start records a new reader.
func (r *Recorder) Start(t *Trail) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trails = append(r.trails, t)
	r.writeLocked(t.Name, t)
}

// See records what a reader was shown, now.
func (r *Recorder) See(t *Trail, s Seen) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Reader, s.At = t.Name, r.Now()
	t.Seen = append(t.Seen, s)
	r.writeLocked(t.Name, &s)
}

func (r *Recorder) writeLocked(name string, line any) {
	if r.err != nil {
		return
	}
	f, err := r.fileLocked(name)
	if err == nil {
		err = json.NewEncoder(f.w).Encode(line)
	}
	if err != nil {
		r.err = fmt.Errorf("record history of %s: %w", name, err)
	}
}

func (r *Recorder) fileLocked(name string) (*file, error) {
	if f := r.files[name]; f != nil {
		return f, nil
	}
	f, err := os.Create(filepath.Join(r.dir, name+".jsonl"))
	if err != nil {
		return nil, err
	}
	r.files[name] = &file{f: f, w: bufio.NewWriter(f)}
	return r.files[name], nil
}

// Snapshot returns copies of the operations. Those that have not returned are of unknown outcome. Call it when the clients
// have ended.
func (r *Recorder) Snapshot() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	ops := make([]Op, len(r.ops))
	for i, op := range r.ops {
		ops[i] = *op
		if op.Outcome == "" {
			ops[i].Outcome, ops[i].Return = Info, Never
		}
	}
	return ops
}

// Trails returns the readers. Call it when they have ended.
func (r *Recorder) Trails() []*Trail {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trails
}

// Close writes everything out. The error is the first of all.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	errs := []error{r.err}
	for _, f := range r.files {
		errs = append(errs, f.w.Flush(), f.f.Close())
	}
	clear(r.files)
	return errors.Join(errs...)
}
