package materializer

import (
	"errors"
	"fmt"
	"slices"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
)

// step implements log.Step. There is one per Materializer, used again for every Raft update.
type step struct {
	m       *Materializer
	batch   storage.Batch
	catalog *Catalog // with this step's changes
	group   log.GroupID
	parts   map[log.Partition]*part
	meta    *part
	overlay overlay

	// Of the batch at work:
	reader    batchReader
	candidate *Catalog // catalog with the batch's changes
	drafts    []draft
	volume    int // bytes of old and new rows in drafts
	applied   []Applied
	prefetch  prefetch

	applier *applier
	change  []byte
}

// part is a partition that the step has touched.
type part struct {
	id   log.Partition
	name storage.PartitionName
	next log.Offset // of its next change
	made bool       // by this step: the backend does not have it yet
}

// draft is a change of a batch that may still be refused.
type draft struct {
	part   *part
	change Change
	state  []byte // what the state will hold under the key; nil: nothing
	stream bool   // no state at all
}

func newStep(m *Materializer) *step {
	return &step{
		m: m, parts: map[log.Partition]*part{}, meta: &part{name: metaPartition},
		applier: &applier{programs: newPrograms()},
	}
}

// begin starts a new step.
func (s *step) begin() {
	s.batch = s.m.backend.NewBatch()
	s.catalog = s.m.Catalog()
	s.group = 0
	clear(s.parts)
	s.overlay.reset() // a step that failed was not committed
}

// Apply implements log.Step.
func (s *step) Apply(meta log.EntryMeta, payload []byte, out log.Appender) ([]byte, error) {
	s.group = meta.Group
	if err := s.reader.reset(payload); err != nil {
		return nil, err
	}
	if len(s.reader.idempotencyKey) > 0 {
		if done, err := s.replay(meta); done != nil || err != nil {
			return done, err
		}
	}
	refused, err := s.fold(meta)
	if err != nil {
		return nil, err
	}
	if refused != nil {
		s.m.metrics.refused.Inc()
		return refused, nil
	}
	if err := s.accept(meta, out); err != nil {
		return nil, err
	}
	applied := appendApplied(nil, s.applied)
	if key := s.reader.idempotencyKey; len(key) > 0 {
		r := reply{group: meta.Group, index: meta.Index, timestamp: meta.Timestamp, fingerprint: s.reader.fingerprint, applied: applied}
		if err := s.remember(key, r, s.reader.memory); err != nil {
			return nil, err
		}
	}
	s.overlay.mark()
	s.m.metrics.applied.Inc()
	s.m.metrics.changes.Add(float64(len(s.drafts)))
	return appendResult(nil, resultApplied, meta.Group, meta.Index, applied), nil
}

// replay answers a batch whose idempotency key is remembered; nil if it is not.
func (s *step) replay(meta log.EntryMeta) ([]byte, error) {
	r, ok, err := s.remembered(s.reader.idempotencyKey, meta.Timestamp, s.reader.memory)
	if err != nil || !ok {
		return nil, err
	}
	if r.fingerprint != s.reader.fingerprint {
		s.m.metrics.refused.Inc()
		p := problem.New(problem.IdempotencyMismatch, "the idempotency key was used before with another request").
			WithHint("use a new key for a new request")
		return appendRefused(nil, p, &Refusal{Version: problem.NoVersion}), nil
	}
	s.m.metrics.replayed.Inc()
	return appendResult(nil, resultReplayed, r.group, r.index, r.applied), nil
}

// fold works out the drafts of the batch. If it is refused, what it returns is the result and everything is as before.
func (s *step) fold(meta log.EntryMeta) ([]byte, error) {
	s.candidate = s.catalog
	clear(s.drafts)
	s.drafts, s.applied, s.volume = s.drafts[:0], s.applied[:0], 0
	if err := s.prefetch.load(s, s.reader); err != nil {
		return nil, err
	}
	for i := 0; ; i++ {
		m, err := s.reader.next()
		if err != nil {
			return nil, err
		}
		if m == nil {
			return nil, nil
		}
		refused, err := s.mutate(meta, i, m)
		if err != nil {
			return nil, err
		}
		if refused != nil {
			s.rollback()
			r, err := s.refusal(i, m)
			if err != nil {
				return nil, err
			}
			return appendRefused(nil, refused, r), nil
		}
	}
}

// refusal tells about the row that a refused batch's mutation met, as it is without the batch.
func (s *step) refusal(place int, m *rawMutation) (*Refusal, error) {
	r := &Refusal{Mutation: place, Version: problem.NoVersion}
	t := s.catalog.TableByID(m.partition.Table)
	if t == nil || len(m.key) == 0 {
		return r, nil
	}
	_, cur, err := s.row(t, place, m)
	if err != nil {
		return nil, err
	}
	if cur.exists {
		r.Version = int64(cur.version)
	}
	if t.ID >= FirstUserTable {
		r.Key = conflictKey(t.Schema(), m.key)
	}
	return r, nil
}

func (s *step) rollback() {
	s.overlay.rollback()
	for _, d := range slices.Backward(s.drafts) {
		d.part.next = d.change.Offset
	}
}

// mutate drafts the mutation at place, or refuses it.
func (s *step) mutate(meta log.EntryMeta, place int, m *rawMutation) (*problem.Error, error) {
	t := s.catalog.TableByID(m.partition.Table)
	if t == nil {
		return problem.New(problem.UnknownTable, "the table with id %d does not exist any more", m.partition.Table), nil
	}
	at, cur, err := s.row(t, place, m)
	if err != nil {
		return nil, err
	}
	e, err := s.applier.apply(t, cur, m)
	if err != nil || e.refused != nil {
		return e.refused, err
	}
	if e.op == 0 {
		s.applied = append(s.applied, Applied{})
		return nil, nil
	}
	if s.volume += len(cur.raw) + len(e.row); s.volume > maxVolume {
		return errVolume(t), nil
	}
	s.draft(meta, t, at, cur, m, e)
	if isCatalog(t.ID) {
		return s.foldCatalog(&s.drafts[len(s.drafts)-1].change)
	}
	if t.ID == SystemLogStarts && e.op != RowDeleted {
		return s.checkStart(&s.drafts[len(s.drafts)-1].change)
	}
	return nil, nil
}

// row returns the partition and the current row of the mutation at place; a partition that t does not have is nil.
func (s *step) row(t *Table, place int, m *rawMutation) (at *part, cur rowState, err error) {
	if int(m.partition.ID) >= t.Partitions {
		return nil, rowState{}, nil
	}
	if at, err = s.partOf(t, m.partition); err != nil || t.Kind == Stream {
		return at, rowState{}, err
	}
	cur, err = s.current(at, place, m.key)
	return at, cur, err
}

// maxVolume bounds the old and new rows of one batch, in bytes. A small batch may change large rows, and all of them go to memory and disk at once.
const maxVolume = 128 << 20

func errVolume(t *Table) *problem.Error {
	return problem.New(problem.NotAtomic, "more than %d MiB of rows of %s would change at once", maxVolume>>20, t.QualifiedName()).
		WithHint("change fewer rows at a time")
}

// foldCatalog takes a change of the catalog into the candidate.
func (s *step) foldCatalog(c *Change) (*problem.Error, error) {
	next, err := s.candidate.fold(c.Partition.Table, c.Key, c.New)
	if err != nil {
		return refusalOf(err)
	}
	s.candidate = next
	return nil, nil
}

// draft notes the effect of m and overlays the state with it.
func (s *step) draft(meta log.EntryMeta, t *Table, at *part, cur rowState, m *rawMutation, e effect) {
	d := draft{part: at, stream: t.Kind == Stream, change: Change{
		Op: e.op, Partition: at.id, Offset: at.next, Batch: uint32(meta.Batch), Key: m.key, Old: cur.raw,
		Previous: cur.version, HasPrevious: cur.exists, New: e.row,
	}}
	at.next++
	if e.scratch && d.stream {
		d.change.New = s.overlay.arena.copy(e.row)
	}
	if !d.stream {
		if e.op != RowDeleted {
			d.state = appendState(s.overlay.arena.bytes(stateHeader + len(e.row))[:0], d.change.Offset, meta.Timestamp, e.row)
			d.change.New = d.state[len(d.state)-len(e.row):]
		}
		s.overlay.set(at.id, m.key, d.state)
	}
	s.drafts = append(s.drafts, d)
	s.applied = append(s.applied, Applied{Done: true, Partition: at.id, Offset: d.change.Offset})
}

// accept appends the drafts to the log and writes their state.
func (s *step) accept(meta log.EntryMeta, out log.Appender) error {
	for i := range s.drafts {
		d := &s.drafts[i]
		s.change = appendChange(s.change[:0], &d.change)
		if got := out.Append(d.part.id, s.change); got != d.change.Offset {
			return fmt.Errorf("entry %d: the log gave offset %d of table %d, partition %d where the state expects %d",
				meta.Index, got, d.part.id.Table, d.part.id.ID, d.change.Offset)
		}
		if d.part.id.Table == SystemLogStarts && d.change.Op != RowDeleted {
			if err := s.deletePrefix(&d.change, out); err != nil {
				return err
			}
		}
		switch {
		case d.stream:
		case d.state == nil:
			s.batch.Delete(d.part.name, d.change.Key)
		default:
			s.batch.Put(d.part.name, d.change.Key, d.state)
		}
	}
	if s.candidate != s.catalog {
		s.changePartitions(s.catalog, s.candidate)
		s.catalog = s.candidate
	}
	return nil
}

// changePartitions makes the state partitions of new tables and drops those of dropped ones.
func (s *step) changePartitions(before, after *Catalog) {
	for _, t := range before.tables {
		if after.byID[t.ID] != nil {
			continue
		}
		for i, name := range t.plan().names {
			if t.Kind != Stream {
				s.batch.DropPartition(name)
			}
			s.batch.Delete(metaPartition, endKey(log.Partition{Table: t.ID, ID: log.PartitionID(i)}))
		}
	}
	for _, t := range after.tables {
		if before.byID[t.ID] != nil || t.Kind == Stream {
			continue
		}
		for _, name := range t.plan().names {
			s.batch.CreatePartition(name)
		}
	}
}

// partOf returns the step's record of a partition.
func (s *step) partOf(t *Table, id log.Partition) (*part, error) {
	if p := s.parts[id]; p != nil {
		return p, nil
	}
	next, err := s.m.End(id)
	if err != nil {
		return nil, err
	}
	p := &part{id: id, name: t.plan().names[id.ID], next: next, made: s.m.Catalog().TableByID(t.ID) == nil}
	s.parts[id] = p
	return p, nil
}

// current returns the row under key for the mutation at place, with the step's own writes.
func (s *step) current(at *part, place int, key []byte) (rowState, error) {
	raw, ok := s.overlay.lookup(at.id, key)
	if !ok {
		raw, ok = s.prefetch.value(place)
	}
	var err error
	if !ok {
		raw, err = s.stored(at, key)
	}
	if err != nil || raw == nil {
		return rowState{}, err
	}
	state, _, err := decodeState(raw)
	return state, err
}

// read returns the value of key with the step's own writes, nil if there is none.
func (s *step) read(at *part, key []byte) ([]byte, error) {
	if v, ok := s.overlay.lookup(at.id, key); ok {
		return v, nil
	}
	return s.stored(at, key)
}

// stored returns the committed value of key, nil if there is none.
func (s *step) stored(at *part, key []byte) ([]byte, error) {
	if at.made {
		return nil, nil
	}
	v, err := s.m.backend.Value(at.name, key)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	return v, nil
}

// write sets a value of a partition that has no drafts. It keeps value.
func (s *step) write(at *part, key, value []byte) {
	s.overlay.set(at.id, key, value)
	s.batch.Put(at.name, key, value)
}

// remove deletes a key of a partition that has no drafts.
func (s *step) remove(at *part, key []byte) {
	s.overlay.set(at.id, key, nil)
	s.batch.Delete(at.name, key)
}

// Commit implements log.Step.
func (s *step) Commit(c log.Checkpoint, ends map[log.Partition]log.Offset) error {
	for id, end := range ends {
		p := s.parts[id]
		if p != nil && p.next != end {
			s.batch.Discard()
			return fmt.Errorf("commit entry %d: the log ends table %d, partition %d at %d, the state at %d", c.Index, id.Table, id.ID, end, p.next)
		}
	}
	defer s.rest()
	return s.m.commit(s, c, ends)
}

// rest gives back the memory of an unusually large step, so that an idle node does not sit on it.
func (s *step) rest() {
	s.overlay.reset()
	s.reader = batchReader{} // it points into the entry
	if cap(s.drafts) > maxIdleCells {
		s.drafts, s.applied, s.prefetch = nil, nil, prefetch{}
	}
	if cap(s.change) > arenaChunk {
		s.change = nil
	}
	if cap(s.applier.row) > arenaChunk {
		s.applier.row = nil
	}
}
