package redis

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/floor"
	"kalamlog.dev/kalam/materializer/storage/redis/redistest"
)

// TestKilledServer kills the Redis server with SIGKILL again and again, in the midst of flushes too. The store fails then, and acknowledges no Sync. Opened
// again it is whole, and holds what a Sync had made durable and nothing that the hook had not seen.
func TestKilledServer(t *testing.T) {
	server, dir, rng := redistest.Start(t, redistest.Durable...), t.TempDir(), rand.New(rand.NewPCG(2, 2))
	var written, hooked, synced uint64
	for round := range 8 {
		b, err := Open(Options{URL: server.URL(), Prefix: "k", Dir: dir, BeforeDurable: func() error {
			hooked = written
			return nil
		}})
		if err != nil {
			t.Fatalf("open in round %d: %v", round, err)
		}
		at := readCounter(t, b)
		if at < synced || at > hooked {
			t.Fatalf("round %d: the server holds %d; synced %d, hook saw %d", round, at, synced, hooked)
		}
		written = at
		check(t, b.CreatePartition("n"), b.CreatePartition("pad"))
		killAt := written + 30 + rng.Uint64N(30)
		for {
			written++
			if written == killAt { // not before the next write, and so within one of the next Syncs or between them
				time.AfterFunc(time.Duration(rng.IntN(10_000))*time.Microsecond, func() { _ = server.Signal() })
			}
			writeCounter(t, b, written, rng)
			if rng.IntN(5) > 0 {
				continue
			}
			if err := b.Sync(); err != nil {
				break
			}
			synced = written
		}
		if err := b.Put("n", []byte("n"), nil); err == nil {
			t.Fatal("a write after the failure was accepted")
		}
		check(t, b.Close())
		server.Kill()
		server.Restart()
	}
	if synced == 0 {
		t.Error("nothing was synced")
	}
	t.Logf("%d writes, %d synced", written, synced)
}

func writeCounter(t *testing.T, b storage.Backend, n uint64, rng *rand.Rand) {
	t.Helper()
	batch := b.NewBatch()
	batch.Put("n", []byte("n"), binary.BigEndian.AppendUint64(nil, n))
	batch.Put("pad", binary.BigEndian.AppendUint64(nil, n), make([]byte, rng.IntN(1000)))
	check(t, batch.Commit())
}

// readCounter checks that the store is whole.
func readCounter(t *testing.T, b storage.Backend) uint64 {
	t.Helper()
	raw, err := b.Value("n", []byte("n"))
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrNoPartition) {
		return 0
	}
	check(t, err)
	n, pads := binary.BigEndian.Uint64(raw), uint64(0)
	for e, err := range b.Scan("pad", storage.Range{}) {
		check(t, err)
		if pads++; binary.BigEndian.Uint64(e.Key) != pads {
			t.Fatalf("write %d is missing", pads)
		}
	}
	if pads != n {
		t.Fatalf("counter %d, but %d writes", n, pads)
	}
	return n
}

// TestLostServer: reads, too, fail while the server is away. They do not say that there is nothing.
func TestLostServer(t *testing.T) {
	server := redistest.Start(t, redistest.Durable...)
	b := open(t, server, t.TempDir())
	check(t, b.CreatePartition("p"), b.Put("p", []byte("a"), []byte("1")), b.Sync())
	server.Kill()
	if v, err := b.Value("p", []byte("a")); err == nil || errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Value: %q %v", v, err)
	}
	for e, err := range b.Scan("p", storage.Range{}) {
		if err == nil {
			t.Errorf("Scan: %q", e.Key)
		}
	}
	check(t, b.Put("p", []byte("b"), []byte("1")))
	if err := b.Sync(); err == nil {
		t.Error("Sync without a server")
	}
}

// TestOlderState: the append-only file is put back to what it was before a Sync.
func TestOlderState(t *testing.T) {
	server, dir := redistest.Start(t, redistest.Durable...), t.TempDir()
	b := open(t, server, dir)
	check(t, b.CreatePartition("p"), b.Put("p", []byte("a"), []byte("1")), b.Sync())
	older := t.TempDir()
	server.Kill()
	check(t, os.CopyFS(older, os.DirFS(filepath.Join(server.Dir, "appendonlydir"))))
	server.Restart()
	check(t, b.Close())
	b = open(t, server, dir)
	for i := range 3 {
		check(t, b.Put("p", []byte("a"), []byte{byte(i)}), b.Sync())
	}
	check(t, b.Close())
	server.Kill()
	putBack(t, older, server)
	server.Restart()
	if _, err := Open(Options{URL: server.URL(), Prefix: "k", Dir: dir}); !errors.Is(err, floor.ErrBehind) {
		t.Fatalf("Open: %v", err)
	}
}

func putBack(t *testing.T, from string, server *redistest.Server) {
	t.Helper()
	to := filepath.Join(server.Dir, "appendonlydir")
	check(t, os.RemoveAll(to), os.CopyFS(to, os.DirFS(from)))
}

// TestDamagedFile flips bits in the append-only file. Either the server does not start, or the store says that it is damaged, or all is as it was.
func TestDamagedFile(t *testing.T) {
	server, dir := redistest.Start(t, redistest.Durable...), t.TempDir()
	b := open(t, server, dir)
	check(t, b.CreatePartition("p"), b.CreatePartition("q"))
	for i := range 60 {
		check(t, b.Put("p", fmt.Appendf(nil, "key %04d", i), fmt.Appendf(nil, "value %d", i)), b.Put("q", fmt.Appendf(nil, "%d", i), nil))
		if i%20 == 19 {
			check(t, b.Delete("p", fmt.Appendf(nil, "key %04d", i-3)), b.Sync())
		}
	}
	check(t, b.Close())
	want, err := readAll(server, dir)
	check(t, err)
	server.Kill()
	sound := t.TempDir()
	check(t, os.CopyFS(sound, os.DirFS(filepath.Join(server.Dir, "appendonlydir"))))
	names, err := filepath.Glob(filepath.Join(sound, "*.incr.aof"))
	if err != nil || len(names) != 1 {
		t.Fatalf("append-only files %v: %v", names, err)
	}
	content, err := os.ReadFile(names[0])
	check(t, err)
	rng, outcomes := rand.New(rand.NewPCG(9, 9)), map[string]int{}
	for range 60 {
		putBack(t, sound, server)
		at := rng.IntN(len(content))
		hurt := append([]byte{}, content...)
		hurt[at] ^= 1 << rng.IntN(8)
		check(t, os.WriteFile(filepath.Join(server.Dir, "appendonlydir", filepath.Base(names[0])), hurt, 0o600))
		if err := server.TryRestart(); err != nil {
			outcomes["the server does not start"]++
			server.Kill()
			continue
		}
		got, err := readAll(server, dir)
		switch {
		case err != nil:
			outcomes["found"]++
		case got == want:
			outcomes["harmless"]++
		default:
			t.Errorf("a flipped bit at %d of %q went unnoticed", at, content[max(0, at-40):min(len(content), at+40)])
		}
		server.Kill()
	}
	t.Log(outcomes)
	if outcomes["found"] == 0 {
		t.Error("no damage was found")
	}
}

// readAll prints all that the store holds, by scan and by key, and what it says it does not hold. Opening for it does not write.
func readAll(server *redistest.Server, dir string) (content string, err error) {
	b, err := Open(Options{URL: server.URL(), Prefix: "k", Dir: dir})
	if err != nil {
		return "", err
	}
	defer func() {
		if e := b.Close(); err == nil {
			err = e
		}
	}()
	names, err := b.Partitions()
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, p := range names {
		for e, err := range b.Scan(p, storage.Range{}) {
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&out, "%s %q %q\n", p, e.Key, e.Value)
		}
		for i := range 60 {
			v, err := b.Value(p, fmt.Appendf(nil, "key %04d", i))
			if err != nil && !errors.Is(err, storage.ErrNotFound) {
				return "", err
			}
			fmt.Fprintf(&out, "%s %d %q\n", p, i, v)
		}
	}
	return out.String(), nil
}
