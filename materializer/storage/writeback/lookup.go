package writeback

import (
	"fmt"

	"kalamlog.dev/kalam/materializer/storage"
)

// lookup is a read of the newest values. It takes part in views so that no space is removed under it, and needs no copy of the layers.
func (b *Backend) lookup(p storage.PartitionName, keys [][]byte) ([][]byte, error) {
	v := &view{b: b}
	values := make([][]byte, len(keys))
	var s Space
	var missing [][]byte
	var places []int
	err := func() (err error) {
		b.mu.RLock()
		defer b.mu.RUnlock()
		if b.closed {
			return storage.ErrClosed
		}
		if s, err = b.partitions.space(p); err != nil {
			return err
		}
		for i, key := range keys {
			c, ok := b.active.find(s.ID, key)
			if !ok {
				c, ok = b.frozen.find(s.ID, key)
			}
			if ok {
				values[i] = c.value
				continue
			}
			missing, places = append(missing, key), append(places, i)
		}
		v.epoch = b.epoch
		b.views.enter(v)
		return nil
	}()
	if err != nil {
		return nil, err
	}
	defer v.close()
	if len(missing) == 0 {
		return values, nil
	}
	found, err := b.lookUp(s, missing)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", p, err)
	}
	for i, place := range places {
		values[place] = found[i]
	}
	return values, nil
}

// Value implements storage.Reader.
func (b *Backend) Value(p storage.PartitionName, key []byte) ([]byte, error) {
	values, err := b.lookup(p, [][]byte{storedKey(key)})
	if err != nil {
		return nil, err
	}
	return given(p, values[0], nil)
}

// Values implements storage.ManyReader.
func (b *Backend) Values(p storage.PartitionName, keys [][]byte, each func(i int, value []byte)) error {
	stored := make([][]byte, len(keys))
	for i, key := range keys {
		stored[i] = storedKey(key)
	}
	values, err := b.lookup(p, stored)
	if err != nil {
		return err
	}
	for i, value := range values {
		each(i, value)
	}
	return nil
}
