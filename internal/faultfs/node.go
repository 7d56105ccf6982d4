package faultfs

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is a file or directory. What it does not override passes through: lookups, reads of directories, links to read.
type node struct {
	fs.LoopbackNode
	fs *FS
}

var (
	_ fs.NodeWrapChilder    = (*node)(nil)
	_ fs.NodeCreater        = (*node)(nil)
	_ fs.NodeOpener         = (*node)(nil)
	_ fs.NodeOpendirHandler = (*node)(nil)
	_ fs.NodeFsyncer        = (*node)(nil)
	_ fs.NodeSetattrer      = (*node)(nil)
	_ fs.NodeUnlinker       = (*node)(nil)
	_ fs.NodeRmdirer        = (*node)(nil)
	_ fs.NodeRenamer        = (*node)(nil)
	_ fs.NodeMkdirer        = (*node)(nil)
	_ fs.NodeMknoder        = (*node)(nil)
	_ fs.NodeLinker         = (*node)(nil)
	_ fs.NodeSymlinker      = (*node)(nil)
	_ fs.NodeStatfser       = (*node)(nil)
	_ fs.NodeCopyFileRanger = (*node)(nil)
)

// WrapChild makes every node below one of ours.
func (n *node) WrapChild(_ context.Context, _ fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{LoopbackNode: fs.LoopbackNode{RootData: n.RootData}, fs: n.fs}
}

// path returns where the node, or an entry of it, is below.
func (n *node) path(name ...string) string {
	return filepath.Join(append([]string{n.RootData.Path, n.Path(n.Root())}, name...)...)
}

// make runs an operation that makes a name in this directory.
func (n *node) make(name string, op func() syscall.Errno) syscall.Errno {
	return n.fs.change(func() syscall.Errno {
		if n.fs.faults.room == 0 {
			return syscall.ENOSPC
		}
		dir, err := n.fs.journal.dir(n.path())
		if err != nil {
			return fs.ToErrno(err)
		}
		if errno := op(); errno != 0 {
			return errno
		}
		n.fs.journal.note(dir, nameOp{kind: made, name: name})
		return 0
	})
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (child *fs.Inode, h fs.FileHandle, _ uint32, errno syscall.Errno) {
	errno = n.make(name, func() syscall.Errno {
		// The kernel creates what it knows not to exist; nobody else makes files below. Our descriptor reads too.
		f, err := os.OpenFile(n.path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, os.FileMode(mode&0o7777))
		if err != nil {
			return fs.ToErrno(err)
		}
		h = &handle{fs: n.fs, file: f, synced: syncs(flags)}
		var errno syscall.Errno
		child, errno = n.Lookup(ctx, name, out)
		return errno
	})
	return child, h, 0, errno
}

// syncs reports whether a descriptor opened with flags makes each of its writes durable.
func syncs(flags uint32) bool { return flags&(syscall.O_SYNC|syscall.O_DSYNC) != 0 }

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	mode := os.O_RDWR
	if flags&syscall.O_ACCMODE == syscall.O_RDONLY {
		mode = os.O_RDONLY
	}
	f, err := os.OpenFile(n.path(), mode, 0)
	if err != nil {
		return nil, 0, fs.ToErrno(err)
	}
	h := &handle{fs: n.fs, file: f, synced: syncs(flags)}
	if flags&syscall.O_TRUNC != 0 && mode == os.O_RDWR {
		if errno := h.resize(0); errno != 0 {
			return nil, 0, errno
		}
	}
	return h, 0, 0
}

func (n *node) OpendirHandle(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	stream, errno := fs.NewLoopbackDirStream(n.path())
	if errno != 0 {
		return nil, 0, errno
	}
	return &dirHandle{DirStream: stream, node: n}, 0, 0
}

func (n *node) Fsync(_ context.Context, h fs.FileHandle, _ uint32) syscall.Errno {
	file, ok := h.(*handle)
	if !ok {
		return n.syncDir()
	}
	return file.sync()
}

func (n *node) syncDir() (errno syscall.Errno) {
	var err error
	if errno := n.fs.sync(func() { err = n.fs.journal.syncDir(n.path()) }); errno != 0 {
		return errno
	}
	return fs.ToErrno(err)
}

func (n *node) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if errno := n.resize(h, int64(size)); errno != 0 {
			return errno
		}
		in.Valid &^= fuse.FATTR_SIZE
	}
	return n.LoopbackNode.Setattr(ctx, nil, in, out)
}

func (n *node) resize(h fs.FileHandle, size int64) syscall.Errno {
	if open, ok := h.(*handle); ok {
		return open.resize(size)
	}
	f, err := os.OpenFile(n.path(), os.O_RDWR, 0)
	if err != nil {
		return fs.ToErrno(err)
	}
	defer f.Close()
	return (&handle{fs: n.fs, file: f}).resize(size)
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	return n.fs.change(func() syscall.Errno {
		dir, err := n.fs.journal.dir(n.path())
		if err != nil {
			return fs.ToErrno(err)
		}
		spare, err := n.fs.journal.spareLink(n.path(name))
		if err != nil {
			return fs.ToErrno(err)
		}
		if st, err := os.Lstat(n.path(name)); err == nil {
			_ = n.fs.takeLocked(-st.Size()) // giving back cannot fail
		}
		if err := syscall.Unlink(n.path(name)); err != nil {
			return fs.ToErrno(err)
		}
		n.fs.journal.note(dir, nameOp{kind: removed, name: name, spare: spare})
		return 0
	})
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	return n.fs.change(func() syscall.Errno {
		dir, err := n.fs.journal.dir(n.path())
		if err != nil {
			return fs.ToErrno(err)
		}
		entries, err := os.ReadDir(n.path(name))
		if err != nil {
			return fs.ToErrno(err)
		}
		if len(entries) > 0 {
			return syscall.ENOTEMPTY
		}
		if err := n.fs.journal.forget(n.path(name)); err != nil {
			return fs.ToErrno(err)
		}
		if errno := n.LoopbackNode.Rmdir(ctx, name); errno != 0 {
			return errno
		}
		n.fs.journal.note(dir, nameOp{kind: removed, name: name, isDir: true})
		return 0
	})
}

func (n *node) Rename(_ context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	to, ok := parent.(*node)
	if !ok || flags != 0 {
		return syscall.EINVAL // renameat2's exchanges are not known here
	}
	return n.fs.change(func() syscall.Errno {
		from, err := n.fs.journal.dir(n.path())
		if err != nil {
			return fs.ToErrno(err)
		}
		dir, err := n.fs.journal.dir(to.path())
		if err != nil {
			return fs.ToErrno(err)
		}
		spare, err := n.fs.journal.spareLink(to.path(newName))
		if err != nil {
			return fs.ToErrno(err)
		}
		if err := syscall.Rename(n.path(name), to.path(newName)); err != nil {
			return fs.ToErrno(err)
		}
		n.fs.journal.note(dir, nameOp{kind: moved, name: newName, from: from, old: name, spare: spare})
		return 0
	})
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (child *fs.Inode, errno syscall.Errno) {
	errno = n.make(name, func() (errno syscall.Errno) {
		child, errno = n.LoopbackNode.Mkdir(ctx, name, mode, out)
		return errno
	})
	return child, errno
}

func (n *node) Mknod(ctx context.Context, name string, mode, rdev uint32, out *fuse.EntryOut) (child *fs.Inode, errno syscall.Errno) {
	errno = n.make(name, func() (errno syscall.Errno) {
		child, errno = n.LoopbackNode.Mknod(ctx, name, mode, rdev, out)
		return errno
	})
	return child, errno
}

func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (child *fs.Inode, errno syscall.Errno) {
	errno = n.make(name, func() (errno syscall.Errno) {
		child, errno = n.LoopbackNode.Link(ctx, target, name, out)
		return errno
	})
	return child, errno
}

func (n *node) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (child *fs.Inode, errno syscall.Errno) {
	errno = n.make(name, func() (errno syscall.Errno) {
		child, errno = n.LoopbackNode.Symlink(ctx, target, name, out)
		return errno
	})
	return child, errno
}

func (n *node) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	if errno := n.LoopbackNode.Statfs(ctx, out); errno != 0 {
		return errno
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	if room := n.fs.faults.room; room != unlimited {
		out.Bfree = uint64(room) / uint64(out.Bsize)
		out.Bavail = out.Bfree
	}
	return 0
}

// CopyFileRange is refused: the kernel reads and writes instead, which is seen here.
func (n *node) CopyFileRange(context.Context, fs.FileHandle, uint64, *fs.Inode, fs.FileHandle, uint64, uint64, uint64) (uint32, syscall.Errno) {
	return 0, syscall.ENOTSUP
}
