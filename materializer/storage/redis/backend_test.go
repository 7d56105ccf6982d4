package redis

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/floor"
	"kalamlog.dev/kalam/materializer/storage/redis/redistest"
	"kalamlog.dev/kalam/materializer/storage/storagetest"
)

func TestConformance(t *testing.T) {
	server := redistest.Start(t, redistest.Durable...)
	var stores atomic.Int64
	for _, keys := range []int{0, 40} {
		t.Run(fmt.Sprintf("flush at %d", keys), func(t *testing.T) {
			storagetest.Run(t, func(t *testing.T) func() (storage.Backend, error) {
				o := Options{URL: server.URL(), Prefix: fmt.Sprintf("kalam/%d", stores.Add(1)), Dir: t.TempDir(), BufferKeys: keys}
				return func() (storage.Backend, error) { return Open(o) }
			})
		})
	}
}

// TestServersThatForget are refused, with the setting to change.
func TestServersThatForget(t *testing.T) {
	for _, tt := range []struct {
		name     string
		settings []string
		hint     string
	}{
		{"no append-only file", []string{"--appendonly", "no"}, "appendonly yes"},
		{"not synced at all", []string{"--appendonly", "yes", "--appendfsync", "no"}, "appendfsync always"},
		{"not synced in a rewrite", []string{"--appendonly", "yes", "--appendfsync", "always", "--no-appendfsync-on-rewrite", "yes"}, "no-appendfsync-on-rewrite no"},
		{"evicts", append([]string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, redistest.Durable...), "noeviction"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := redistest.Start(t, tt.settings...)
			c := server.Client()
			defer c.Close()
			s, err := readSettings(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			b, err := Open(Options{URL: server.URL(), Prefix: "k", Dir: t.TempDir()})
			if err == nil {
				err = b.Close()
			}
			if s.atLeast(7, 2) && strings.Contains(tt.hint, "appendfsync") {
				check(t, err) // such a server syncs when it is asked to
				return
			}
			if !errors.Is(err, ErrNotDurable) || !strings.Contains(err.Error(), tt.hint) {
				t.Errorf("Open: %v; want %q in it", err, tt.hint)
			}
		})
	}
}

// TestDurability has servers that are not installed here.
func TestDurability(t *testing.T) {
	sound := settings{"role": "master", "maxmemory": "0", "aof_enabled": "1", "appendfsync": "always", "no-appendfsync-on-rewrite": "no", "redis_version": "6.0.1"}
	for _, tt := range []struct {
		change settings
		want   durability
		hint   string
	}{
		{settings{}, syncsAlways, ""},
		{settings{"maxmemory": "100", "maxmemory_policy": "noeviction"}, syncsAlways, ""},
		{settings{"appendfsync": "everysec", "redis_version": "7.2.0"}, syncsOnWait, ""},
		{settings{"appendfsync": "", "no-appendfsync-on-rewrite": "", "redis_version": "8.0.1"}, syncsOnWait, ""},
		{settings{"no-appendfsync-on-rewrite": "yes", "redis_version": "10.0.0"}, syncsOnWait, ""},
		{settings{"appendfsync": "everysec", "redis_version": "7.0.15"}, 0, "appendfsync always"},
		{settings{"appendfsync": "", "redis_version": "7.1.9"}, 0, "appendfsync always"},
		{settings{"appendfsync": "everysec", "redis_version": "unknown"}, 0, "appendfsync always"},
		{settings{"role": "slave"}, 0, "name the primary"},
		{settings{"maxmemory": "100", "maxmemory_policy": "volatile-ttl"}, 0, "noeviction"},
		{settings{"aof_enabled": "0", "redis_version": "8.0.0"}, 0, "appendonly yes"},
	} {
		s := maps.Clone(sound)
		maps.Copy(s, tt.change)
		how, err := s.durability()
		if (err == nil) != (tt.hint == "") || err != nil && !strings.Contains(err.Error(), tt.hint) || err == nil && how != tt.want {
			t.Errorf("%v: %d, %v; want %d, %q", tt.change, how, err, tt.want, tt.hint)
		}
	}
}

// TestServerThatBeginsToForget is changed while the store is open: nothing more is acknowledged.
func TestServerThatBeginsToForget(t *testing.T) {
	server := redistest.Start(t, redistest.Durable...)
	b := open(t, server, t.TempDir())
	check(t, b.CreatePartition("p"), b.Sync())
	server.Do("CONFIG", "SET", "appendonly", "no")
	check(t, b.Put("p", []byte("a"), []byte("1")))
	if err := b.Sync(); !errors.Is(err, ErrNotDurable) {
		t.Fatalf("Sync: %v", err)
	}
	if err := b.Put("p", []byte("a"), []byte("2")); !errors.Is(err, ErrNotDurable) {
		t.Fatalf("Put after a failed Sync: %v", err)
	}
}

func open(t *testing.T, server *redistest.Server, dir string) storage.Backend {
	t.Helper()
	b, err := Open(Options{URL: server.URL(), Prefix: "k", Dir: dir})
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

// TestFencing: a prefix is one data directory's, and within it that of the process that opened it last.
func TestFencing(t *testing.T) {
	server := redistest.Start(t, redistest.Durable...)
	dir := t.TempDir()
	first := open(t, server, dir)
	check(t, first.CreatePartition("p"), first.Put("p", []byte("a"), []byte("1")), first.Sync())
	if _, err := Open(Options{URL: server.URL(), Prefix: "k", Dir: t.TempDir()}); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("another data directory: %v", err)
	}
	check(t, first.Put("p", []byte("a"), []byte("2")), first.Sync())
	second := open(t, server, dir)
	check(t, first.Put("p", []byte("a"), []byte("3")))
	if err := first.Sync(); !errors.Is(err, ErrFenced) {
		t.Fatalf("Sync of the process before: %v", err)
	}
	if v, err := second.Value("p", []byte("a")); err != nil || string(v) != "2" {
		t.Fatalf("a = %q %v", v, err)
	}
	check(t, second.Put("p", []byte("a"), []byte("4")), second.Sync())
}

// TestOtherServer: the state that a data directory speaks of is not on the server that it is pointed to.
func TestOtherServer(t *testing.T) {
	dir := t.TempDir()
	b := open(t, redistest.Start(t, redistest.Durable...), dir)
	check(t, b.CreatePartition("p"), b.Sync(), b.Close())
	other := redistest.Start(t, redistest.Durable...)
	if _, err := Open(Options{URL: other.URL(), Prefix: "k", Dir: dir}); !errors.Is(err, floor.ErrBehind) {
		t.Fatalf("Open: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	for _, url := range []string{"unix://" + filepath.Join(t.TempDir(), "none"), "redis://127.0.0.1:1", "http://x", "::secret::"} {
		_, err := Open(Options{URL: url, Prefix: "k", Dir: t.TempDir()})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("Open of %s: %v", url, err)
		}
	}
}
