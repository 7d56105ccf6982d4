// Package faultfs is a file system that fails on demand, for tests that run the real server on it. It is a FUSE
// pass-through of a directory and can lose power (everything that was not synced is dropped, wholly or in part), fail or delay a
// sync, and run out of space. Reads, writes, shared memory maps, flock, rename and fallocate work as on a disk.
//
// What it takes for durable is what POSIX promises and no more: the bytes of a file up to its last fsync or fdatasync (or written
// through a descriptor opened with O_SYNC or O_DSYNC), and a name once its directory was synced. Content is kept or lost by pages of 4
// KiB, each on its own; of the names of one directory a prefix of the operations is kept, as a journaling file system does.
//
// It needs root and /dev/fuse. It does not survive a loss of power itself: a sync does not reach the disk below.
package faultfs
