package log

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// dropQueue removes the segments of dropped tables once a checkpoint covers the drop: until then a restart may apply entries
// from before it again, and those write to the table. A marker file in segments/ survives a restart:
//
//	dropped.<table>.<index>
type dropQueue struct {
	store *store

	mu      sync.Mutex
	pending map[TableID]Index
	held    int // snapshots being streamed or taken up, which need every segment
}

const dropPrefix = "dropped."

func newDropQueue(s *store) *dropQueue {
	return &dropQueue{store: s, pending: make(map[TableID]Index)}
}

func dropName(t TableID, index Index) string {
	return fmt.Sprintf("%s%d.%d", dropPrefix, t, index)
}

func parseDropName(name string) (TableID, Index, bool) {
	rest, ok := strings.CutPrefix(name, dropPrefix)
	if !ok {
		return 0, 0, false
	}
	table, index, _ := strings.Cut(rest, ".")
	t, err := strconv.ParseUint(table, 10, 32)
	i, ok := parseDigits(index)
	return TableID(t), Index(i), ok && err == nil
}

// load takes up the markers.
func (q *dropQueue) load() error {
	names, err := q.store.fs.List(q.store.dir)
	if err != nil && !oserror.IsNotExist(err) {
		return fmt.Errorf("list segment folder: %w", err)
	}
	for _, name := range names {
		if t, index, ok := parseDropName(name); ok {
			q.pending[t] = index
		}
	}
	return nil
}

// add marks t as dropped by the entry at index or one before. Its readers end at once.
func (q *dropQueue) add(t TableID, index Index) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	f, err := q.store.fs.Create(q.store.fs.PathJoin(q.store.dir, dropName(t, index)), vfs.WriteCategoryUnspecified)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return fmt.Errorf("mark table %d as dropped: %w", t, err)
	}
	q.pending[t] = index
	tab := q.store.table(t)
	tab.dropped.Store(true)
	tab.wake()
	return nil
}

// run removes the tables whose drop the durable checkpoint covers.
func (q *dropQueue) run(checkpoint Index) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held > 0 {
		return nil
	}
	for t, index := range q.pending {
		if index > checkpoint {
			continue
		}
		if err := q.store.removeTable(t); err != nil {
			return err
		}
		marker := q.store.fs.PathJoin(q.store.dir, dropName(t, index))
		if err := q.store.fs.Remove(marker); err != nil && !oserror.IsNotExist(err) {
			return fmt.Errorf("remove mark of dropped table %d: %w", t, err)
		}
		delete(q.pending, t)
	}
	return nil
}

// Tables lists the tables that have segments, dropped ones excluded, in no order. With the catalog beside it one finds what a
// drop left behind whose marker was lost with the power.
func (l *Log) Tables() ([]TableID, error) {
	names, err := l.store.fs.List(l.store.dir)
	if err != nil && !oserror.IsNotExist(err) {
		return nil, fmt.Errorf("list segment folder: %w", err)
	}
	l.replica.drops.mu.Lock()
	defer l.replica.drops.mu.Unlock()
	var tables []TableID
	for _, name := range names {
		id, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			continue // a marker
		}
		if _, dropped := l.replica.drops.pending[TableID(id)]; !dropped {
			tables = append(tables, TableID(id))
		}
	}
	return tables, nil
}

// hold keeps every segment until release.
func (q *dropQueue) hold() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held++
}

func (q *dropQueue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held--
}

// removeTable removes t's files. Readers that still use one read on from what they have open.
func (s *store) removeTable(id TableID) error {
	s.mu.Lock()
	t := s.tables[id]
	delete(s.tables, id)
	s.mu.Unlock()
	if t != nil {
		t.dropped.Store(true)
		s.forgetTable(t)
	}
	if err := s.fs.RemoveAll(s.tableDir(id)); err != nil && !oserror.IsNotExist(err) {
		return fmt.Errorf("remove segments of table %d: %w", id, err)
	}
	return nil
}

func (s *store) forgetTable(t *table) {
	s.unsynced.Lock()
	defer s.unsynced.Unlock()
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, p := range t.parts {
		p.mu.RLock()
		for _, seg := range p.segments {
			delete(s.unsynced.segments, seg)
			s.files.forget(seg)
		}
		p.mu.RUnlock()
		delete(s.unsynced.dirs, p.dir)
	}
	delete(s.unsynced.dirs, s.tableDir(t.id))
}
