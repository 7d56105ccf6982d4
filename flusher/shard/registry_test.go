package shard_test

import (
	"slices"
	"testing"

	"kalamlog.dev/kalam/flusher/shard"
	"kalamlog.dev/kalam/internal/problem"
)

type byLength struct{ count int }

func (byLength) ShardKey(key string) string { return "even-odd"[4*(len(key)%2):][:4] }
func (b byLength) ShardCount() int          { return b.count }

func TestRegistry(t *testing.T) {
	t.Parallel()
	r, err := shard.NewRegistry(4)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Register("length", byLength{count: 2}); err != nil {
		t.Fatal(err)
	}
	if got, want := r.Names(), []string{"alphabetic", "hash", "length", "numeric"}; !slices.Equal(got, want) {
		t.Errorf("Names() = %v, want %v", got, want)
	}
	for name, count := range map[string]int{"": 26, "alphabetic": 26, "numeric": 10, "hash": 4, "length": 2} {
		s, err := r.Strategy(name)
		if err != nil {
			t.Fatal(err)
		}
		if s.ShardCount() != count {
			t.Errorf("Strategy(%q) has %d shards, want %d", name, s.ShardCount(), count)
		}
	}
	if _, err := r.Strategy("lengths"); !problem.Is(err, problem.InvalidDefinition) {
		t.Errorf("Strategy of an unknown name: %v", err)
	}
}

func TestRegistryRefuses(t *testing.T) {
	t.Parallel()
	for _, n := range []int{-1, shard.MaxShards + 1} {
		if _, err := shard.NewRegistry(n); err == nil {
			t.Errorf("NewRegistry(%d) gave no error", n)
		}
	}
	r, err := shard.NewRegistry(0)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]shard.Strategy{
		"alphabetic": byLength{count: 2}, "none": byLength{}, "many": byLength{count: shard.MaxShards + 1}, "": byLength{count: 2}, "a/b": byLength{count: 2},
	} {
		if err := r.Register(name, s); err == nil {
			t.Errorf("Register(%q, %v) gave no error", name, s)
		}
	}
}
