package bbolt

import (
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/writeback"
)

// fileName is the store's file in Options.Dir.
const fileName = "state.bbolt"

// Open opens the store in o.Dir, or makes one. It fails if what it reads of the store is damaged, and if the store has lost what an earlier
// Sync made durable.
func Open(o Options) (storage.Backend, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	if err := makeDir(o.Dir); err != nil {
		return nil, err
	}
	b, err := openBase(o.Dir, o.freelist)
	if err != nil {
		return nil, fmt.Errorf("open state store: %w", err)
	}
	if err := syncDir(o.Dir); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	backend, err := writeback.Open(writeback.Options{
		Base: b, Dir: o.Dir, BeforeDurable: o.BeforeDurable, Logger: o.Logger,
		BufferBytes: o.BufferBytes, BufferKeys: o.BufferKeys, UndoBytes: o.UndoBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("open state store %s: %w", o.Dir, err)
	}
	return backend, nil
}

func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	return nil
}

// syncDir makes the names in dir durable: bbolt syncs its file, not the directory that names it.
func syncDir(dir string) error {
	d, err := vfs.Default.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("sync state directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync state directory: %w", err)
	}
	return nil
}
