package log

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	ballastFile  = "BALLAST"
	ballastShare = 8 // of the reserve
)

// ballast is a file that only takes space. When the disk is so full that the node could not even checkpoint, end in order or start again, it is
// removed; when there is room again it comes back.
type ballast struct {
	fs    vfs.FS
	dir   string
	bytes int64
	there bool
	tried bool // making it has failed since it was last removed
}

func newBallast(fs vfs.FS, dir string, bytes int64) *ballast {
	b := &ballast{fs: fs, dir: dir, bytes: bytes}
	_, err := fs.Stat(b.path())
	b.there = err == nil
	return b
}

func (b *ballast) path() string { return b.fs.PathJoin(b.dir, ballastFile) }

// trim removes the file when less than a quarter of the reserve is free, and makes it when that leaves the whole reserve.
func (b *ballast) trim(free, reserve int64) error {
	switch {
	case b.there && free < reserve/4:
		b.there, b.tried = false, false
		if err := b.fs.Remove(b.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove ballast: %w", err)
		}
	case !b.there && !b.tried && b.bytes > 0 && free-2*b.bytes >= reserve:
		b.tried = true
		if err := b.make(); err != nil {
			return fmt.Errorf("make ballast: %w", err)
		}
		b.there, b.tried = true, false
	}
	return nil
}

// make reserves the space without writing it, which not every file system can.
func (b *ballast) make() error {
	f, err := b.fs.Create(b.path(), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	err = errors.Join(f.Preallocate(0, b.bytes), f.Close())
	if err != nil {
		return errors.Join(err, b.fs.Remove(b.path()))
	}
	return nil
}
