package writeback

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/storagetest"
)

// memoryOptions are those of a store over m, its floor file in memory too.
func memoryOptions(m *memory) Options {
	return Options{Base: m, Dir: "/", FS: vfs.NewMem()}
}

func TestConformance(t *testing.T) {
	for _, keys := range []int{0, 1, 5} {
		t.Run(fmt.Sprintf("flush at %d", keys), func(t *testing.T) {
			storagetest.Run(t, func(*testing.T) func() (storage.Backend, error) {
				o := memoryOptions(newMemory())
				o.BufferKeys = keys
				return func() (storage.Backend, error) { return Open(o) }
			})
		})
	}
}

func mustOpen(t *testing.T, o Options) *Backend {
	t.Helper()
	b, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func check(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
