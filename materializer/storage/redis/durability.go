package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// ErrNotDurable reports a server that may forget or evict what it has acknowledged.
var ErrNotDurable = errors.New("this Redis server does not keep what it acknowledges")

// durability is how the server makes a write durable.
type durability int

const (
	syncsAlways durability = iota // before it answers: appendfsync always
	syncsOnWait                   // when asked to: WAITAOF
)

// settings is what a server says about itself.
type settings map[string]string

// readSettings asks for what durability depends on. A server may refuse CONFIG to us; what that would say is missing then.
func readSettings(ctx context.Context, c goredis.Cmdable) (settings, error) {
	s := settings{}
	info, err := c.Info(ctx).Result() // its default sections
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			s[name] = value
		}
	}
	for _, name := range []string{"appendfsync", "no-appendfsync-on-rewrite"} {
		values, err := c.ConfigGet(ctx, name).Result()
		if err != nil {
			if _, refused := errors.AsType[goredis.Error](err); refused {
				continue
			}
			return nil, err
		}
		s[name] = values[name]
	}
	return s, nil
}

// durability returns ErrNotDurable, with the reason and what to do, if the server cannot be relied upon.
func (s settings) durability() (durability, error) {
	refuse := func(format string, args ...any) (durability, error) {
		return 0, fmt.Errorf("%w: "+format, append([]any{ErrNotDurable}, args...)...)
	}
	if s["role"] != "master" {
		return refuse("it is a replica (role %s); name the primary", s["role"])
	}
	if policy := s["maxmemory_policy"]; s["maxmemory"] != "0" && policy != "noeviction" {
		return refuse("it may evict keys; set maxmemory-policy noeviction (it is %s)", policy)
	}
	if s["aof_enabled"] != "1" {
		return refuse("it has no append-only file; set appendonly yes, and appendfsync always or use Redis 7.2")
	}
	if s["appendfsync"] == "always" && s["no-appendfsync-on-rewrite"] == "no" {
		return syncsAlways, nil
	}
	if s.atLeast(7, 2) {
		return syncsOnWait, nil
	}
	if s["appendfsync"] == "always" {
		return refuse("it does not sync while it rewrites its file; set no-appendfsync-on-rewrite no")
	}
	return refuse("appendfsync is %q and version %s has no WAITAOF; set appendfsync always or use Redis 7.2", s["appendfsync"], s["redis_version"])
}

func (s settings) atLeast(major, minor int) bool {
	parts := strings.Split(s["redis_version"], ".")
	if len(parts) < 2 {
		return false
	}
	a, errA := strconv.Atoi(parts[0])
	b, errB := strconv.Atoi(parts[1])
	return errA == nil && errB == nil && (a > major || a == major && b >= minor)
}

// loadPoll is how often a server that loads its data is asked whether it is done.
const loadPoll = 100 * time.Millisecond

// awaitLoaded waits until the server has loaded its data. ctx bounds that.
func awaitLoaded(ctx context.Context, c goredis.Cmdable) error {
	for {
		err := c.Ping(ctx).Err()
		if err == nil || !strings.HasPrefix(err.Error(), "LOADING") {
			return err
		}
		next := time.NewTimer(loadPoll)
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return fmt.Errorf("the server still loads its data: %w", context.Cause(ctx))
		}
	}
}
