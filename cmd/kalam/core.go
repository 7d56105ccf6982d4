package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/api/cluster"
	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/config"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// core is the log and the state folded from it: what the server and the offline tools both open.
type core struct {
	materializer *materializer.Materializer
	log          *log.Log
	writer       *materializer.Writer
}

// openCore opens the data directory of settings, which it locks: a second process is refused. On return everything that was
// ever acknowledged is applied; of a node of a cluster without its peers, what its last checkpoint covers.
func openCore(ctx context.Context, settings config.Config, p *peers, now clock.Clock, logger *slog.Logger, r prometheus.Registerer) (*core, error) {
	m, err := materializer.New(materializer.Options{
		Backend:    openState(settings, p.identity.Replica, logger),
		Clock:      now,
		Logger:     logger.With("part", "materializer"),
		Registerer: r,
	})
	if err != nil {
		return nil, err
	}
	o := log.Options{
		Dir:          settings.Server.Data,
		Fold:         m,
		Clock:        now,
		Logger:       logger.With("part", "log"),
		Registerer:   r,
		Identity:     p.identity,
		SegmentBytes: int64(settings.Storage.SegmentBytes),
		MinFreeBytes: uint64(settings.Limits.MinFree),
	}
	if p.net != nil {
		o.Network, o.PeersFull = p.net, p.full.Load
		m.OnCatalogChange(recall(m, p, logger))
	}
	o.Offline = p.net == nil && (p.absent || len(p.identity.Members) != 1)
	l, err := log.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	writer := materializer.NewWriter(l).Remembering(materializer.Memory{Keys: settings.Limits.IdempotencyMax, Age: settings.Limits.IdempotencyAge})
	c := &core{materializer: m, log: l, writer: writer}
	if o.Offline {
		return c, nil
	}
	if err := c.followDrops(logger); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// recall returns what, as soon as the state is open, tells p where the other nodes were.
func recall(m *materializer.Materializer, p *peers, logger *slog.Logger) func(*materializer.Catalog) {
	done := false
	return func(*materializer.Catalog) {
		if done {
			return
		}
		done = true
		if err := cluster.Recall(m, p.book); err != nil {
			logger.Warn("where the other nodes were cannot be read", "error", err)
		}
	}
}

// followDrops removes the segments of tables that are not in the catalog: now those that a crash left, later those of each
// table as it is dropped.
func (c *core) followDrops(logger *slog.Logger) error {
	known := map[log.TableID]bool{}
	drop := func(catalog *materializer.Catalog) error {
		var errs []error
		for id := range known {
			if catalog.TableByID(id) == nil {
				errs = append(errs, c.log.Drop(id))
				delete(known, id)
			}
		}
		for _, t := range catalog.Tables() {
			known[t.ID] = true
		}
		return errors.Join(errs...)
	}
	tables, err := c.log.Tables()
	if err != nil {
		return err
	}
	for _, id := range tables {
		known[id] = true
	}
	if err := drop(c.materializer.Catalog()); err != nil {
		return err
	}
	c.materializer.OnCatalogChange(func(catalog *materializer.Catalog) {
		if err := drop(catalog); err != nil {
			logger.Error("segments of a dropped table stay until the next start", "error", err)
		}
	})
	return nil
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
