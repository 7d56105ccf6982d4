package config

import (
	"time"

	"kalamlog.dev/kalam/internal/size"
)

// Config is a server's configuration. Each field is a key of the TOML file, [section] key, and an environment
// variable KALAM_SECTION_KEY; the tag doc describes it to the user. Zero values are meant: use Default as the start.
type Config struct {
	Server       Server       `koanf:"server"`
	Cluster      Cluster      `koanf:"cluster"`
	SessionCache SessionCache `koanf:"session_cache"`
	QueryCache   QueryCache   `koanf:"query_cache"`
	Sharding     Sharding     `koanf:"sharding"`
	Flush        Flush        `koanf:"flush"`
	Retention    Retention    `koanf:"retention"`
	Limits       Limits       `koanf:"limits"`
	Storage      Storage      `koanf:"storage"`
	Log          Log          `koanf:"log"`
}

// Server says where a node keeps its data and listens.
type Server struct {
	Data            string        `koanf:"data" doc:"data directory, made if it does not exist"`
	HTTP            string        `koanf:"http" doc:"host:port, port 0 for any free one"`
	Kafka           string        `koanf:"kafka" doc:"host:port; empty for no Kafka listener"`
	Insecure        bool          `koanf:"insecure" doc:"listen beyond loopback without authentication"`
	Pprof           string        `koanf:"pprof" doc:"loopback host:port of Go's profiler; empty for none"`
	ShutdownTimeout time.Duration `koanf:"shutdown_timeout" doc:"how long requests may take to end after SIGTERM"`
}

// Cluster names the node and its Raft groups.
type Cluster struct {
	NodeID int      `koanf:"node_id" doc:"number of this node in its cluster"`
	Raft   string   `koanf:"raft" doc:"host:port to listen on for peers; empty: the node's own in peers, if it is there, else it is alone"`
	Peers  []string `koanf:"peers" doc:"the nodes, this one included, as \"1=host:port\"; a node that joins later lists those that exist"`
	Groups int      `koanf:"groups" doc:"Raft groups; this version has one"`
}

// Members returns the nodes that Peers lists, by number. Entries that Validate refuses are left out.
func (c Cluster) Members() map[int]string {
	members := make(map[int]string, len(c.Peers))
	for _, p := range c.Peers {
		if id, address, err := parsePeer(p); err == nil {
			members[id] = address
		}
	}
	return members
}

// SessionCache bounds the table registrations that a session keeps.
type SessionCache struct {
	MaxRegistrationsPerSession int `koanf:"max_registrations_per_session" doc:"table registrations that a session keeps; this version has no session cache"`
	TTLSeconds                 int `koanf:"ttl_seconds" doc:"how long an idle one is kept; this version has no session cache"`
}

// QueryCache bounds the plan cache.
type QueryCache struct {
	MaxPlans int `koanf:"max_plans" doc:"prepared plans that are kept"`
}

// Sharding says how flushed data is spread over files, unless a table says otherwise.
type Sharding struct {
	DefaultStrategy string `koanf:"default_strategy" doc:"alphabetic, numeric, hash, or one that the build registers"`
	HashShards      int    `koanf:"hash_shards" doc:"shards of the strategy hash"`
}

// Flush says when a table's changes are written to Parquet without being asked: as soon as one of the three is
// reached. Zero turns a trigger off.
type Flush struct {
	Rows     int64         `koanf:"rows" doc:"flush a table when so many of its changes wait; 0: never"`
	Interval time.Duration `koanf:"interval" doc:"or when the oldest has waited so long; 0: never"`
	Bytes    size.Bytes    `koanf:"bytes" doc:"or when they take about so many bytes; 0: never"`
}

// Retention says how long a table's flushed changes stay in the log, where live queries and Kafka consumers find them, unless the table says
// otherwise: until one of the two is exceeded. Parquet keeps them.
type Retention struct {
	Age   time.Duration `koanf:"age" doc:"age at which flushed changes leave the log, see retention.md; 0: never"`
	Bytes size.Bytes    `koanf:"bytes" doc:"size of a table's log above which its oldest flushed segments go; 0: no limit"`
}

// Limits bound what one request, and all of them together, may take of the server.
type Limits struct {
	Body           size.Bytes    `koanf:"body" doc:"largest body that is read as a whole: statements"`
	RowsBody       size.Bytes    `koanf:"rows_body" doc:"largest streamed body of rows; 0: no limit, memory is bounded anyway"`
	Row            size.Bytes    `koanf:"row" doc:"largest row in a body, up to 8MiB"`
	InFlight       int           `koanf:"in_flight" doc:"statements and writes at once; more wait"`
	ClientTimeout  time.Duration `koanf:"client_timeout" doc:"how long a client may neither send nor take a byte"`
	QueryMemory    size.Bytes    `koanf:"query_memory" doc:"memory of the analytic engine"`
	QueryThreads   int           `koanf:"query_threads" doc:"threads of the analytic engine; 0: one per core"`
	Subscriber     size.Bytes    `koanf:"subscriber" doc:"memory of one live query; past it, it is served from the log on disk"`
	MinFree        size.Bytes    `koanf:"min_free" doc:"free disk space below which writes are refused, at least 96MiB: the Raft log grows by files of 65 MiB"`
	IdempotencyMax int           `koanf:"idempotency_max" doc:"idempotency keys that are remembered"`
	IdempotencyAge time.Duration `koanf:"idempotency_age" doc:"how long idempotency keys are remembered"`
}

// The values of Storage.Backend.
const (
	BackendPebble = "pebble"
	BackendBbolt  = "bbolt"
	BackendRedis  = "redis"
)

// Storage says what holds the current rows and the log.
type Storage struct {
	Backend           string     `koanf:"backend" doc:"what holds the current rows: pebble, bbolt or redis; a data directory keeps the one it was made with"`
	Redis             string     `koanf:"redis" doc:"the server of the backend redis: redis://[user:password@]host:port/db, rediss://... for TLS, or unix:///path"`
	RedisPrefix       string     `koanf:"redis_prefix" doc:"what begins the keys there, before a slash and the number of the replica, which is the node_id until a node is replaced"`
	Cache             size.Bytes `koanf:"cache" doc:"memory for blocks of the current rows, filled as they are read; of the backend pebble"`
	UndoBytes         size.Bytes `koanf:"undo_bytes" doc:"memory for replaced rows that long reads still need; past it the oldest read fails; of the backends bbolt and redis"`
	SegmentBytes      size.Bytes `koanf:"segment_bytes" doc:"size at which a log segment is sealed"`
	DefaultPartitions int        `koanf:"default_partitions" doc:"partitions of a table created without WITH (partitions = n)"`
}

// Log is the server's own log, on standard error.
type Log struct {
	Level  string `koanf:"level" doc:"debug, info, warn or error"`
	Format string `koanf:"format" doc:"text or json"`
}

// Default returns the configuration of a server started with nothing but its name.
func Default() Config {
	return Config{
		Server: Server{
			Data: "kalam-data", HTTP: "127.0.0.1:2900", Kafka: "127.0.0.1:9092", ShutdownTimeout: 30 * time.Second,
		},
		Cluster:      Cluster{NodeID: 1, Groups: 1},
		SessionCache: SessionCache{MaxRegistrationsPerSession: 100, TTLSeconds: 1800},
		QueryCache:   QueryCache{MaxPlans: 1000},
		Sharding:     Sharding{DefaultStrategy: "alphabetic", HashShards: 16},
		Flush:        Flush{Rows: 1_000_000, Interval: 5 * time.Minute, Bytes: 256 << 20},
		Retention:    Retention{Age: 7 * 24 * time.Hour},
		Limits: Limits{
			Body: 64 << 20, Row: 4 << 20, InFlight: 512, ClientTimeout: time.Minute, QueryMemory: 1 << 30,
			Subscriber: 1 << 20, MinFree: 256 << 20, IdempotencyMax: 1_000_000, IdempotencyAge: 24 * time.Hour,
		},
		Storage: Storage{Backend: BackendPebble, RedisPrefix: "kalam", Cache: 64 << 20, UndoBytes: 128 << 20, SegmentBytes: 64 << 20, DefaultPartitions: 4},
		Log:     Log{Level: "info", Format: "text"},
	}
}
