package materializer

import (
	"errors"
	"fmt"
	"iter"
	"sync"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
)

// View is the state at one position. It must be closed; an open View keeps old versions of rows on disk. Safe for concurrent use.
type View struct {
	snapshot storage.Snapshot
	catalog  *Catalog
	at       checkpoint
	once     sync.Once
	closed   error
}

// KeyedRow is a current row. Its bytes are the caller's to keep.
type KeyedRow struct {
	Key       []byte
	Row       Row
	Raw       []byte
	Version   log.Offset // offset of its last change
	Timestamp int64      // of its last change, microseconds
}

// View returns the state as of the last commit. It is cheap.
func (m *Materializer) View() (*View, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.backend == nil {
		return nil, storage.ErrClosed
	}
	snapshot, err := m.backend.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("open view: %w", err)
	}
	return &View{snapshot: snapshot, catalog: m.Catalog(), at: m.checkpoint}, nil
}

// Catalog returns the catalog as of the view.
func (v *View) Catalog() *Catalog { return v.catalog }

// Position returns the position that the view shows: everything up to it and nothing after.
func (v *View) Position() log.Position { return v.at.position() }

// End returns the end offset of p at the view's position.
func (v *View) End(p log.Partition) (log.Offset, error) { return readEnd(v.snapshot, p) }

// Row returns the row of t with an encoded key, or a *problem.Error KeyNotFound. t is a table of the view's catalog, and no stream.
func (v *View) Row(t *Table, p log.PartitionID, key []byte) (KeyedRow, error) {
	return rowIn(v.snapshot, t, p, key)
}

// Row returns the newest row of t with an encoded key, as View.Row does, and a position that it includes. It takes no snapshot, which costs more
// than the read.
func (m *Materializer) Row(t *Table, p log.PartitionID, key []byte) (KeyedRow, log.Position, error) {
	m.mu.RLock()
	backend, at := m.backend, m.checkpoint
	m.mu.RUnlock()
	if backend == nil {
		return KeyedRow{}, log.Position{}, storage.ErrClosed
	}
	row, err := rowIn(backend, t, p, key)
	return row, at.position(), err
}

func rowIn(r storage.Reader, t *Table, p log.PartitionID, key []byte) (KeyedRow, error) {
	raw, err := r.Value(statePartition(t.ID, p), key)
	if errors.Is(err, storage.ErrNotFound) {
		return KeyedRow{}, problem.New(problem.KeyNotFound, "key %s does not exist in %s", keyText(t.Schema(), key), t.QualifiedName())
	}
	if err != nil {
		return KeyedRow{}, explain(t, err)
	}
	return keyedRow(t, key, raw)
}

// explain makes a user's error of a partition that a dropped table had.
func explain(t *Table, err error) error {
	if errors.Is(err, storage.ErrNoPartition) {
		if t.Kind == Stream {
			return problem.New(problem.Unsupported, "%s is a stream: it has no current rows", t.QualifiedName()).Because(err)
		}
		return problem.New(problem.UnknownTable, "table %s does not exist", t.QualifiedName()).Because(err)
	}
	if errors.Is(err, storage.ErrStale) {
		return problem.New(problem.Overloaded, "%s changed too much while it was read", t.QualifiedName()).
			WithHint("read it again, fewer rows at a time").Because(err)
	}
	return fmt.Errorf("read %s: %w", t.QualifiedName(), err)
}

func keyedRow(t *Table, key, raw []byte) (KeyedRow, error) {
	state, timestamp, err := decodeState(raw)
	if err != nil {
		return KeyedRow{}, fmt.Errorf("read %s: %w", t.QualifiedName(), err)
	}
	row, err := t.DecodeRow(state.raw)
	if err != nil {
		return KeyedRow{}, fmt.Errorf("read %s: %w", t.QualifiedName(), err)
	}
	return KeyedRow{Key: key, Row: row, Raw: state.raw, Version: state.version, Timestamp: timestamp}, nil
}

// scanChunk is how much memory Scan takes at a time for the rows it hands out.
const scanChunk = 32 << 10

// Scan yields the rows of a partition of t in key order; r limits it to encoded keys, from storage.Range's Start to before its End. An error ends it.
func (v *View) Scan(t *Table, p log.PartitionID, r storage.Range) iter.Seq2[KeyedRow, error] {
	return func(yield func(KeyedRow, error) bool) {
		var chunk []byte
		for e, err := range v.snapshot.Scan(statePartition(t.ID, p), r) {
			if err != nil {
				yield(KeyedRow{}, explain(t, err))
				return
			}
			var key, raw []byte
			chunk, key, raw = keep(chunk, e)
			row, err := keyedRow(t, key, raw)
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// keep copies e behind what is in chunk, or into a new chunk if there is no room: callers may hold on to rows, and one chunk for many is cheap.
func keep(chunk []byte, e storage.Entry) (grown, key, value []byte) {
	n := len(e.Key) + len(e.Value)
	if cap(chunk)-len(chunk) < n {
		chunk = make([]byte, 0, max(n, scanChunk))
	}
	at := len(chunk)
	chunk = append(append(chunk, e.Key...), e.Value...)
	return chunk, chunk[at : at+len(e.Key) : at+len(e.Key)], chunk[at+len(e.Key) : at+n : at+n]
}

// Close releases the view. It is idempotent.
func (v *View) Close() error {
	v.once.Do(func() { v.closed = v.snapshot.Close() })
	return v.closed
}
