package materializer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
)

// commit writes a step's rows, its checkpoint and the end offsets in one batch, and publishes them: a View has either all of a step or nothing.
func (m *Materializer) commit(s *step, c log.Checkpoint, ends map[log.Partition]log.Offset) error {
	next := checkpoint{Checkpoint: c, group: s.group, catalog: s.catalog.version}
	if next.group == 0 {
		next.group = m.group()
	}
	s.batch.Put(metaPartition, []byte{metaCheckpoint}, appendCheckpoint(nil, next))
	for id, end := range ends {
		if s.catalog.TableByID(id.Table) != nil {
			s.batch.Put(metaPartition, endKey(id), binary.AppendUvarint(nil, uint64(end)))
		}
	}
	before, err := m.publish(s, next, ends)
	if err != nil {
		return fmt.Errorf("commit entry %d: %w", c.Index, err)
	}
	if before != s.catalog {
		m.tellCatalog(s.catalog)
	}
	return nil
}

func (m *Materializer) publish(s *step, next checkpoint, ends map[log.Partition]log.Offset) (before *Catalog, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := s.batch.Commit(); err != nil {
		return nil, err
	}
	maps.Copy(m.ends, ends)
	before = m.catalog.Load()
	if before != s.catalog {
		m.catalog.Store(s.catalog)
		for id := range m.ends {
			if s.catalog.TableByID(id.Table) == nil {
				delete(m.ends, id)
			}
		}
	}
	m.checkpoint = next
	m.remembered = m.dedup.remembered()
	m.metrics.index.Set(float64(next.Index))
	return before, nil
}

func (m *Materializer) group() log.GroupID {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return max(m.checkpoint.group, 1)
}

// load reads the checkpoint, and the catalog and idempotency bounds that belong to it. A store without checkpoint, a new one or one whose Restore was cut
// off, is emptied.
func (m *Materializer) load() error {
	cp, err := readCheckpoint(m.backend)
	if err != nil {
		return err
	}
	if cp.Index == 0 {
		if err := m.clear(); err != nil {
			return err
		}
	} else if err := m.createSystemPartitions(); err != nil {
		return err
	}
	if err := m.addSystemPartitions(); err != nil {
		return err
	}
	catalog, err := loadCatalog(m.backend, cp.catalog)
	if err != nil {
		return err
	}
	if err := m.dedup.open(m.backend); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checkpoint = cp
	m.remembered = m.dedup.remembered()
	m.ends = map[log.Partition]log.Offset{}
	m.catalog.Store(catalog)
	m.metrics.index.Set(float64(cp.Index))
	return nil
}

// readCheckpoint returns the zero checkpoint if there is none.
func readCheckpoint(r storage.Reader) (checkpoint, error) {
	raw, err := r.Value(metaPartition, []byte{metaCheckpoint})
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrNoPartition) {
		return checkpoint{}, nil
	}
	if err != nil {
		return checkpoint{}, fmt.Errorf("read checkpoint: %w", err)
	}
	return decodeCheckpoint(raw)
}

// clear drops everything and makes the partitions that always exist.
func (m *Materializer) clear() error {
	names, err := m.backend.Partitions()
	if err != nil {
		return fmt.Errorf("list state partitions: %w", err)
	}
	batch := m.backend.NewBatch()
	for _, name := range names {
		batch.DropPartition(name)
	}
	batch.CreatePartition(metaPartition)
	if err := batch.Commit(); err != nil {
		return fmt.Errorf("empty the state: %w", err)
	}
	return m.createSystemPartitions()
}

// createSystemPartitions makes the partitions of system tables that are missing: all in an empty state, those that are newer than the release
// that made it in another.
func (m *Materializer) createSystemPartitions() error {
	for _, t := range systemTables() {
		if err := m.backend.CreatePartition(statePartition(t.ID, 0)); err != nil {
			return fmt.Errorf("make state of %s: %w", t.QualifiedName(), err)
		}
	}
	return nil
}

// addSystemPartitions makes the state of system tables that an older release, which made the store, did not have.
func (m *Materializer) addSystemPartitions() error {
	for _, t := range systemTables() {
		name := statePartition(t.ID, 0)
		exists, err := m.backend.PartitionExists(name)
		if err == nil && !exists {
			err = m.backend.CreatePartition(name)
		}
		if err != nil {
			return fmt.Errorf("make the state of %s: %w", t.QualifiedName(), err)
		}
	}
	return nil
}

// loadCatalog folds the current rows of the catalog's tables.
func loadCatalog(r storage.Reader, version uint64) (*Catalog, error) {
	c := emptyCatalog()
	for _, id := range []log.TableID{SystemNamespaces, SystemSchemaHistory, SystemTables} {
		for e, err := range r.Scan(statePartition(id, 0), storage.Range{}) {
			if err != nil {
				return nil, fmt.Errorf("read catalog: %w", err)
			}
			state, _, err := decodeState(e.Value)
			if err != nil {
				return nil, fmt.Errorf("read catalog: %w", err)
			}
			if err := c.load(id, e.Key, state.raw); err != nil {
				return nil, fmt.Errorf("read catalog: %w", err)
			}
		}
	}
	c.version = version
	c.sort()
	return c, nil
}

// load adds a row to a catalog that is not shared yet. Rows were checked when they were applied.
func (c *Catalog) load(table log.TableID, key, row []byte) error {
	switch table {
	case SystemNamespaces:
		return c.foldNamespace(key, row)
	case SystemSchemaHistory:
		return c.foldHistory(key)
	}
	t, err := decodeDefinition(c.byID[SystemTables], row)
	if err != nil {
		return err
	}
	if len(t.Versions) == 0 {
		return fmt.Errorf("definition of %s: %w", t.QualifiedName(), ErrDamaged)
	}
	t.prepare()
	c.put(t)
	c.lastID = max(c.lastID, t.ID)
	return nil
}
