package bbolt

import (
	"errors"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/storagetest"
	"kalamlog.dev/kalam/materializer/storage/writeback"
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

// TestLostWrite: what the file does not hold after a write is an error, and the store is not opened again.
func TestLostWrite(t *testing.T) {
	dir := t.TempDir()
	backend, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(backend.CreatePartition("p"), backend.Sync(), backend.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := openBase(dir, bolt.FreelistMapType)
	if err != nil {
		t.Fatal(err)
	}
	writes := []writeback.Write{
		{Space: writeback.Space{ID: 1, Name: "p"}, Key: []byte("key"), Value: []byte("value")},
		{Space: writeback.Space{ID: 1, Name: "p"}, Key: []byte("gone")},
	}
	if err := b.Write(writes); err != nil {
		t.Fatal(err)
	}
	for _, lost := range []writeback.Write{
		{Space: writes[0].Space, Key: []byte("key"), Value: []byte("another")},
		{Space: writes[0].Space, Key: []byte("key")},
		{Space: writes[0].Space, Key: []byte("none"), Value: []byte("value")},
		{Space: writeback.Space{ID: 2}, Key: []byte("key"), Value: []byte("value")},
	} {
		err := b.db.View(func(tx *bolt.Tx) error { return readBack(tx, []writeback.Write{lost}) })
		if !errors.Is(err, storage.ErrDamaged) {
			t.Errorf("%s %q: %v", lost.Space, lost.Key, err)
		}
	}
	if err := errors.Join(b.condemn(errors.New("the reason")), b.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, storage.ErrDamaged) || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("Open: %v", err)
	}
}
