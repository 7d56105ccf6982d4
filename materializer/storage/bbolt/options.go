package bbolt

import (
	"errors"
	"log/slog"

	bolt "go.etcd.io/bbolt"
)

// Options of Open. Zero means default.
type Options struct {
	Dir           string       // required; made if it does not exist
	BeforeDurable func() error // storage.Backend's hook; nil: none
	Logger        *slog.Logger // default discards
	BufferBytes   int          // of writes in memory before they go to the file, default 16 MiB
	BufferKeys    int          // the same by the number of keys, default 16,384: each may cost a page
	UndoBytes     int          // of replaced values that are kept for snapshots and scans, default 128 MiB

	freelist bolt.FreelistType // for tests: the default gives out pages in no order that can be repeated
}

func (o *Options) setDefaults() error {
	if o.Dir == "" {
		return errors.New("bbolt: Options.Dir is empty")
	}
	if o.freelist == "" {
		o.freelist = bolt.FreelistMapType
	}
	return nil
}
