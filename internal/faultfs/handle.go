package faultfs

import (
	"context"
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// handle is an open file. It does not offer the kernel its descriptor, which would write past us.
type handle struct {
	fs     *FS
	file   *os.File
	synced bool // every write is durable at once
}

var (
	_ fs.FileReader    = (*handle)(nil)
	_ fs.FileWriter    = (*handle)(nil)
	_ fs.FileFlusher   = (*handle)(nil)
	_ fs.FileReleaser  = (*handle)(nil)
	_ fs.FileGetattrer = (*handle)(nil)
	_ fs.FileAllocater = (*handle)(nil)
	_ fs.FileLseeker   = (*handle)(nil)
)

func (h *handle) Read(_ context.Context, buf []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	return fuse.ReadResultFd(h.file.Fd(), off, len(buf)), 0
}

func (h *handle) Write(_ context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	n := 0
	errno := h.fs.change(func() syscall.Errno {
		if errno := h.growLocked(off + int64(len(data))); errno != 0 {
			return errno
		}
		if err := h.saveLocked(off, off+int64(len(data))); err != nil {
			return fs.ToErrno(err)
		}
		var err error
		if n, err = syscall.Pwrite(int(h.file.Fd()), data, off); err != nil {
			return fs.ToErrno(err)
		}
		if h.synced && !h.fs.faults.lies {
			return fs.ToErrno(h.fs.journal.syncFile(h.file))
		}
		return 0
	})
	return uint32(n), errno
}

// growLocked takes room for a file that will reach to.
func (h *handle) growLocked(to int64) syscall.Errno {
	st, err := h.file.Stat()
	if err != nil {
		return fs.ToErrno(err)
	}
	if growth := to - st.Size(); growth > 0 {
		return h.fs.takeLocked(growth)
	}
	return 0
}

func (h *handle) saveLocked(from, to int64) error {
	p, err := h.fs.journal.file(h.file)
	if err != nil {
		return err
	}
	return p.save(from, to)
}

// resize cuts the file or lets it grow by zeros.
func (h *handle) resize(size int64) syscall.Errno {
	return h.fs.change(func() syscall.Errno {
		st, err := h.file.Stat()
		if err != nil {
			return fs.ToErrno(err)
		}
		if errno := h.fs.takeLocked(size - st.Size()); errno != 0 {
			return errno
		}
		if err := h.saveLocked(size, st.Size()); err != nil {
			return fs.ToErrno(err)
		}
		return fs.ToErrno(h.file.Truncate(size))
	})
}

func (h *handle) sync() syscall.Errno {
	var err error
	if errno := h.fs.sync(func() { err = h.fs.journal.syncFile(h.file) }); errno != 0 {
		return errno
	}
	return fs.ToErrno(err)
}

// Allocate reserves space. Modes that change content or move it are refused.
func (h *handle) Allocate(_ context.Context, off, size uint64, mode uint32) syscall.Errno {
	if mode&^unix.FALLOC_FL_KEEP_SIZE != 0 {
		return syscall.ENOTSUP
	}
	return h.fs.change(func() syscall.Errno {
		if mode == 0 {
			if errno := h.growLocked(int64(off + size)); errno != 0 {
				return errno
			}
		}
		if err := h.saveLocked(0, 0); err != nil { // remembers the size
			return fs.ToErrno(err)
		}
		return fs.ToErrno(unix.Fallocate(int(h.file.Fd()), mode, int64(off), int64(size)))
	})
}

func (h *handle) Getattr(_ context.Context, out *fuse.AttrOut) syscall.Errno {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(h.file.Fd()), &st); err != nil {
		return fs.ToErrno(err)
	}
	out.FromStat(&st)
	return 0
}

func (h *handle) Lseek(_ context.Context, off uint64, whence uint32) (uint64, syscall.Errno) {
	n, err := unix.Seek(int(h.file.Fd()), int64(off), int(whence))
	return uint64(n), fs.ToErrno(err)
}

// Flush has nothing to do: a close makes nothing durable.
func (h *handle) Flush(context.Context) syscall.Errno { return 0 }

// Release closes the file when its last descriptor is gone.
func (h *handle) Release(context.Context) syscall.Errno { return fs.ToErrno(h.file.Close()) }

// dirHandle is an open directory.
type dirHandle struct {
	fs.DirStream
	node *node
}

var (
	_ fs.FileReaddirenter = (*dirHandle)(nil)
	_ fs.FileReleasedirer = (*dirHandle)(nil)
	_ fs.FileSeekdirer    = (*dirHandle)(nil)
	_ fs.FileFsyncdirer   = (*dirHandle)(nil)
)

// Readdirent returns the next entry, nil after the last.
func (d *dirHandle) Readdirent(context.Context) (*fuse.DirEntry, syscall.Errno) {
	if !d.HasNext() {
		return nil, 0
	}
	e, errno := d.Next()
	return &e, errno
}

// Releasedir closes the directory.
func (d *dirHandle) Releasedir(context.Context, uint32) { d.Close() }

// Seekdir goes to an entry that was read before.
func (d *dirHandle) Seekdir(ctx context.Context, off uint64) syscall.Errno {
	s, ok := d.DirStream.(fs.FileSeekdirer)
	if !ok {
		return syscall.ENOTSUP
	}
	return s.Seekdir(ctx, off)
}

// Fsyncdir makes the names in the directory durable.
func (d *dirHandle) Fsyncdir(context.Context, uint32) syscall.Errno { return d.node.syncDir() }
