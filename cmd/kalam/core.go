package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/internal/config"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/pebble"
)

// stateFolder holds the current rows, below the data directory.
const stateFolder = "state"

// core is the log and the state folded from it: what the server and the offline tools both open.
type core struct {
	materializer *materializer.Materializer
	log          *log.Log
	writer       *materializer.Writer
}

// openCore opens the data directory of c, which it locks: a second process is refused. On return everything that was
// ever acknowledged is applied.
func openCore(ctx context.Context, c config.Config, logger *slog.Logger, r prometheus.Registerer) (*core, error) {
	m, err := materializer.New(materializer.Options{
		Backend:         pebbleIn(filepath.Join(c.Server.Data, stateFolder), int64(c.Storage.Cache), logger),
		Logger:          logger.With("part", "materializer"),
		Registerer:      r,
		IdempotencyKeys: c.Limits.IdempotencyMax,
		IdempotencyAge:  c.Limits.IdempotencyAge.Microseconds(),
	})
	if err != nil {
		return nil, err
	}
	l, err := log.Open(ctx, log.Options{
		Dir:          c.Server.Data,
		Fold:         m,
		Logger:       logger.With("part", "log"),
		Registerer:   r,
		NodeID:       uint64(c.Cluster.NodeID),
		RaftAddress:  c.Cluster.Raft,
		SegmentBytes: int64(c.Storage.SegmentBytes),
	})
	if err != nil {
		return nil, err
	}
	return &core{materializer: m, log: l, writer: materializer.NewWriter(l)}, nil
}

func pebbleIn(dir string, cache int64, logger *slog.Logger) func(func() error) (storage.Backend, error) {
	return func(beforeDurable func() error) (storage.Backend, error) {
		return pebble.Open(pebble.Options{Dir: dir, CacheBytes: cache, BeforeDurable: beforeDurable, Logger: logger.With("part", "state")})
	}
}

// close checkpoints and closes the log and the state.
func (c *core) close() error {
	if err := c.log.Close(); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

// closers are closed in the reverse of the order in which they were added.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c *closers) close() error {
	var errs []error
	for _, f := range slices.Backward(*c) {
		errs = append(errs, f())
	}
	*c = nil
	return errors.Join(errs...)
}
