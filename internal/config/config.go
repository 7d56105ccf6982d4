package config

import "time"

// Config is a server's configuration. Each field is a key of the TOML file, [section] key, and an environment
// variable KALAM_SECTION_KEY. Zero values are meant: use Default as the start.
type Config struct {
	Server       Server       `koanf:"server"`
	Cluster      Cluster      `koanf:"cluster"`
	SessionCache SessionCache `koanf:"session_cache"`
	QueryCache   QueryCache   `koanf:"query_cache"`
	Sharding     Sharding     `koanf:"sharding"`
	Flush        Flush        `koanf:"flush"`
	Limits       Limits       `koanf:"limits"`
	Storage      Storage      `koanf:"storage"`
	Log          Log          `koanf:"log"`
}

// Server says where a node keeps its data and listens.
type Server struct {
	Data            string        `koanf:"data"`             // data directory, made if it does not exist
	HTTP            string        `koanf:"http"`             // host:port, port 0 for any free one
	Kafka           string        `koanf:"kafka"`            // host:port; empty for no Kafka listener
	Insecure        bool          `koanf:"insecure"`         // listen beyond loopback without authentication
	Pprof           string        `koanf:"pprof"`            // loopback host:port of Go's profiler; empty for none
	ShutdownTimeout time.Duration `koanf:"shutdown_timeout"` // how long requests may take to end after SIGTERM
}

// Cluster names the node and its Raft groups.
type Cluster struct {
	NodeID int      `koanf:"node_id"`
	Raft   string   `koanf:"raft"`  // host:port of the Raft transport; empty: a free loopback port
	Peers  []string `koanf:"peers"` // "1=host:port", ...
	Groups int      `koanf:"groups"`
}

// SessionCache bounds the table registrations that a session keeps.
type SessionCache struct {
	MaxRegistrationsPerSession int `koanf:"max_registrations_per_session"`
	TTLSeconds                 int `koanf:"ttl_seconds"`
}

// QueryCache bounds the plan cache.
type QueryCache struct {
	MaxPlans int `koanf:"max_plans"`
}

// Sharding says how flushed data is spread over files, unless a table says otherwise.
type Sharding struct {
	DefaultStrategy string `koanf:"default_strategy"`
	HashShards      int    `koanf:"hash_shards"`
}

// Flush says when a table's changes are written to Parquet without being asked: as soon as one of the three is
// reached. Zero turns a trigger off.
type Flush struct {
	Rows     int64         `koanf:"rows"`
	Interval time.Duration `koanf:"interval"`
	Bytes    Size          `koanf:"bytes"`
}

// Limits bound what one request, and all of them together, may take of the server.
type Limits struct {
	Body           Size          `koanf:"body"`            // of a request that is read as a whole: statements
	RowsBody       Size          `koanf:"rows_body"`       // of a streamed body of rows; 0: no limit, memory is bounded anyway
	Row            Size          `koanf:"row"`             // of one row in a body
	InFlight       int           `koanf:"in_flight"`       // statements and writes at once; more wait
	ClientTimeout  time.Duration `koanf:"client_timeout"`  // how long a client may neither send nor take a byte
	QueryMemory    Size          `koanf:"query_memory"`    // of the analytic engine
	QueryThreads   int           `koanf:"query_threads"`   // of the analytic engine; 0: one per core
	Subscriber     Size          `koanf:"subscriber"`      // queued for one live query before it is served from disk
	IdempotencyMax int           `koanf:"idempotency_max"` // keys remembered
	IdempotencyAge time.Duration `koanf:"idempotency_age"` // for how long
}

// Storage says what holds the current rows and the log.
type Storage struct {
	Backend           string `koanf:"backend"`
	SegmentBytes      Size   `koanf:"segment_bytes"`      // size at which a log segment is sealed
	DefaultPartitions int    `koanf:"default_partitions"` // of a table created without WITH (partitions = n)
}

// Log is the server's own log, on standard error.
type Log struct {
	Level  string `koanf:"level"`  // debug, info, warn or error
	Format string `koanf:"format"` // text or json
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
		Limits: Limits{
			Body: 64 << 20, Row: 4 << 20, InFlight: 512, ClientTimeout: time.Minute, QueryMemory: 1 << 30,
			Subscriber: 1 << 20, IdempotencyMax: 1_000_000, IdempotencyAge: 24 * time.Hour,
		},
		Storage: Storage{Backend: "pebble", SegmentBytes: 64 << 20, DefaultPartitions: 4},
		Log:     Log{Level: "info", Format: "text"},
	}
}
