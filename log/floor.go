package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// floor remembers how far the node had come, apart from the state and the Raft log, so that either having lost something is noticed
// at the next start. The file has two slots, written in turn:
//
//	| magic "KFLR" | crc u32 | sequence u64 | checkpoint u64 | applied u64 | zeros up to 4096 |
//
// Integers are little-endian; crc is CRC-32C of what follows it up to the zeros. checkpoint is an index that the state had durably; it is
// written with fsync. applied is an index that the Raft log had durably; it is written after every update without
// fsync: it survives the death of the process and, mostly, not that of the machine, and is a true bound in any case.
type floor struct {
	file vfs.File

	mu       sync.Mutex
	state    floorState
	sequence uint64
}

type floorState struct {
	checkpoint Index
	applied    Index
}

const (
	floorMagic    = "KFLR"
	floorSlotSize = 4096
	floorDataSize = 32
)

// openFloor reads the floor file, or makes it if there is none.
func openFloor(fs vfs.FS, path string) (*floor, error) {
	data, err := readFile(fs, path)
	if oserror.IsNotExist(err) {
		return createFloor(fs, path)
	}
	if err != nil {
		return nil, fmt.Errorf("read floor file: %w", err)
	}
	fl := &floor{}
	found := false
	for slot := range 2 {
		sequence, state, ok := decodeFloor(data, slot)
		if ok && (!found || sequence > fl.sequence) {
			fl.sequence, fl.state, found = sequence, state, true
		}
	}
	if !found {
		return nil, &CorruptionError{Path: path, Err: errors.New("neither slot has a valid checksum")}
	}
	fl.file, err = fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("open floor file: %w", err)
	}
	return fl, nil
}

func createFloor(fs vfs.FS, path string) (*floor, error) {
	fresh := make([]byte, 2*floorSlotSize)
	encodeFloor(fresh[:floorDataSize], 0, floorState{})
	if err := replaceFile(fs, path, fresh); err != nil {
		return nil, fmt.Errorf("create floor file: %w", err)
	}
	file, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("open floor file: %w", err)
	}
	return &floor{file: file}, nil
}

func encodeFloor(b []byte, sequence uint64, s floorState) {
	copy(b, floorMagic)
	binary.LittleEndian.PutUint64(b[8:], sequence)
	binary.LittleEndian.PutUint64(b[16:], uint64(s.checkpoint))
	binary.LittleEndian.PutUint64(b[24:], uint64(s.applied))
	binary.LittleEndian.PutUint32(b[4:], checksum(0, b[8:floorDataSize]))
}

func decodeFloor(data []byte, slot int) (uint64, floorState, bool) {
	start := slot * floorSlotSize
	if len(data) < start+floorDataSize {
		return 0, floorState{}, false
	}
	b := data[start : start+floorDataSize]
	if string(b[:4]) != floorMagic || binary.LittleEndian.Uint32(b[4:]) != checksum(0, b[8:]) {
		return 0, floorState{}, false
	}
	return binary.LittleEndian.Uint64(b[8:]), floorState{
		checkpoint: Index(binary.LittleEndian.Uint64(b[16:])),
		applied:    Index(binary.LittleEndian.Uint64(b[24:])),
	}, true
}

// raise notes that the Raft log reached applied.
func (f *floor) raise(applied Index) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if applied <= f.state.applied {
		return nil
	}
	f.state.applied = applied
	return f.writeLocked()
}

// harden durably notes that the state and the Raft log reached checkpoint.
func (f *floor) harden(checkpoint Index) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if checkpoint <= f.state.checkpoint {
		return nil
	}
	f.state.checkpoint = checkpoint
	f.state.applied = max(f.state.applied, checkpoint)
	if err := f.writeLocked(); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("sync floor file: %w", err)
	}
	return nil
}

func (f *floor) writeLocked() error {
	f.sequence++
	var b [floorDataSize]byte
	encodeFloor(b[:], f.sequence, f.state)
	if _, err := f.file.WriteAt(b[:], int64(f.sequence%2)*floorSlotSize); err != nil {
		return fmt.Errorf("write floor file: %w", err)
	}
	return nil
}

// last returns the index that the Raft log has at least.
func (f *floor) last() Index {
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(f.state.applied, f.state.checkpoint)
}

// durable returns the checkpoint.
func (f *floor) durable() Index {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state.checkpoint
}

func (f *floor) close() error { return f.file.Close() }
