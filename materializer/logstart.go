package materializer

import (
	"errors"
	"fmt"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

// LogStart is what system.log_starts says of a partition. The row is what deletes: whoever decides on retention writes it, and apply passes it on to
// the log of every node.
type LogStart struct {
	log.Start
	Expired log.Offset // changes before it are in no data file either: rows of a stream that its TTL has removed, of a table that is not KeepsLog; at most Offset
}

// The columns of system.log_starts.
const (
	startTable = iota
	startPartition
	startOffset
	startIndex
	startExpired
)

// LogStartRow returns a row of system.log_starts. now is in microseconds.
func LogStartRow(p log.Partition, s LogStart, now int64) []expr.Value {
	return []expr.Value{
		expr.IntOf(expr.BigInt, int64(p.Table)), expr.IntOf(expr.Integer, int64(p.ID)), expr.IntOf(expr.BigInt, int64(s.Offset)),
		expr.IntOf(expr.BigInt, int64(s.Index)), expr.IntOf(expr.BigInt, int64(s.Expired)), expr.IntOf(expr.TimestampTZ, now),
	}
}

// DecodeLogStart reads a row of system.log_starts.
func DecodeLogStart(r Row) (log.Partition, LogStart) {
	return log.Partition{Table: log.TableID(r.Column(startTable).Int()), ID: log.PartitionID(r.Column(startPartition).Int())}, LogStart{
		Start:   log.Start{Offset: log.Offset(r.Column(startOffset).Int()), Index: log.Index(r.Column(startIndex).Int())},
		Expired: log.Offset(r.Column(startExpired).Int()),
	}
}

// partitionKey is the key of the row that a system table has for a partition.
func partitionKey(p log.Partition) ([]byte, error) {
	return EncodeKey(nil, []expr.Value{expr.IntOf(expr.BigInt, int64(p.Table)), expr.IntOf(expr.Integer, int64(p.ID))})
}

// readStart returns the zero LogStart for a partition that retention has not touched.
func readStart(r storage.Reader, c *Catalog, p log.Partition) (LogStart, error) {
	if isCatalog(p.Table) {
		return LogStart{}, nil
	}
	key, err := partitionKey(p)
	if err != nil {
		return LogStart{}, err
	}
	raw, err := r.Value(statePartition(SystemLogStarts, 0), key)
	if errors.Is(err, storage.ErrNotFound) {
		return LogStart{}, nil
	}
	if err != nil {
		return LogStart{}, fmt.Errorf("read start of table %d, partition %d: %w", p.Table, p.ID, err)
	}
	state, _, err := decodeState(raw)
	if err != nil {
		return LogStart{}, err
	}
	row, err := c.byID[SystemLogStarts].DecodeRow(state.raw)
	if err != nil {
		return LogStart{}, err
	}
	_, s := DecodeLogStart(row)
	return s, nil
}

// Start implements log.Fold.
func (m *Materializer) Start(p log.Partition) (log.Start, error) {
	s, err := readStart(m.backend, m.Catalog(), p)
	return s.Start, err
}

// Start returns where p begins at the view's position.
func (v *View) Start(p log.Partition) (LogStart, error) { return readStart(v.snapshot, v.catalog, p) }

// checkStart decides on a change of system.log_starts: nothing may be deleted that is in no data file, nor come back. Not even a wrong writer can
// lose changes.
func (s *step) checkStart(c *Change) (*problem.Error, error) {
	table := s.catalog.byID[SystemLogStarts]
	row, err := table.DecodeRow(c.New)
	if err != nil {
		return nil, err
	}
	p, next := DecodeLogStart(row)
	t := s.candidate.TableByID(p.Table)
	if t == nil || isCatalog(p.Table) || int(p.ID) >= t.Partitions {
		return problem.New(problem.UnknownTable, "partition %d of the table with id %d does not exist", p.ID, p.Table), nil
	}
	var last LogStart
	if c.Old != nil {
		old, err := table.DecodeRow(c.Old)
		if err != nil {
			return nil, err
		}
		_, last = DecodeLogStart(old)
	}
	flushed, err := s.keptElsewhere(t, p)
	if err != nil {
		return nil, err
	}
	switch {
	case next.Offset < last.Offset || next.Index < last.Index || next.Expired < last.Expired:
		return problem.New(problem.InvalidValue, "the start of partition %d of %s cannot go back from %d to %d", p.ID, t.QualifiedName(), last.Offset, next.Offset), nil
	case next.Offset > flushed:
		return problem.New(problem.InvalidValue, "the changes of partition %d of %s from offset %d on are in no data file yet", p.ID, t.QualifiedName(), flushed), nil
	case next.Expired > next.Offset:
		return problem.New(problem.InvalidValue, "partition %d of %s starts at %d and cannot have expired up to %d", p.ID, t.QualifiedName(), next.Offset, next.Expired), nil
	case !KeepsLog(t.ID) && next.Expired != next.Offset:
		return problem.New(problem.InvalidValue, "%s is not flushed: what leaves its log has expired", t.QualifiedName()), nil
	case next.Expired > 0 && t.Kind != Stream && KeepsLog(t.ID):
		return problem.New(problem.InvalidValue, "%s is no stream: its rows do not expire", t.QualifiedName()), nil
	}
	return nil, nil
}

// keptElsewhere returns up to where p's changes are not needed in the log.
func (s *step) keptElsewhere(t *Table, p log.Partition) (log.Offset, error) {
	if KeepsLog(t.ID) {
		return s.flushedEnd(p)
	}
	at, err := s.partOf(t, p)
	if err != nil {
		return 0, err
	}
	return at.next, nil
}

// flushedEnd returns up to where p's changes are in data files, with the step's own writes.
func (s *step) flushedEnd(p log.Partition) (log.Offset, error) {
	key, err := partitionKey(p)
	if err != nil {
		return 0, err
	}
	flushed := s.catalog.byID[SystemFlushed]
	at, err := s.partOf(flushed, log.Partition{Table: SystemFlushed})
	if err != nil {
		return 0, err
	}
	raw, err := s.read(at, key)
	if raw == nil || err != nil {
		return 0, err
	}
	state, _, err := decodeState(raw)
	if err != nil {
		return 0, err
	}
	row, err := flushed.DecodeRow(state.raw)
	if err != nil {
		return 0, err
	}
	return log.Offset(row.Column(2).Int()), nil
}

// deletePrefix passes an accepted change of system.log_starts on to the log.
func (s *step) deletePrefix(c *Change, out log.Appender) error {
	row, err := s.catalog.byID[SystemLogStarts].DecodeRow(c.New)
	if err != nil {
		return err
	}
	p, start := DecodeLogStart(row)
	out.DeletePrefix(p, start.Start)
	return nil
}
