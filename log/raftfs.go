package log

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"

	"github.com/lni/vfs"
)

// raftFS is the file system that dragonboat works on. tan takes a damaged manifest for a short one, and then removes as obsolete the log
// files that the manifest does not name. So no log, index or manifest is removed until the log has been seen to be whole:
// a node that is refused keeps every byte for whoever rescues it.
type raftFS struct {
	vfs.FS

	mu      sync.Mutex
	trusted bool
	held    []string // what would have been removed
	opened  string   // the file opened last
}

func newRaftFS() *raftFS { return &raftFS{FS: vfs.Default} }

// Open implements vfs.FS. It notes name: what dragonboat panics of is in the file that it opened last.
func (f *raftFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f.mu.Lock()
	f.opened = name
	f.mu.Unlock()
	return f.FS.Open(name, opts...)
}

// lastOpened returns the file opened last, or or.
func (f *raftFS) lastOpened(or string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.opened == "" {
		return or
	}
	return f.opened
}

// RemoveAll implements vfs.FS.
func (f *raftFS) RemoveAll(name string) error {
	f.mu.Lock()
	hold := !f.trusted && isRaftLogFile(name)
	if hold {
		f.held = append(f.held, name)
	}
	f.mu.Unlock()
	if hold {
		return nil
	}
	return f.FS.RemoveAll(name)
}

// trust removes what was held back, and from now on everything at once.
func (f *raftFS) trust() error {
	f.mu.Lock()
	f.trusted = true
	held := f.held
	f.held = nil
	f.mu.Unlock()
	var errs []error
	for _, name := range held {
		errs = append(errs, f.FS.RemoveAll(name))
	}
	return errors.Join(errs...)
}

func isRaftLogFile(name string) bool {
	base := filepath.Base(name)
	return strings.HasPrefix(base, "MANIFEST-") || strings.HasSuffix(base, ".log") || strings.HasSuffix(base, ".index")
}
