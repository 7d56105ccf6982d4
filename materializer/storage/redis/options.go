package redis

import (
	"errors"
	"log/slog"
	"regexp"
	"time"
)

// Options of Open. Zero means default.
type Options struct {
	URL           string        // required: redis://[user:password@]host:port/db, rediss:// for TLS, or unix:///path?db=0
	Prefix        string        // required: begins every key; 1 to 64 bytes of [a-zA-Z0-9/_.-]
	Dir           string        // required: for what ties the store to this node; made if it does not exist
	BeforeDurable func() error  // storage.Backend's hook; nil: none
	Logger        *slog.Logger  // default discards
	BufferBytes   int           // of writes in memory before they go to the server, default 16 MiB
	BufferKeys    int           // the same by the number of keys, default 16,384
	UndoBytes     int           // of replaced values that are kept for snapshots and scans, default 128 MiB
	Timeout       time.Duration // of an answer of the server, default 30 s
	StartTimeout  time.Duration // for the server to have loaded its data, default 60 s
}

var prefixPattern = regexp.MustCompile(`^[a-zA-Z0-9/_.-]{1,64}$`)

func (o *Options) setDefaults() error {
	if o.URL == "" || o.Dir == "" {
		return errors.New("redis: Options.URL and Dir are required")
	}
	if !prefixPattern.MatchString(o.Prefix) {
		return errors.New("redis: Options.Prefix must be 1 to 64 bytes of [a-zA-Z0-9/_.-]")
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}
