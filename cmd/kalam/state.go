package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/internal/config"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/bbolt"
	"kalamlog.dev/kalam/materializer/storage/floor"
	"kalamlog.dev/kalam/materializer/storage/pebble"
	"kalamlog.dev/kalam/materializer/storage/redis"
)

// stateFolder holds the current rows, or what leads to them, below the data directory.
const stateFolder = "state"

// backendName is the file in stateFolder that names the backend. Data directories made before there was more than Pebble have none.
const backendName = "BACKEND"

// openState returns what opens the backend that settings name, with the state of one replica. A node that is replaced leaves that of its former
// life in Redis.
func openState(settings config.Config, replica log.ReplicaID, logger *slog.Logger) func(func() error) (storage.Backend, error) {
	dir, logger := filepath.Join(settings.Server.Data, stateFolder), logger.With("part", "state")
	return func(beforeDurable func() error) (storage.Backend, error) {
		backend := settings.Storage.Backend
		if err := adoptBackend(dir, backend); err != nil {
			return nil, err
		}
		switch backend {
		case config.BackendBbolt:
			return bbolt.Open(bbolt.Options{Dir: dir, BeforeDurable: beforeDurable, Logger: logger, UndoBytes: int(settings.Storage.UndoBytes)})
		case config.BackendRedis:
			redis.LogTo(logger)
			return redis.Open(redis.Options{
				URL:           settings.Storage.Redis,
				Prefix:        fmt.Sprintf("%s/%d", settings.Storage.RedisPrefix, replica),
				Dir:           dir,
				BeforeDurable: beforeDurable,
				Logger:        logger,
				UndoBytes:     int(settings.Storage.UndoBytes),
			})
		default:
			return pebble.Open(pebble.Options{Dir: dir, CacheBytes: int64(settings.Storage.Cache), BeforeDurable: beforeDurable, Logger: logger})
		}
	}
}

// adoptBackend notes in dir, which it makes, that its state is in backend. It refuses a directory whose state is in another: an empty
// state beside a log that was compacted would be taken for the truth.
func adoptBackend(dir, backend string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	is, err := backendOf(dir)
	if err != nil {
		return err
	}
	if is == "" {
		if err := floor.WriteFile(vfs.Default, dir, backendName, []byte(backend+"\n")); err != nil {
			return fmt.Errorf("note the backend in %s: %w", dir, err)
		}
		return nil
	}
	if is != backend {
		return fmt.Errorf("the state in %s was made with storage.backend = %q, not %q: set it back; "+
			"to change the backend, start a new node and let it take the data over", dir, is, backend)
	}
	return nil
}

// backendOf returns the backend of the state in dir, "" for none yet.
func backendOf(dir string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(dir, backendName))
	if err == nil {
		return strings.TrimSpace(string(raw)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read which backend holds the state: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("read state directory: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".tmp") {
			return config.BackendPebble, nil
		}
	}
	return "", nil
}
