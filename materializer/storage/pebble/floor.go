package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The floor file holds the generation of the last Sync. Pebble takes a MANIFEST record that it cannot read for the end of the file, so one
// damaged byte silently leads back to an older state; that state's generation is then below the floor.
const (
	floorName     = "FLOOR"
	floorTempName = "FLOOR.tmp"
	floorMagic    = "kalamflr"
	floorSize     = len(floorMagic) + 8 + 4
)

// errBehindFloor reports a store that has lost what a Sync made durable.
var errBehindFloor = errors.New("the store has gone back behind its last sync: its MANIFEST or FLOOR file is damaged")

// writeFloor replaces the floor file; on return it survives a power loss.
func writeFloor(fs vfs.FS, dir string, generation uint64) error {
	buf := binary.LittleEndian.AppendUint64([]byte(floorMagic), generation)
	buf = binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf, crc32.MakeTable(crc32.Castagnoli)))
	temp := fs.PathJoin(dir, floorTempName)
	if err := writeSynced(fs, temp, buf); err != nil {
		return fmt.Errorf("write floor file: %w", err)
	}
	if err := fs.Rename(temp, fs.PathJoin(dir, floorName)); err != nil {
		return fmt.Errorf("write floor file: %w", err)
	}
	return syncDir(fs, dir)
}

func writeSynced(fs vfs.FS, name string, content []byte) error {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
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

// readFloor returns 0 if there is no floor file.
func readFloor(fs vfs.FS, dir string) (uint64, error) {
	f, err := fs.Open(fs.PathJoin(dir, floorName))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read floor file: %w", err)
	}
	buf, err := io.ReadAll(io.LimitReader(f, int64(floorSize)+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("read floor file: %w", err)
	}
	if len(buf) != floorSize || string(buf[:len(floorMagic)]) != floorMagic {
		return 0, errors.New("damaged floor file")
	}
	body := buf[:floorSize-4]
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(buf[floorSize-4:]) {
		return 0, errors.New("damaged floor file")
	}
	return binary.LittleEndian.Uint64(body[len(floorMagic):]), nil
}

// checkFloor compares the store's generation with the floor. The store may be ahead by the one Sync that a crash cut off before it wrote its floor.
func (b *Backend) checkFloor() error {
	floor, err := readFloor(b.fs, b.dir)
	if err != nil {
		return err
	}
	v, closer, err := b.db.Get(generationKey())
	switch {
	case errors.Is(err, pebbledb.ErrNotFound):
	case err != nil:
		return fmt.Errorf("read generation: %w", err)
	case len(v) != 8:
		return errors.Join(errors.New("damaged generation"), closer.Close())
	default:
		b.generation = binary.LittleEndian.Uint64(v)
		if err := closer.Close(); err != nil {
			return fmt.Errorf("read generation: %w", err)
		}
	}
	if b.generation < floor || b.generation > floor+1 {
		return fmt.Errorf("generation %d, floor %d: %w", b.generation, floor, errBehindFloor)
	}
	if b.generation > floor {
		return writeFloor(b.fs, b.dir, b.generation)
	}
	return nil
}
