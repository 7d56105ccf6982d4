package pebble

import (
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// hookedFS calls before ahead of every sync of a table file. A memtable becomes durable in two steps: its table file is written and synced,
// then the MANIFEST names it. Whatever the memtable held was committed before the first step, so a hook there covers the second too, and a
// hook that fails only fails the flush: Pebble ends the process when a MANIFEST does not sync.
type hookedFS struct {
	vfs.FS
	before func() error
}

func (fs *hookedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, category)
	if err != nil || filepath.Ext(name) != ".sst" {
		return f, err
	}
	return &hookedFile{File: f, before: fs.before}, nil
}

// Unwrap gives Pebble the file system below.
func (fs *hookedFS) Unwrap() vfs.FS { return fs.FS }

type hookedFile struct {
	vfs.File
	before func() error
}

func (f *hookedFile) Sync() error {
	if err := f.before(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *hookedFile) SyncData() error {
	if err := f.before(); err != nil {
		return err
	}
	return f.File.SyncData()
}
