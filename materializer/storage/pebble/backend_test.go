package pebble

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/storagetest"
)

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(*testing.T) func() (storage.Backend, error) {
		fs := vfs.NewMem()
		return func() (storage.Backend, error) { return Open(Options{Dir: "state", FS: fs}) }
	})
}

func TestConformanceOnDisk(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) func() (storage.Backend, error) {
		dir := t.TempDir()
		return func() (storage.Backend, error) { return Open(Options{Dir: dir, MemtableBytes: 64 << 10}) }
	})
}
