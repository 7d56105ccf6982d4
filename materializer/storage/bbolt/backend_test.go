package bbolt

import (
	"testing"

	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/storagetest"
)

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) func() (storage.Backend, error) {
		dir := t.TempDir()
		return func() (storage.Backend, error) { return Open(Options{Dir: dir}) }
	})
}

func TestConformanceOfSmallBuffers(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) func() (storage.Backend, error) {
		dir := t.TempDir()
		return func() (storage.Backend, error) { return Open(Options{Dir: dir, BufferKeys: 40, BufferBytes: 4 << 10}) }
	})
}
