package materializer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/lni/dragonboat/v4/statemachine"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
)

// snapshotMagic begins a snapshot stream. FORMAT.md draws the rest.
const snapshotMagic = "kalamst1"

// The kinds of block of a snapshot stream.
const (
	blockPartition = 'p' // the name of the partition that the entries after it belong to
	blockEntries   = 'e'
	blockEnd       = 'z' // the checkpoint: the stream is complete
)

const (
	blockBytes    = 256 << 10 // size at which a block of entries is closed
	maxBlockBytes = 1 << 30   // more is damage
)

// Prepare implements log.Fold. What it returns is a *View, which Save closes.
func (m *Materializer) Prepare() (any, error) { return m.View() }

// Save implements log.Fold. Called off, it returns statemachine.ErrSnapshotStopped, which the log passes on to Raft as it is.
func (m *Materializer) Save(view any, w io.Writer, stop <-chan struct{}) error {
	v, ok := view.(*View)
	if !ok {
		return fmt.Errorf("save snapshot: a view of type %T", view)
	}
	s := &snapshotWriter{w: bufio.NewWriterSize(w, blockBytes), stop: stop}
	err := s.run(v)
	if closing := v.Close(); err == nil {
		err = closing
	}
	switch {
	case err == nil || errors.Is(err, statemachine.ErrSnapshotStopped):
		return err
	case errors.Is(err, storage.ErrStale):
		return fmt.Errorf("save snapshot: %w: %w", statemachine.ErrSnapshotAborted, err) // the next attempt may be luckier
	}
	return fmt.Errorf("save snapshot: %w", err)
}

// partitions returns the storage partitions that the view's catalog implies.
func (v *View) partitions() []storage.PartitionName {
	names := []storage.PartitionName{metaPartition}
	for _, t := range v.catalog.tables {
		if t.Kind != Stream {
			names = append(names, t.plan().names...)
		}
	}
	return names
}

type snapshotWriter struct {
	w    *bufio.Writer
	stop <-chan struct{}
	buf  []byte
}

func (s *snapshotWriter) run(v *View) error {
	if _, err := s.w.WriteString(snapshotMagic); err != nil {
		return err
	}
	for _, name := range v.partitions() {
		if err := s.partition(v.snapshot, name); err != nil {
			return err
		}
	}
	if err := s.block(blockEnd, appendCheckpoint(nil, v.at)); err != nil {
		return err
	}
	return s.w.Flush()
}

func (s *snapshotWriter) partition(from storage.Reader, name storage.PartitionName) error {
	if err := s.block(blockPartition, []byte(name)); err != nil {
		return err
	}
	s.buf = s.buf[:0]
	for e, err := range from.Scan(name, storage.Range{}) {
		if err != nil {
			return err
		}
		if name == metaPartition && e.Key[0] == metaCheckpoint {
			continue // goes into the end block, so that half a snapshot has none
		}
		s.buf = appendBytes(appendBytes(s.buf, e.Key), e.Value)
		if len(s.buf) >= blockBytes {
			if err := s.block(blockEntries, s.buf); err != nil {
				return err
			}
			s.buf = s.buf[:0]
		}
	}
	if len(s.buf) == 0 {
		return nil
	}
	return s.block(blockEntries, s.buf)
}

func (s *snapshotWriter) block(kind byte, payload []byte) error {
	select {
	case <-s.stop:
		return statemachine.ErrSnapshotStopped
	default:
	}
	var head [9]byte
	head[0] = kind
	binary.LittleEndian.PutUint32(head[1:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(head[5:], blockSum(kind, payload))
	if _, err := s.w.Write(head[:]); err != nil {
		return err
	}
	_, err := s.w.Write(payload)
	return err
}

func blockSum(kind byte, payload []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum([]byte{kind}, table), table, payload)
}

// Restore implements log.Fold. It is crash-safe: the old checkpoint goes first and durably, the new one comes last, and a state without checkpoint is emptied when
// it is opened.
func (m *Materializer) Restore(r io.Reader, stop <-chan struct{}) (log.Checkpoint, error) {
	if err := m.clear(); err != nil {
		return log.Checkpoint{}, fmt.Errorf("restore: %w", err)
	}
	if err := m.backend.Sync(); err != nil {
		return log.Checkpoint{}, fmt.Errorf("restore: %w", err)
	}
	s := &snapshotReader{r: bufio.NewReaderSize(r, blockBytes), stop: stop, into: m.backend}
	if err := s.run(); errors.Is(err, statemachine.ErrSnapshotStopped) {
		return log.Checkpoint{}, err
	} else if err != nil {
		return log.Checkpoint{}, fmt.Errorf("restore: %w", err)
	}
	if err := m.backend.Sync(); err != nil {
		return log.Checkpoint{}, fmt.Errorf("restore: %w", err)
	}
	if err := m.load(); err != nil {
		return log.Checkpoint{}, fmt.Errorf("restore: %w", err)
	}
	m.tellCatalog(m.Catalog())
	return m.checkpoint.Checkpoint, nil
}

// restoreTarget is what a snapshot is written to.
type restoreTarget interface {
	CreatePartition(p storage.PartitionName) error
	Put(p storage.PartitionName, key, value []byte) error
	NewBatch() storage.Batch
}

type snapshotReader struct {
	r    *bufio.Reader
	stop <-chan struct{}
	into restoreTarget
	name storage.PartitionName
}

func (s *snapshotReader) run() error {
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(s.r, magic); err != nil || string(magic) != snapshotMagic {
		return fmt.Errorf("no snapshot of a known format: %w", errors.Join(ErrDamaged, err))
	}
	for {
		kind, payload, err := s.block()
		if err != nil {
			return err
		}
		switch kind {
		case blockPartition:
			s.name = storage.PartitionName(payload)
			err = s.into.CreatePartition(s.name)
		case blockEntries:
			err = s.entries(payload)
		case blockEnd:
			if _, err := decodeCheckpoint(payload); err != nil {
				return err
			}
			return s.into.Put(metaPartition, []byte{metaCheckpoint}, payload)
		default:
			err = ErrDamaged
		}
		if err != nil {
			return err
		}
	}
}

func (s *snapshotReader) block() (kind byte, payload []byte, err error) {
	select {
	case <-s.stop:
		return 0, nil, statemachine.ErrSnapshotStopped
	default:
	}
	var head [9]byte
	if _, err := io.ReadFull(s.r, head[:]); err != nil {
		return 0, nil, fmt.Errorf("read snapshot block: %w", err)
	}
	size := binary.LittleEndian.Uint32(head[1:])
	if size > maxBlockBytes {
		return 0, nil, fmt.Errorf("snapshot block of %d bytes: %w", size, ErrDamaged)
	}
	payload, err = readGrowing(s.r, int(size))
	if err != nil {
		return 0, nil, fmt.Errorf("read snapshot block: %w", err)
	}
	if blockSum(head[0], payload) != binary.LittleEndian.Uint32(head[5:]) {
		return 0, nil, fmt.Errorf("checksum of a snapshot block: %w", ErrDamaged)
	}
	return head[0], payload, nil
}

// readGrowing reads n bytes without believing n before they have come.
func readGrowing(r io.Reader, n int) ([]byte, error) {
	var buf []byte
	for len(buf) < n {
		at := len(buf)
		buf = append(buf, make([]byte, min(n-at, blockBytes*2))...)
		if _, err := io.ReadFull(r, buf[at:]); err != nil {
			return nil, err
		}
	}
	return buf, nil
}

func (s *snapshotReader) entries(payload []byte) error {
	batch := s.into.NewBatch()
	defer batch.Discard()
	d := decoder{src: payload}
	for len(d.src) > 0 {
		key, value := d.bytes(), d.bytes()
		if d.bad {
			return fmt.Errorf("snapshot entry: %w", ErrDamaged)
		}
		batch.Put(s.name, key, value)
	}
	return batch.Commit()
}
