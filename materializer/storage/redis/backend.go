package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/writeback"
)

// Open opens the store under o.Prefix, or makes one. It fails if the server cannot be reached, does not make writes durable, holds another node's state
// there, or has lost what an earlier Sync made durable. Another process that used the prefix from the same data directory, or a copy of it, can write
// no more.
func Open(o Options) (storage.Backend, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	b, err := openBase(o)
	if err != nil {
		return nil, fmt.Errorf("open state store in redis: %w", err)
	}
	backend, err := writeback.Open(writeback.Options{
		Base: b, Dir: o.Dir, BeforeDurable: o.BeforeDurable, Logger: o.Logger,
		BufferBytes: o.BufferBytes, BufferKeys: o.BufferKeys, UndoBytes: o.UndoBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("open state store in redis, prefix %s: %w", o.Prefix, err)
	}
	return backend, nil
}

func openBase(o Options) (*base, error) {
	c, err := goredis.ParseURL(o.URL)
	if err != nil {
		return nil, errors.New("the address is none: want redis://host:port/db, rediss://host:port/db or unix:///path") // the cause may show a password
	}
	c.ReadTimeout, c.WriteTimeout = o.Timeout, o.Timeout
	c.ContextTimeoutEnabled = true
	c.DialerRetries = 1
	c.MaxRetries = -1 // a write that was lost on its way back must not be done again unseen
	c.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	b := &base{client: goredis.NewClient(c), prefix: o.Prefix, timeout: o.Timeout}
	if err := b.start(o); err != nil {
		return nil, errors.Join(fmt.Errorf("server %s: %w", c.Addr, err), b.client.Close())
	}
	return b, nil
}

func (b *base) start(o Options) error {
	ctx, cancel := context.WithTimeout(context.Background(), o.StartTimeout)
	defer cancel()
	if err := awaitLoaded(ctx, b.client); err != nil {
		return err
	}
	s, err := readSettings(ctx, b.client)
	if err != nil {
		return err
	}
	if _, err := s.durability(); err != nil {
		return err
	}
	return b.claim(ctx, o.Dir)
}

// LogTo has the client library's own messages, which belong to the process and not to a client, go to logger.
func LogTo(logger *slog.Logger) { goredis.SetLogger(clientLogger{logger}) }

type clientLogger struct{ to *slog.Logger }

func (l clientLogger) Printf(ctx context.Context, format string, args ...any) {
	l.to.DebugContext(ctx, "redis client", "message", fmt.Sprintf(format, args...))
}
