package pebble

import (
	"errors"
	"fmt"
	"log/slog"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options of Open. Zero means default.
type Options struct {
	Dir           string       // required; made if it does not exist
	FS            vfs.FS       // default the operating system's
	BeforeDurable func() error // storage.Backend's hook; nil: none
	Logger        *slog.Logger // default discards
	CacheBytes    int64        // of uncompressed blocks, default 16 MiB, beside what memtables leave free; filled as blocks are read
	MemtableBytes int          // memory of writes before they go to a file, default 16 MiB; grows from 256 KiB to this
}

func (o *Options) setDefaults() error {
	if o.Dir == "" {
		return errors.New("pebble: Options.Dir is empty")
	}
	if o.CacheBytes < 0 || o.MemtableBytes < 0 {
		return errors.New("pebble: Options.CacheBytes and MemtableBytes must not be negative")
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.BeforeDurable == nil {
		o.BeforeDurable = func() error { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 16 << 20
	}
	if o.MemtableBytes == 0 {
		o.MemtableBytes = 16 << 20
	}
	return nil
}

// storeOptions are Pebble's options. FormatNewest is a must: older table formats have no checksum over their footer.
func (b *Backend) storeOptions(o Options) *pebbledb.Options {
	po := &pebbledb.Options{
		FS:                          &hookedFS{FS: o.FS, before: b.beforeDurable},
		FormatMajorVersion:          pebbledb.FormatNewest,
		DisableWAL:                  true,
		CacheSize:                   o.CacheBytes + 2*int64(o.MemtableBytes), // Pebble takes the memtables' memory from it
		MemTableSize:                uint64(o.MemtableBytes),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       64,
		LBaseMaxBytes:               64 << 20,
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, 2 },
		Logger:                      logger{o.Logger},
		EventListener:               b.listener(),
	}
	po.TargetFileSizes[0] = 8 << 20
	for i := range po.Levels {
		po.Levels[i].BlockSize = 8 << 10
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return po
}

// listener turns what happens in Pebble's background into failures of the writes that follow. A compaction that failed for want of space is none: it
// is tried again. A flush that failed is told twice, to FlushEnd and BackgroundError, from one goroutine; a flush without any data only to FlushEnd.
func (b *Backend) listener() *pebbledb.EventListener {
	var flush error
	return &pebbledb.EventListener{
		FlushEnd: func(i pebbledb.FlushInfo) { flush = i.Err },
		BackgroundError: func(err error) {
			b.logger.Error("state store: background work failed", "error", err)
			if pebbledb.IsCorruptionError(err) || flush != nil && errors.Is(err, flush) {
				b.fail(err)
			}
		},
		DataCorruption: func(i pebbledb.DataCorruptionInfo) {
			b.logger.Error("state store: damaged file", "path", i.Path, "error", i.Details)
			b.fail(fmt.Errorf("damaged file %s: %w", i.Path, i.Details))
		},
	}
}

// logger passes Pebble's messages on. Pebble calls Fatalf where it cannot go on, after a MANIFEST that could not be synced for one, and counts
// on it not to return.
type logger struct{ to *slog.Logger }

func (l logger) Infof(format string, args ...any) {
	l.to.Debug("state store", "message", fmt.Sprintf(format, args...))
}

func (l logger) Errorf(format string, args ...any) {
	l.to.Error("state store", "message", fmt.Sprintf(format, args...))
}

func (l logger) Fatalf(format string, args ...any) { panic("pebble: " + fmt.Sprintf(format, args...)) }
