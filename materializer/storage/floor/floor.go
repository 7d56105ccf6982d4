package floor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	name  = "FLOOR"
	magic = "kalamflr"
	size  = len(magic) + 8 + 4
)

// ErrBehind reports a store that has lost what a sync made durable, or the loss of its floor file.
var ErrBehind = errors.New("the state store has gone back behind its last sync, or its FLOOR file is damaged")

// Write replaces the floor file in dir; on return it survives a power loss.
func Write(fs vfs.FS, dir string, generation uint64) error {
	buf := binary.LittleEndian.AppendUint64([]byte(magic), generation)
	buf = binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf, crc32.MakeTable(crc32.Castagnoli)))
	if err := WriteFile(fs, dir, name, buf); err != nil {
		return fmt.Errorf("write floor file: %w", err)
	}
	return nil
}

// WriteFile replaces a small file in dir; on return it survives a power loss, and before either the old or the new content does.
func WriteFile(fs vfs.FS, dir, name string, content []byte) error {
	temp := fs.PathJoin(dir, name+".tmp")
	if err := writeSynced(fs, temp, content); err != nil {
		return err
	}
	if err := fs.Rename(temp, fs.PathJoin(dir, name)); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

func writeSynced(fs vfs.FS, path string, content []byte) error {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// Read returns 0 if there is no floor file.
func Read(fs vfs.FS, dir string) (uint64, error) {
	f, err := fs.Open(fs.PathJoin(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read floor file: %w", err)
	}
	buf, err := io.ReadAll(io.LimitReader(f, int64(size)+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("read floor file: %w", err)
	}
	if len(buf) != size || string(buf[:len(magic)]) != magic {
		return 0, errors.New("damaged floor file")
	}
	body := buf[:size-4]
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(buf[size-4:]) {
		return 0, errors.New("damaged floor file")
	}
	return binary.LittleEndian.Uint64(body[len(magic):]), nil
}

// Check compares a store's generation with the floor. The store may be ahead by the one sync that a crash cut off before it wrote its floor.
func Check(fs vfs.FS, dir string, floor, generation uint64) error {
	if generation < floor || generation > floor+1 {
		return fmt.Errorf("generation %d, floor %d: %w", generation, floor, ErrBehind)
	}
	if generation > floor {
		return Write(fs, dir, generation)
	}
	return nil
}
