package log

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	ballastFile = "BALLAST"
	// ballastBytes is enough for a start on a disk that has nothing else left: tan begins a log file of 65 MiB then.
	ballastBytes = 80 << 20
)

// ballast is a file that only takes space. When the disk is so full that the node could not even checkpoint, end in order or start again, it is
// removed; when there is room again it comes back. Writes must leave room for it while it is gone, or they would eat it up. Used under space.looking.
type ballast struct {
	fs    vfs.FS
	path  string
	bytes int64 // 0 where the file system cannot reserve space
	there bool
}

func newBallast(fs vfs.FS, dir string, bytes int64) *ballast {
	b := &ballast{fs: fs, path: fs.PathJoin(dir, ballastFile), bytes: bytes}
	_, err := fs.Stat(b.path)
	b.there = err == nil
	return b
}

// owed is how much of the free space is the ballast's.
func (b *ballast) owed() int64 {
	if b.there {
		return 0
	}
	return b.bytes
}

// trim removes the file when less than critical is free, and makes it when that leaves the whole reserve.
func (b *ballast) trim(free, critical, reserve int64) error {
	switch {
	case b.there && free < critical:
		b.there = false
		if err := b.fs.Remove(b.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove ballast: %w", err)
		}
	case !b.there && b.bytes > 0 && free >= reserve+b.bytes:
		if err := b.make(); err != nil {
			b.bytes = 0
			return fmt.Errorf("make ballast: %w", err)
		}
		b.there = true
	}
	return nil
}

// make reserves the space without writing it.
func (b *ballast) make() error {
	f, err := b.fs.Create(b.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	err = errors.Join(f.Preallocate(0, b.bytes), f.Close())
	if err != nil {
		return errors.Join(err, b.fs.Remove(b.path))
	}
	return nil
}
