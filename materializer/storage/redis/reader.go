package redis

import (
	"context"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/writeback"
)

// reader implements writeback.Reader. Its base's mu is held.
type reader struct{ b *base }

// Values implements writeback.Reader.
func (r reader) Values(s writeback.Space, keys [][]byte) ([][]byte, error) {
	ctx, cancel := r.b.context()
	defer cancel()
	return r.values(ctx, s, keys)
}

func (r reader) values(ctx context.Context, s writeback.Space, keys [][]byte) ([][]byte, error) {
	values := make([][]byte, 0, len(keys))
	for len(keys) > 0 {
		some := keys[:min(len(keys), commandKeys)]
		keys = keys[len(some):]
		fields := make([]string, len(some))
		for i, key := range some {
			fields[i] = string(key)
		}
		found, err := r.b.client.HMGet(ctx, r.b.valuesKey(s), fields...).Result()
		if err != nil {
			return nil, err
		}
		for _, v := range found {
			text, ok := v.(string)
			if !ok {
				values = append(values, nil)
				continue
			}
			values = append(values, []byte(text))
		}
	}
	return values, nil
}

// pairsOf returns the keys, which the index has, with their values.
func (r reader) pairsOf(ctx context.Context, s writeback.Space, keys []string) ([]writeback.Pair, error) {
	pairs, wanted := make([]writeback.Pair, len(keys)), make([][]byte, len(keys))
	for i, key := range keys {
		wanted[i] = []byte(key)
	}
	values, err := r.values(ctx, s, wanted)
	if err != nil {
		return nil, err
	}
	for i, value := range values {
		if value == nil {
			return nil, fmt.Errorf("%s has no value for key %x of its index: %w", r.b.valuesKey(s), keys[i], storage.ErrDamaged)
		}
		pairs[i] = writeback.Pair{Key: wanted[i], Value: value}
	}
	return pairs, nil
}

// Around implements writeback.Reader.
func (r reader) Around(s writeback.Space, keys [][]byte) ([]writeback.Around, error) {
	ctx, cancel := r.b.context()
	defer cancel()
	below, from := make([]*goredis.StringSliceCmd, len(keys)), make([]*goredis.StringSliceCmd, len(keys))
	if _, err := r.b.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for i, key := range keys {
			below[i] = p.ZRangeArgs(ctx, r.before(s, key, 1))
			from[i] = p.ZRangeArgs(ctx, r.from(s, key, 2))
		}
		return nil
	}); err != nil {
		return nil, err
	}
	around := make([]writeback.Around, len(keys))
	var wanted []string
	var places []*[]byte // for their values
	for i, key := range keys {
		a := &around[i]
		for _, k := range below[i].Val() {
			a.Below.Key = []byte(k)
			wanted, places = append(wanted, k), append(places, &a.Below.Value)
		}
		for _, k := range from[i].Val() {
			if k == string(key) {
				wanted, places = append(wanted, k), append(places, &a.At)
			} else if a.Above == nil {
				a.Above = []byte(k)
			}
		}
	}
	pairs, err := r.pairsOf(ctx, s, wanted)
	if err != nil {
		return nil, err
	}
	for i, p := range pairs {
		*places[i] = p.Value
	}
	return around, nil
}

// from asks for the first n keys of the index from key on.
func (r reader) from(s writeback.Space, key []byte, n int) goredis.ZRangeArgs {
	return goredis.ZRangeArgs{Key: r.b.indexKey(s), Start: "[" + string(key), Stop: "+", ByLex: true, Count: int64(n)}
}

// before asks for the last n keys of the index before key, the highest first.
func (r reader) before(s writeback.Space, key []byte, n int) goredis.ZRangeArgs {
	return goredis.ZRangeArgs{Key: r.b.indexKey(s), Start: "(" + string(key), Stop: "-", ByLex: true, Rev: true, Count: int64(n)}
}

// Next implements writeback.Reader.
func (r reader) Next(s writeback.Space, from []byte, n int) ([]writeback.Pair, error) {
	return r.rangeOf(s, r.from(s, from, n))
}

// Previous implements writeback.Reader.
func (r reader) Previous(s writeback.Space, before []byte, n int) ([]writeback.Pair, error) {
	return r.rangeOf(s, r.before(s, before, n))
}

func (r reader) rangeOf(s writeback.Space, args goredis.ZRangeArgs) ([]writeback.Pair, error) {
	ctx, cancel := r.b.context()
	defer cancel()
	keys, err := r.b.client.ZRangeArgs(ctx, args).Result()
	if err != nil {
		return nil, err
	}
	return r.pairsOf(ctx, s, keys)
}
