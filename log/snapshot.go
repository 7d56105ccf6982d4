package log

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/lni/dragonboat/v4/statemachine"
)

// A snapshot streams a whole replica to a node that needs entries which the others have compacted:
//
//	| version u8 = 2 |
//	for each partition with kept changes: | 1 u8 | table u32 | partition u16 | frame ... | 0 u32 |
//	| 0 u8 | the Fold's stream |
//
// The first frame of a partition holds its start. Integers are little-endian; frames are as in segments, so each carries its checksum. In
// version 1 the first frame began at offset 0.
const snapshotVersion = 2

// snapshotView is a replica between two updates.
type snapshotView struct {
	fold   any
	ranges []partitionRange
}

// partitionRange is what a snapshot has of a partition.
type partitionRange struct {
	id         Partition
	start, end Offset
}

// prepareSnapshot takes a view. Until saveSnapshot is done no segment is removed.
func (r *replica) prepareSnapshot() (*snapshotView, error) {
	if err := r.failure.err(); err != nil {
		return nil, err
	}
	r.drops.hold()
	v, err := r.viewNow()
	if err != nil {
		r.drops.release()
	}
	return v, err
}

func (r *replica) viewNow() (*snapshotView, error) {
	ranges, err := r.store.listRanges()
	if err != nil {
		return nil, err
	}
	fold, err := r.fold.Prepare()
	if err != nil {
		return nil, fmt.Errorf("prepare snapshot: %w", err)
	}
	return &snapshotView{fold: fold, ranges: ranges}, nil
}

// listRanges returns every partition that has a folder and kept changes, in order.
func (s *store) listRanges() ([]partitionRange, error) {
	ids, err := s.listPartitions()
	if err != nil {
		return nil, err
	}
	var ranges []partitionRange
	for _, id := range ids {
		start, end, err := s.readBounds(id)
		if err != nil {
			return nil, err
		}
		if end > start.Offset {
			ranges = append(ranges, partitionRange{id, start.Offset, end})
		}
	}
	return ranges, nil
}

// listNumbers returns the names in dir that are numbers, ascending.
func listNumbers(fs vfs.FS, dir string, bits int) ([]uint64, error) {
	names, err := fs.List(dir)
	if oserror.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var numbers []uint64
	for _, name := range names {
		if n, err := strconv.ParseUint(name, 10, bits); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// saveSnapshot streams v.
func (r *replica) saveSnapshot(v *snapshotView, w io.Writer, stop <-chan struct{}) error {
	defer r.drops.release()
	if err := r.store.saveSegments(w, v.ranges, stop); err != nil {
		return errors.Join(err, r.dropView(v))
	}
	return r.fold.Save(v.fold, w, stop)
}

func (s *store) saveSegments(w io.Writer, ranges []partitionRange, stop <-chan struct{}) error {
	out := bufio.NewWriterSize(w, scanChunk)
	if err := out.WriteByte(snapshotVersion); err != nil {
		return err
	}
	for _, pr := range ranges {
		if err := s.savePartition(out, pr, stop); err != nil {
			return err
		}
	}
	if err := out.WriteByte(0); err != nil {
		return err
	}
	return out.Flush()
}

// dropView lets the Fold release a view that is not wanted any more, which only its Save can.
func (r *replica) dropView(v *snapshotView) error {
	stopped := make(chan struct{})
	close(stopped)
	if err := r.fold.Save(v.fold, io.Discard, stopped); err != nil && !errors.Is(err, statemachine.ErrSnapshotStopped) {
		return err
	}
	return nil
}

func (s *store) savePartition(out *bufio.Writer, pr partitionRange, stop <-chan struct{}) error {
	p, err := s.partition(pr.id)
	if err != nil {
		return err
	}
	rd := newReader(p, pr.start, scanChunk)
	rd.below = true // the start may have moved since
	head := binary.LittleEndian.AppendUint32([]byte{1}, uint32(pr.id.Table))
	if _, err := out.Write(binary.LittleEndian.AppendUint16(head, uint16(pr.id.ID))); err != nil {
		return err
	}
	for {
		select {
		case <-stop:
			return statemachine.ErrSnapshotStopped
		default:
		}
		f, ok, err := rd.next(pr.end)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if _, err := out.Write(f.raw); err != nil {
			return err
		}
	}
	_, err = out.Write(make([]byte, 4))
	return err
}

// restoreSnapshot replaces everything by what r streams. The segments are exchanged first: should the node stop before the
// Fold is, its old state finds the same changes in the new segments, and dragonboat restores again.
func (r *replica) restoreSnapshot(in io.Reader, stop <-chan struct{}) error {
	if err := r.failure.err(); err != nil {
		return err
	}
	err := r.restoreAll(bufio.NewReaderSize(in, scanChunk), stop)
	if err != nil && !errors.Is(err, statemachine.ErrSnapshotStopped) {
		r.failure.fail(fmt.Errorf("restore snapshot: %w", err))
	}
	return err
}

func (r *replica) restoreAll(in *bufio.Reader, stop <-chan struct{}) error {
	r.drops.hold() // what is deleted by its name must not be another file by then
	defer r.drops.release()
	fresh := r.store.dir + restoreSuffix
	if err := r.store.receive(in, fresh, stop); err != nil {
		return err
	}
	if err := r.store.exchange(fresh); err != nil {
		return err
	}
	c, err := r.fold.Restore(in, stop)
	if err != nil {
		return err
	}
	r.checkpoint = c
	r.applying.Store(uint64(c.Index))
	r.appender = newAppender(r.store)
	if err := r.store.reopen(); err != nil {
		return err
	}
	r.store.applied.Store(uint64(c.Index))
	cut, err := r.cutPartitions()
	if err != nil {
		return err
	}
	r.prefixes.add(cut)
	r.store.wakeAll()
	r.restored.Add(1)
	return r.floor.raise(c.Index)
}

// Folders beside segments/ while a snapshot takes its place.
const (
	restoreSuffix = ".restore"
	oldSuffix     = ".old"
)

// receive writes the partitions of a snapshot to segments under dir, durably.
func (s *store) receive(in *bufio.Reader, dir string, stop <-chan struct{}) error {
	version, err := in.ReadByte()
	if err != nil || version != snapshotVersion {
		return fmt.Errorf("read snapshot: version %d is not known: %w", version, err)
	}
	if err := s.fs.RemoveAll(dir); err != nil && !oserror.IsNotExist(err) {
		return err
	}
	target := newStore(s.fs, dir, s.segmentBytes, s.files.max, noBounds{})
	defer target.files.close()
	if err := s.fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for {
		select {
		case <-stop:
			return statemachine.ErrSnapshotStopped
		default:
		}
		more, err := in.ReadByte()
		if err != nil {
			return fmt.Errorf("read snapshot: %w", err)
		}
		if more == 0 {
			return target.sync()
		}
		if more != 1 {
			return fmt.Errorf("read snapshot: %d stands where a partition begins", more)
		}
		if err := target.receivePartition(in); err != nil {
			return fmt.Errorf("read snapshot: %w", err)
		}
	}
}

// noBounds is the bounds of a store that has yet to be filled.
type noBounds struct{}

func (noBounds) Start(Partition) (Start, error) { return Start{}, nil }
func (noBounds) End(Partition) (Offset, error)  { return 0, nil }

func (s *store) receivePartition(in *bufio.Reader) error {
	var head [6]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return err
	}
	id := Partition{Table: TableID(binary.LittleEndian.Uint32(head[:])), ID: PartitionID(binary.LittleEndian.Uint16(head[4:]))}
	p, err := s.partition(id)
	if err == nil {
		err = p.load()
	}
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		f, ok, err := receiveFrame(in, p.seed)
		if err != nil || !ok {
			return err
		}
		if first {
			p.next = f.base
		}
		if f.base != p.next {
			return fmt.Errorf("%w: offset %d follows %d", errFrame, f.base, p.next)
		}
		if err := p.append(f.raw, []frame{f}); err != nil {
			return err
		}
	}
}

func receiveFrame(in *bufio.Reader, seed uint32) (frame, bool, error) {
	var length [4]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return frame{}, false, err
	}
	if binary.LittleEndian.Uint32(length[:]) == 0 {
		return frame{}, false, nil
	}
	size, err := frameSize(length[:])
	if err != nil {
		return frame{}, false, err
	}
	buf := make([]byte, size)
	copy(buf, length[:])
	if _, err := io.ReadFull(in, buf[4:]); err != nil {
		return frame{}, false, err
	}
	f, err := decodeFrame(buf, seed)
	return f, err == nil, err
}

// exchange puts the segments in fresh into the place of those there are.
func (s *store) exchange(fresh string) error {
	old := s.dir + oldSuffix
	if err := s.fs.RemoveAll(old); err != nil && !oserror.IsNotExist(err) {
		return err
	}
	s.unsynced.Lock()
	clear(s.unsynced.segments)
	clear(s.unsynced.dirs)
	s.unsynced.Unlock()
	for _, move := range [][2]string{{s.dir, old}, {fresh, s.dir}} {
		if err := s.fs.Rename(move[0], move[1]); err != nil {
			return fmt.Errorf("exchange segments: %w", err)
		}
	}
	if err := syncDir(s.fs, s.fs.PathDir(s.dir)); err != nil {
		return fmt.Errorf("exchange segments: %w", err)
	}
	return s.fs.RemoveAll(old)
}

// prepareSegments makes the folder of segments, and puts right what an exchange left unfinished.
func prepareSegments(fs vfs.FS, dir string) error {
	if err := finishExchange(fs, dir); err != nil {
		return fmt.Errorf("finish exchange of segments: %w", err)
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make segment folder: %w", err)
	}
	if err := syncDir(fs, fs.PathDir(dir)); err != nil {
		return fmt.Errorf("sync data directory: %w", err)
	}
	return nil
}

// finishExchange puts back what an exchange had moved away when the node stopped, and removes what it left over.
func finishExchange(fs vfs.FS, dir string) error {
	_, err := fs.Stat(dir)
	if oserror.IsNotExist(err) {
		if _, err := fs.Stat(dir + oldSuffix); err == nil {
			return fs.Rename(dir+oldSuffix, dir)
		}
		return nil // nothing was moved: the directory is new
	}
	if err != nil {
		return err
	}
	for _, left := range []string{dir + oldSuffix, dir + restoreSuffix} {
		if err := fs.RemoveAll(left); err != nil && !oserror.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// reopen takes up the segments that an exchange has put in place.
func (s *store) reopen() error {
	for _, p := range s.loadedPartitions() {
		start, end, err := s.readBounds(p.id)
		if err != nil {
			return err
		}
		p.reopen(start, end)
	}
	return nil
}
