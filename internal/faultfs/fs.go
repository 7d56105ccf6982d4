package faultfs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// ErrUnavailable reports that this process may not mount: it is not root, or the kernel has no FUSE.
var ErrUnavailable = errors.New("faultfs: needs root and /dev/fuse")

// cacheFor is how long the kernel may remember names and attributes: nobody else changes the directory below.
const cacheFor = time.Minute

// FS is a mounted directory. Its methods may be called from several goroutines, but for PowerOn and Unmount.
type FS struct {
	mount, backing string
	server         *fuse.Server

	mu      sync.Mutex // held for every operation that changes something
	journal *journal
	faults  faults
}

// Available reports with nil that Mount can work here, or what is missing.
func Available() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: not root", ErrUnavailable)
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return f.Close()
}

// Mount shows the directory backing at mount; both must exist. What is in backing counts as synced. A directory
// backing + ".lost" holds deleted files for as long as a loss of power could bring them back.
func Mount(mount, backing string) (*FS, error) {
	if err := Available(); err != nil {
		return nil, err
	}
	j, err := newJournal(backing + ".lost")
	if err != nil {
		return nil, err
	}
	f := &FS{mount: mount, backing: backing, journal: j, faults: faults{room: unlimited}}
	if err := f.serve(); err != nil {
		return nil, errors.Join(err, j.close())
	}
	return f, nil
}

func (f *FS) serve() error {
	var st syscall.Stat_t
	if err := syscall.Stat(f.backing, &st); err != nil {
		return fmt.Errorf("find %s: %w", f.backing, err)
	}
	data := &fs.LoopbackRoot{Path: f.backing, Dev: st.Dev}
	root := &node{LoopbackNode: fs.LoopbackNode{RootData: data}, fs: f}
	data.RootNode = root
	timeout := cacheFor
	server, err := fs.Mount(f.mount, root, &fs.Options{
		AttrTimeout:  &timeout,
		EntryTimeout: &timeout,
		MountOptions: fuse.MountOptions{
			FsName: f.backing, Name: "faultfs", DirectMountStrict: true, DisableXAttrs: true, MaxWrite: 1 << 20,
			Options: []string{"default_permissions"},
		},
	})
	if err != nil {
		return fmt.Errorf("mount %s: %w", f.mount, err)
	}
	f.server = server
	return nil
}

// PowerOff is the moment at which the power goes: from now on nothing reaches the disk, every write and sync fails.
// Kill the processes that use the file system, then call PowerOn.
func (f *FS) PowerOff() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults.off = true
}

// PowerOn drops what was not synced when the power went, except keep percent of it, and mounts what is left. No process
// may have a file of it open.
func (f *FS) PowerOn(keep int, rnd *rand.Rand) error {
	if err := f.unmount(); err != nil {
		return err
	}
	f.mu.Lock()
	err := f.journal.rollBack(keep, rnd)
	f.faults = faults{room: unlimited}
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return f.serve()
}

// Unsynced returns how many pages and names a loss of power could take now.
func (f *FS) Unsynced() (pages, names int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.journal.size()
}

// Unmount ends the file system. Everything written is in the directory below, synced or not.
func (f *FS) Unmount() error {
	return errors.Join(f.unmount(), f.journal.close())
}

// unmount waits a little for processes that have just been killed; a mount that is still used then is detached and ends
// with its last user.
func (f *FS) unmount() error {
	err := syscall.Unmount(f.mount, 0)
	for wait := time.Millisecond; errors.Is(err, syscall.EBUSY) && wait < time.Second; wait *= 2 {
		<-time.After(wait)
		err = syscall.Unmount(f.mount, 0)
	}
	if errors.Is(err, syscall.EBUSY) {
		err = syscall.Unmount(f.mount, syscall.MNT_DETACH)
	} else {
		f.server.Wait()
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", f.mount, err)
	}
	return nil
}
