package config

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Validate reports every fault of c, joined: values out of their range, and settings that this version cannot honour.
func (c Config) Validate() error {
	return errors.Join(slices.Concat(c.addresses(), c.Cluster.faults(), c.ranges(), c.choices(), c.unavailable())...)
}

// Exposed lists the keys whose addresses can be reached from other machines.
func (c Config) Exposed() []string {
	var names []string
	for _, a := range []struct{ name, address string }{
		{"server.http", c.Server.HTTP}, {"server.kafka", c.Server.Kafka}, {"cluster.raft", c.Cluster.Listen()},
	} {
		if a.address != "" && checkAddress(a.address) == nil && !Loopback(a.address) {
			names = append(names, a.name+" = "+a.address)
		}
	}
	return names
}

// Loopback reports whether host:port is reachable from this machine alone. A name other than localhost is taken as
// reachable from elsewhere, whatever it resolves to now.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (c Config) addresses() []error {
	var faults []error
	check := func(name, address string, optional bool) {
		if address == "" && optional {
			return
		}
		if err := checkAddress(address); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
		}
	}
	check("server.http", c.Server.HTTP, false)
	check("server.kafka", c.Server.Kafka, true)
	check("cluster.raft", c.Cluster.Raft, true)
	check("server.pprof", c.Server.Pprof, true)
	if c.Server.Pprof != "" && !Loopback(c.Server.Pprof) {
		faults = append(faults, fmt.Errorf("server.pprof: %s is not a loopback address: profiles are for this machine alone", c.Server.Pprof))
	}
	if exposed := c.Exposed(); len(exposed) > 0 && !c.Server.Insecure {
		faults = append(faults, fmt.Errorf("%s: other machines could reach this address, and there is no authentication yet; "+
			"listen on 127.0.0.1, or start with --insecure to let everyone in", strings.Join(exposed, ", ")))
	}
	return faults
}

func checkAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is no address: want host:port such as 127.0.0.1:2900", address)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q has no valid port", address)
	}
	return nil
}

func (c Config) ranges() []error {
	var faults []error
	between := func(name string, v, low, high int64) {
		if v < low || v > high {
			faults = append(faults, fmt.Errorf("%s: %d is not between %d and %d", name, v, low, high))
		}
	}
	const large = 1 << 40
	between("cluster.node_id", int64(c.Cluster.NodeID), 1, maxNodeID)
	between("query_cache.max_plans", int64(c.QueryCache.MaxPlans), 1, 1e7)
	between("sharding.hash_shards", int64(c.Sharding.HashShards), 1, 1024)
	between("flush.rows", c.Flush.Rows, 0, large)
	between("flush.interval (nanoseconds)", int64(c.Flush.Interval), 0, 1<<62)
	between("retention.age (nanoseconds)", int64(c.Retention.Age), 0, 1<<62)
	between("retention.bytes", int64(c.Retention.Bytes), 0, 1<<62)
	between("limits.body", int64(c.Limits.Body), 1<<10, 1<<30)
	between("limits.rows_body", int64(c.Limits.RowsBody), 0, 1<<62)
	between("limits.row", int64(c.Limits.Row), 1<<10, 8<<20)
	between("limits.in_flight", int64(c.Limits.InFlight), 1, 1e6)
	between("limits.client_timeout (nanoseconds)", int64(c.Limits.ClientTimeout), 1e6, 1<<62)
	between("limits.query_memory", int64(c.Limits.QueryMemory), 64<<20, large)
	between("limits.query_threads", int64(c.Limits.QueryThreads), 0, 1024)
	between("limits.subscriber", int64(c.Limits.Subscriber), 64<<10, 1<<30)
	between("limits.min_free", int64(c.Limits.MinFree), 96<<20, large)
	between("limits.idempotency_max", int64(c.Limits.IdempotencyMax), 1, 1e9)
	between("limits.idempotency_age (nanoseconds)", int64(c.Limits.IdempotencyAge), 1e9, 1<<62)
	between("storage.cache", int64(c.Storage.Cache), 1<<20, large)
	between("storage.undo_bytes", int64(c.Storage.UndoBytes), 1<<20, large)
	between("storage.segment_bytes", int64(c.Storage.SegmentBytes), 1<<20, 4<<30)
	between("storage.default_partitions", int64(c.Storage.DefaultPartitions), 1, 1024)
	between("server.shutdown_timeout (nanoseconds)", int64(c.Server.ShutdownTimeout), 1e6, 1<<62)
	return faults
}

func (c Config) choices() []error {
	var faults []error
	oneOf := func(name, v string, allowed ...string) {
		if !slices.Contains(allowed, v) {
			faults = append(faults, fmt.Errorf("%s: %q is not one of %s%s", name, v, strings.Join(allowed, ", "), meant(v, allowed)))
		}
	}
	if c.Server.Data == "" {
		faults = append(faults, errors.New("server.data: a data directory is needed"))
	}
	oneOf("storage.backend", c.Storage.Backend, BackendPebble, BackendBbolt, BackendRedis)
	faults = append(faults, c.Storage.redis()...)
	oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf("log.format", c.Log.Format, "text", "json")
	return faults
}

var (
	redisAddress = regexp.MustCompile(`^(redis|rediss)://[^/]+(/.*)?$|^unix:///.+$`)
	redisPrefix  = regexp.MustCompile(`^[a-zA-Z0-9/_.-]{1,50}$`)
)

// redis checks the settings of the backend redis. Faults do not show the address, which may hold a password.
func (s Storage) redis() []error {
	var faults []error
	switch {
	case s.Backend == BackendRedis && s.Redis == "":
		faults = append(faults, errors.New("storage.redis: the backend redis needs the address of a server, such as redis://127.0.0.1:6379/0"))
	case s.Backend != BackendRedis && s.Redis != "":
		faults = append(faults, fmt.Errorf("storage.redis: the backend is %s; set storage.backend = %q, or remove the key", s.Backend, BackendRedis))
	case s.Redis != "" && !redisAddress.MatchString(s.Redis):
		faults = append(faults, errors.New("storage.redis: this is no address: want redis://host:port/db, rediss://host:port/db or unix:///path"))
	}
	if !redisPrefix.MatchString(s.RedisPrefix) {
		faults = append(faults, fmt.Errorf("storage.redis_prefix: %q is not 1 to 50 letters, digits and /_.-", s.RedisPrefix))
	}
	return faults
}

// unavailable refuses settings that are understood and that this version does not act upon: ignoring them would be a lie.
func (c Config) unavailable() []error {
	var faults []error
	refuse := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	d := Default()
	refuse(c.Cluster.Groups != d.Cluster.Groups, "cluster.groups: this version has exactly one Raft group; remove the key or set it to 1")
	refuse(c.SessionCache != d.SessionCache, "session_cache: this version has no session cache to bound; remove the section")
	return faults
}
