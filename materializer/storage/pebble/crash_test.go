package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/materializer/storage"
)

// TestCrash writes a counter with padding until memtables go to disk by themselves, crashes after every write, and reopens. What is found must be the
// counter of some write (with its padding: all of a batch), at least that of the last Sync, and never one that the hook had not seen.
func TestCrash(t *testing.T) {
	for _, percent := range []int{0, 50, 100} {
		t.Run(fmt.Sprintf("keep %d%%", percent), func(t *testing.T) {
			t.Parallel()
			crashRun(t, percent)
		})
	}
}

func crashRun(t *testing.T, percent int) {
	rng := rand.New(rand.NewPCG(1, uint64(percent)))
	fs := vfs.NewCrashableMem()
	var written, hooked atomic.Uint64
	b, err := Open(Options{Dir: "state", FS: fs, MemtableBytes: 16 << 10, BeforeDurable: func() error {
		hooked.Store(written.Load())
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.CreatePartition("n"), b.CreatePartition("pad"), b.Sync()); err != nil {
		t.Fatal(err)
	}
	synced := uint64(0)
	for i := uint64(1); i <= 250; i++ {
		written.Store(i)
		writeCounter(t, b, i, rng)
		if rng.IntN(40) == 0 {
			if err := b.Sync(); err != nil {
				t.Fatal(err)
			}
			synced = i
		}
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
		seen := hooked.Load()
		got := readCounter(t, clone)
		if got < synced || got > seen {
			t.Fatalf("after write %d the crash leaves %d; synced %d, hook saw %d", i, got, synced, seen)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func writeCounter(t *testing.T, b *Backend, i uint64, rng *rand.Rand) {
	t.Helper()
	pad := make([]byte, rng.IntN(1000))
	for j := range pad {
		pad[j] = byte(rng.Uint32())
	}
	batch := b.NewBatch()
	batch.Put("n", []byte("n"), binary.BigEndian.AppendUint64(nil, i))
	batch.Put("pad", binary.BigEndian.AppendUint64(nil, i), pad)
	if err := batch.Commit(); err != nil {
		t.Fatal(err)
	}
}

// readCounter opens the store that a crash has left and checks that it is whole.
func readCounter(t *testing.T, fs vfs.FS) uint64 {
	t.Helper()
	b, err := Open(Options{Dir: "state", FS: fs})
	if err != nil {
		t.Fatalf("open after crash: %v", err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	raw, err := b.Value("n", []byte("n"))
	if errors.Is(err, storage.ErrNotFound) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	n, pads := binary.BigEndian.Uint64(raw), uint64(0)
	for e, err := range b.Scan("pad", storage.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		if pads++; binary.BigEndian.Uint64(e.Key) != pads {
			t.Fatalf("write %d is missing", pads)
		}
	}
	if pads != n {
		t.Fatalf("counter %d, but %d writes", n, pads)
	}
	return n
}

func TestHookFails(t *testing.T) {
	fs := vfs.NewCrashableMem()
	broken := errors.New("segments cannot be synced")
	var fail atomic.Bool
	b, err := Open(Options{Dir: "state", FS: fs, BeforeDurable: func() error {
		if fail.Load() {
			return broken
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.CreatePartition("p"), b.Put("p", []byte("a"), []byte("1")), b.Sync()); err != nil {
		t.Fatal(err)
	}
	fail.Store(true)
	if err := b.Put("p", []byte("a"), []byte("2")); err != nil {
		t.Fatal(err)
	}
	if err := b.Sync(); !errors.Is(err, broken) {
		t.Fatalf("Sync: %v", err)
	}
	if err := b.Put("p", []byte("a"), []byte("3")); !errors.Is(err, broken) {
		t.Fatalf("Put after a failed Sync: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b, err = Open(Options{Dir: "state", FS: fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if v, err := b.Value("p", []byte("a")); err != nil || string(v) != "1" {
		t.Fatalf("a = %q %v: a write whose hook failed became durable", v, err)
	}
}
