package shard

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"kalamlog.dev/kalam/internal/problem"
)

// Default is the strategy of tables that name none.
const Default = "alphabetic"

// DefaultHashShards is the shard count of the strategy "hash" if none is configured.
const DefaultHashShards = 16

// Registry maps names to strategies. It is safe for concurrent use.
type Registry struct {
	mu struct {
		sync.RWMutex
		strategies map[string]Strategy
	}
}

// NewRegistry returns a Registry of "alphabetic", "numeric" and "hash", the last over hashShards shards (0:
// DefaultHashShards).
func NewRegistry(hashShards int) (*Registry, error) {
	if hashShards == 0 {
		hashShards = DefaultHashShards
	}
	if hashShards < 1 || hashShards > MaxShards {
		return nil, fmt.Errorf("shard: %d hash shards, allowed are 1 to %d", hashShards, MaxShards)
	}
	r := &Registry{}
	r.mu.strategies = map[string]Strategy{
		"alphabetic": Alphabetic{},
		"numeric":    Numeric{},
		"hash":       NewHash(hashShards),
	}
	return r, nil
}

// Register adds s under name. It refuses a name that is taken, because files already written were sharded by the
// strategy of that name, and a ShardCount outside of 1 to MaxShards.
func (r *Registry) Register(name string, s Strategy) error {
	if !validName(name) {
		return fmt.Errorf("shard: register strategy %q: a name is 1 to 64 of [A-Za-z0-9_.-]", name)
	}
	if n := s.ShardCount(); n < 1 || n > MaxShards {
		return fmt.Errorf("shard: register strategy %q: %d shards, allowed are 1 to %d", name, n, MaxShards)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.mu.strategies[name]; ok {
		return fmt.Errorf("shard: register strategy %q: the name is taken", name)
	}
	r.mu.strategies[name] = s
	return nil
}

// Strategy returns the strategy of that name, Default's for the empty name. The error is a *problem.Error
// InvalidDefinition that lists the names.
func (r *Registry) Strategy(name string) (Strategy, error) {
	if name == "" {
		name = Default
	}
	r.mu.RLock()
	s, ok := r.mu.strategies[name]
	r.mu.RUnlock()
	if !ok {
		return nil, problem.New(problem.InvalidDefinition, "there is no sharding strategy %q", name).
			WithHint("strategies are %s", strings.Join(r.Names(), ", "))
	}
	return s, nil
}

// Names lists the registered names, sorted.
func (r *Registry) Names() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.mu.strategies))
}

// CheckKey refuses what a Strategy must not give as the name of a shard.
func CheckKey(key string) error {
	if !validName(key) {
		return fmt.Errorf("shard: a strategy named a shard %q: a name is 1 to 64 of [A-Za-z0-9_.-]", key)
	}
	return nil
}

func validName(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '.' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}
