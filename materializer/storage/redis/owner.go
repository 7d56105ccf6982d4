package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	goredis "github.com/redis/go-redis/v9"

	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/floor"
)

// Errors of Open and of writes.
var (
	ErrForeign = errors.New("the prefix belongs to another data directory")
	ErrFenced  = errors.New("the prefix was taken over by another process")
)

// A prefix belongs to one data directory for good, and is written by the process that opened it last. The owner key says both: identity, token, place. The
// identity is that of the data directory, the token that of the opening, the place is for people.

// identityName is the file that holds the identity of a data directory.
const identityName = "IDENTITY"

// identityOf reads the identity of dir, or makes one that is durable on return.
func identityOf(dir string) (string, error) {
	path := filepath.Join(dir, identityName)
	raw, err := os.ReadFile(path)
	if err == nil {
		identity, ended := strings.CutSuffix(string(raw), "\n")
		if !ended || len(identity) != len(rand.Text()) {
			return "", fmt.Errorf("file %s: %w", path, storage.ErrDamaged)
		}
		return identity, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read identity: %w", err)
	}
	identity := rand.Text()
	if err := floor.WriteFile(vfs.Default, dir, identityName, []byte(identity+"\n")); err != nil {
		return "", fmt.Errorf("write identity: %w", err)
	}
	return identity, nil
}

// claim makes this process the writer of the prefix. On return another that was it can write no more.
func (b *base) claim(ctx context.Context, dir string) error {
	identity, err := identityOf(dir)
	if err != nil {
		return err
	}
	at, err := floor.Read(vfs.Default, dir)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find the name of this machine: %w", err)
	}
	b.owner = identity + " " + rand.Text() + " " + host + ":" + dir
	return b.client.Watch(ctx, func(tx *goredis.Tx) error {
		was, err := tx.Get(ctx, b.ownerKey()).Result()
		if err != nil && !errors.Is(err, goredis.Nil) {
			return err
		}
		if err := b.mayClaim(ctx, tx, was, identity, at); err != nil {
			return err
		}
		_, err = tx.TxPipelined(ctx, func(p goredis.Pipeliner) error {
			return p.Set(ctx, b.ownerKey(), b.owner, 0).Err()
		})
		return err
	}, b.ownerKey())
}

func (b *base) mayClaim(ctx context.Context, tx *goredis.Tx, was, identity string, synced uint64) error {
	if was != "" {
		owner, rest, _ := strings.Cut(was, " ")
		_, place, _ := strings.Cut(rest, " ")
		if owner != identity {
			return fmt.Errorf("%w, %s: choose another prefix, or delete the keys %s:* if that server is gone for good", ErrForeign, place, b.prefix)
		}
		return nil
	}
	if synced > 0 {
		return fmt.Errorf("the server holds nothing of this node under the prefix %s, but did: it is another server, or has lost its data: %w",
			b.prefix, floor.ErrBehind)
	}
	found, err := tx.Exists(ctx, b.indexKey(registrySpace), b.valuesKey(registrySpace)).Result()
	if err != nil {
		return err
	}
	if found > 0 {
		return fmt.Errorf("the prefix %s holds state that nobody owns: %w", b.prefix, storage.ErrDamaged)
	}
	return nil
}

// owned returns ErrFenced if another process has claimed the prefix since.
func (b *base) owned(ctx context.Context, tx *goredis.Tx) error {
	is, err := tx.Get(ctx, b.ownerKey()).Result()
	if err != nil && !errors.Is(err, goredis.Nil) {
		return err
	}
	if is != b.owner {
		return ErrFenced
	}
	return nil
}
