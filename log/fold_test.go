package log

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A test batch names partitions and the changes to append to them:
//
//	| table u32 | partition u16 | size u16 | bytes | ...
//
// Its result is the offsets, u64 each. A change that starts with "refuse" makes the whole batch be refused. One that starts with "delete" is no
// change but deletes the prefix that it names.
type write struct {
	p    Partition
	data string
}

func deletion(p Partition, s Start) write {
	return write{p, fmt.Sprintf("delete %d %d", s.Offset, s.Index)}
}

// asDeletion returns the start that a write names.
func asDeletion(data string) (s Start, ok bool) {
	n, _ := fmt.Sscanf(data, "delete %d %d", &s.Offset, &s.Index)
	return s, n == 2
}

func batchOf(writes ...write) []byte {
	var b []byte
	for _, w := range writes {
		b = binary.LittleEndian.AppendUint32(b, uint32(w.p.Table))
		b = binary.LittleEndian.AppendUint16(b, uint16(w.p.ID))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(w.data)))
		b = append(b, w.data...)
	}
	return b
}

func decodeBatch(b []byte) ([]write, error) {
	var writes []write
	for len(b) > 0 {
		if len(b) < 10 {
			return nil, errors.New("test batch is cut off")
		}
		p := Partition{TableID(binary.LittleEndian.Uint32(b)), PartitionID(binary.LittleEndian.Uint16(b[4:]))}
		n := int(binary.LittleEndian.Uint32(b[6:]))
		if len(b) < 10+n {
			return nil, errors.New("test batch is cut off")
		}
		writes = append(writes, write{p, string(b[10 : 10+n])})
		b = b[10+n:]
	}
	return writes, nil
}

func offsetsOf(result []byte) []Offset {
	var offsets []Offset
	for ; len(result) >= 8; result = result[8:] {
		offsets = append(offsets, Offset(binary.LittleEndian.Uint64(result)))
	}
	return offsets
}

// mapFold keeps its state in memory and saves it to a file on Sync, and when told to in between, as a store that flushes on its own
// would.
type mapFold struct {
	fs   vfs.FS
	path string

	mu            sync.Mutex
	beforeDurable func() error
	state         foldState
	closed        bool
	onCommit      func(Checkpoint) error
}

type foldState struct {
	Checkpoint Checkpoint
	Ends       map[string]Offset
	Starts     map[string]Start
	Sums       map[string]uint64 // a running sum of the changes, to see whether replay is exact
}

func newMapFold(fs vfs.FS, path string) *mapFold { return &mapFold{fs: fs, path: path} }

func (f *mapFold) Open(beforeDurable func() error) (Checkpoint, error) {
	f.beforeDurable = beforeDurable
	f.state = foldState{Ends: map[string]Offset{}, Starts: map[string]Start{}, Sums: map[string]uint64{}}
	data, err := readFile(f.fs, f.path)
	if oserror.IsNotExist(err) {
		return Checkpoint{}, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &f.state)
	}
	return f.state.Checkpoint, err
}

func keyOf(p Partition) string { return fmt.Sprintf("%d/%d", p.Table, p.ID) }

func (f *mapFold) Begin() Step {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &mapStep{fold: f, sums: maps.Clone(f.state.Sums), starts: maps.Clone(f.state.Starts)}
}

func (f *mapFold) End(p Partition) (Offset, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state.Ends[keyOf(p)], nil
}

func (f *mapFold) Start(p Partition) (Start, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state.Starts[keyOf(p)], nil
}

func (f *mapFold) Sync() error {
	f.mu.Lock()
	data, err := json.Marshal(f.state)
	f.mu.Unlock()
	if err != nil {
		return err
	}
	if err := f.beforeDurable(); err != nil {
		return err
	}
	return replaceFile(f.fs, f.path, data)
}

func (f *mapFold) Prepare() (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return json.Marshal(f.state)
}

func (f *mapFold) Save(view any, w io.Writer, stop <-chan struct{}) error {
	data, _ := view.([]byte)
	_, err := w.Write(data)
	return err
}

func (f *mapFold) Restore(r io.Reader, stop <-chan struct{}) (Checkpoint, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return Checkpoint{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&f.state); err != nil {
		return Checkpoint{}, err
	}
	return f.state.Checkpoint, replaceFile(f.fs, f.path, data)
}

func (f *mapFold) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errors.New("fold closed twice")
	}
	f.closed = true
	return nil
}

type mapStep struct {
	fold   *mapFold
	sums   map[string]uint64
	starts map[string]Start
}

func (s *mapStep) Apply(meta EntryMeta, payload []byte, out Appender) ([]byte, error) {
	writes, err := decodeBatch(payload)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(writes, func(w write) bool { return len(w.data) >= 6 && w.data[:6] == "refuse" }) {
		return []byte("no"), nil
	}
	var result []byte
	for _, w := range writes {
		if start, ok := asDeletion(w.data); ok {
			if start.Offset > s.starts[keyOf(w.p)].Offset {
				s.starts[keyOf(w.p)] = start
			}
			out.DeletePrefix(w.p, start)
			continue
		}
		offset := out.Append(w.p, []byte(w.data))
		result = binary.LittleEndian.AppendUint64(result, uint64(offset))
		k := keyOf(w.p)
		s.sums[k] = s.sums[k]*31 + uint64(checksum(0, []byte(w.data))) + uint64(offset)
	}
	return result, nil
}

func (s *mapStep) Commit(c Checkpoint, ends map[Partition]Offset) error {
	f := s.fold
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.Checkpoint, f.state.Sums, f.state.Starts = c, s.sums, s.starts
	for p, end := range ends {
		f.state.Ends[keyOf(p)] = end
	}
	if f.onCommit != nil {
		return f.onCommit(c)
	}
	return nil
}
