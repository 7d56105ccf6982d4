package pebble

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/materializer/storage"
)

// TestCloseUnderReaders closes the store while a scan and a snapshot are open: both go on, nobody else comes in, and Close waits for them.
func TestCloseUnderReaders(t *testing.T) {
	b, err := Open(Options{Dir: "state", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.CreatePartition("p"); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := b.Put("p", []byte{byte(i)}, []byte("value")); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Sync(); err != nil {
		t.Fatal(err)
	}
	snapshot, err := b.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	closed, seen := make(chan error, 1), 0
	for _, err := range b.Scan("p", storage.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == 1 {
			go func() { closed <- b.Close() }()
			<-b.closing
			if _, err := b.Snapshot(); !errors.Is(err, storage.ErrClosed) {
				t.Errorf("Snapshot while closing: %v", err)
			}
		}
	}
	if seen != 100 {
		t.Errorf("the scan saw %d entries", seen)
	}
	if v, err := snapshot.Value("p", []byte{1}); err != nil || string(v) != "value" {
		t.Errorf("value in the snapshot: %q %v", v, err)
	}
	for _, err := range snapshot.Scan("p", storage.Range{}) {
		if err != nil {
			t.Errorf("scan of the snapshot: %v", err)
		}
		break
	}
	select {
	case err := <-closed:
		t.Errorf("Close did not wait: %v", err)
	default:
	}
	if err := errors.Join(snapshot.Close(), snapshot.Close(), <-closed); err != nil {
		t.Error(err)
	}
	if _, err := snapshot.Value("p", []byte{1}); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("value in a closed snapshot: %v", err)
	}
}
