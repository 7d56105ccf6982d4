package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"kalamlog.dev/kalam/materializer/storage/writeback"
)

// base implements writeback.Base over the keys of a prefix. A space is two keys: a sorted set of its keys, all with score 0, for order, and a hash
// of their values.
type base struct {
	client  *goredis.Client
	prefix  string
	owner   string // what the owner key must hold
	timeout time.Duration

	// mu is held for writing by Write: a Read takes several commands, which see one state.
	mu sync.RWMutex
}

var registrySpace = writeback.Space{}

func (b *base) ownerKey() string                   { return b.prefix + ":owner" }
func (b *base) indexKey(s writeback.Space) string  { return b.prefix + ":keys:" + s.String() }
func (b *base) valuesKey(s writeback.Space) string { return b.prefix + ":values:" + s.String() }

// Read implements writeback.Base.
func (b *base) Read(f func(writeback.Reader) error) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return f(reader{b})
}

// context bounds a series of commands.
func (b *base) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), b.timeout)
}

// Write implements writeback.Base: one transaction, if this process still owns the prefix. An answer that is lost leaves the outcome open, which is why the
// error ends the use of the store.
func (b *base) Write(writes []writeback.Write) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	ctx, cancel := b.context()
	defer cancel()
	s, err := readSettings(ctx, b.client)
	if err != nil {
		return err
	}
	how, err := s.durability()
	if err != nil {
		return err
	}
	err = b.client.Watch(ctx, func(tx *goredis.Tx) error {
		if err := b.owned(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.TxPipelined(ctx, func(p goredis.Pipeliner) error { return b.queue(ctx, p, writes) }); err != nil {
			return err
		}
		if how == syncsOnWait {
			return b.waitSynced(ctx, tx)
		}
		return nil
	}, b.ownerKey())
	if errors.Is(err, goredis.TxFailedErr) {
		return ErrFenced
	}
	return err
}

// waitSynced returns when what this connection wrote is on the server's disk.
func (b *base) waitSynced(ctx context.Context, tx *goredis.Tx) error {
	synced, err := tx.Do(ctx, "WAITAOF", 1, 0, b.timeout.Milliseconds()).Slice()
	if err != nil {
		return err
	}
	if len(synced) == 0 || synced[0] != int64(1) {
		return fmt.Errorf("wait for the append-only file: %w", ErrNotDurable)
	}
	return nil
}

// commandKeys is how many keys go into one command.
const commandKeys = 512

// queue adds the commands for writes to p. No key is written twice.
func (b *base) queue(ctx context.Context, p goredis.Pipeliner, writes []writeback.Write) error {
	for len(writes) > 0 {
		first := writes[0]
		n := 1
		for n < len(writes) && n < commandKeys && sameCommand(first, writes[n]) {
			n++
		}
		some := writes[:n]
		writes = writes[n:]
		index, values := b.indexKey(first.Space), b.valuesKey(first.Space)
		switch {
		case first.Key == nil:
			p.Unlink(ctx, index, values)
		case first.Value == nil:
			keys := make([]any, n)
			fields := make([]string, n)
			for i, w := range some {
				keys[i], fields[i] = w.Key, string(w.Key)
			}
			p.ZRem(ctx, index, keys...)
			p.HDel(ctx, values, fields...)
		default:
			members, pairs := make([]goredis.Z, n), make([]any, 0, 2*n)
			for i, w := range some {
				members[i] = goredis.Z{Member: w.Key}
				pairs = append(pairs, w.Key, w.Value)
			}
			p.ZAdd(ctx, index, members...)
			p.HSet(ctx, values, pairs...)
		}
	}
	return nil
}

func sameCommand(a, b writeback.Write) bool {
	return a.Space == b.Space && a.Key != nil && b.Key != nil && (a.Value == nil) == (b.Value == nil)
}

// Close implements writeback.Base.
func (b *base) Close() error { return b.client.Close() }
