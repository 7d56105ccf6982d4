package bbolt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/floor"
	"kalamlog.dev/kalam/materializer/storage/writeback"
)

// base implements writeback.Base over a bbolt file: a space is a bucket, a read a read transaction, a write a transaction that is synced.
type base struct {
	db   *bolt.DB
	path string
}

// lockWait is how long to wait for another process to let go of the file.
const lockWait = time.Second

// condemnedName is the file beside the store that keeps it from being opened. It says why.
const condemnedName = "DAMAGED"

func openBase(dir string, freelist bolt.FreelistType) (*base, error) {
	path := filepath.Join(dir, fileName)
	b := &base{path: path}
	if why, err := os.ReadFile(filepath.Join(dir, condemnedName)); err == nil {
		return nil, fmt.Errorf("open %s: %w, as found before: %s", path, storage.ErrDamaged, why)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	err := b.guard(func() (err error) {
		b.db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout:      lockWait,
			FreelistType: freelist,
			NoStatistics: true,
		})
		return err
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("open %s: another process uses it: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return b, nil
}

// guard runs f. bbolt trusts its pages: damaged ones make it panic, or reach beyond its memory map, which is a fault.
func (b *base) guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("file %s: %v: %w", b.path, r, storage.ErrDamaged)
		}
	}()
	if err := f(); err != nil {
		return fmt.Errorf("file %s: %w", b.path, err)
	}
	return nil
}

// Read implements writeback.Base. The transaction is short, so that pages it holds are soon used again.
func (b *base) Read(f func(writeback.Reader) error) error {
	return b.guard(func() error {
		return b.db.View(func(tx *bolt.Tx) error { return f(reader{tx}) })
	})
}

// Write implements writeback.Base. A key in an inner page that damage has changed leads bbolt to put what is written beside the page where it is looked for, so all of it is
// read back; a file that does not hold it is not opened again.
func (b *base) Write(writes []writeback.Write) error {
	if err := b.update(writes); err != nil {
		return err
	}
	err := b.guard(func() error {
		return b.db.View(func(tx *bolt.Tx) error { return readBack(tx, writes) })
	})
	if err != nil {
		err = errors.Join(err, b.condemn(err))
	}
	return err
}

// readBack returns ErrDamaged if a write is not found. The buckets of spaces that were removed are not looked for.
func readBack(tx *bolt.Tx, writes []writeback.Write) error {
	for _, w := range writes {
		if w.Key == nil {
			continue
		}
		bucket := tx.Bucket([]byte(w.Space.String()))
		if bucket == nil || !bytes.Equal(bucket.Get(w.Key), w.Value) {
			return fmt.Errorf("partition %s: key %x was written and is not there: %w", w.Space, w.Key, storage.ErrDamaged)
		}
	}
	return nil
}

// update does the writes, durably.
func (b *base) update(writes []writeback.Write) error {
	return b.guard(func() error {
		return b.db.Update(func(tx *bolt.Tx) error {
			var at writeback.Space
			var bucket *bolt.Bucket
			for _, w := range writes {
				if bucket == nil || w.Space != at {
					var err error
					if bucket, err = tx.CreateBucketIfNotExists([]byte(w.Space.String())); err != nil {
						return err
					}
					at = w.Space
				}
				if err := write(tx, bucket, w); err != nil {
					return err
				}
				if w.Key == nil {
					bucket = nil
				}
			}
			return nil
		})
	})
}

func write(tx *bolt.Tx, bucket *bolt.Bucket, w writeback.Write) error {
	switch {
	case w.Key == nil:
		return tx.DeleteBucket([]byte(w.Space.String()))
	case w.Value == nil:
		return bucket.Delete(w.Key)
	default:
		return bucket.Put(w.Key, w.Value)
	}
}

// condemn keeps the store from being opened again.
func (b *base) condemn(why error) error {
	return floor.WriteFile(vfs.Default, filepath.Dir(b.path), condemnedName, []byte(why.Error()+"\n"))
}

func (b *base) Close() error {
	return b.guard(func() error { return b.db.Close() })
}

// reader implements writeback.Reader.
type reader struct{ tx *bolt.Tx }

// cursor returns nil if s was never written.
func (r reader) cursor(s writeback.Space) *bolt.Cursor {
	bucket := r.tx.Bucket([]byte(s.String()))
	if bucket == nil {
		return nil
	}
	return bucket.Cursor()
}

func (r reader) Values(s writeback.Space, keys [][]byte) ([][]byte, error) {
	values := make([][]byte, len(keys))
	c := r.cursor(s)
	if c == nil {
		return values, nil
	}
	for i, key := range keys {
		// Not by the cursor: it goes on to the next page, and so may find what a write would not.
		values[i] = slices.Clone(c.Bucket().Get(key))
	}
	return values, nil
}

func (r reader) Around(s writeback.Space, keys [][]byte) ([]writeback.Around, error) {
	around := make([]writeback.Around, len(keys))
	c := r.cursor(s)
	if c == nil {
		return around, nil
	}
	for i, key := range keys {
		a := &around[i]
		k, v := c.Seek(key)
		if bytes.Equal(k, key) {
			a.At = slices.Clone(v)
			k, _ = c.Next()
		}
		a.Above = slices.Clone(k)
		a.Below = below(c, key)
	}
	return around, nil
}

// below returns the pair before key.
func below(c *bolt.Cursor, key []byte) writeback.Pair {
	if k, _ := c.Seek(key); k == nil {
		return pair(c.Last())
	}
	return pair(c.Prev())
}

// pair copies what the memory map holds only until the transaction ends.
func pair(k, v []byte) writeback.Pair {
	return writeback.Pair{Key: slices.Clone(k), Value: slices.Clone(v)}
}

func (r reader) Next(s writeback.Space, from []byte, n int) (pairs []writeback.Pair, err error) {
	c := r.cursor(s)
	if c == nil {
		return nil, nil
	}
	for k, v := c.Seek(from); k != nil && len(pairs) < n; k, v = c.Next() {
		pairs = append(pairs, pair(k, v))
	}
	return pairs, nil
}

func (r reader) Previous(s writeback.Space, before []byte, n int) (pairs []writeback.Pair, err error) {
	c := r.cursor(s)
	if c == nil {
		return nil, nil
	}
	for p := below(c, before); p.Key != nil && len(pairs) < n; p = pair(c.Prev()) {
		pairs = append(pairs, p)
	}
	return pairs, nil
}
