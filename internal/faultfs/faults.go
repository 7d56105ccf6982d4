package faultfs

import (
	"syscall"
	"time"
)

// unlimited is room without a bound of its own.
const unlimited = -1

// faults are what the file system does wrong at present. FS.mu guards them.
type faults struct {
	off      bool          // the power is off
	failSync int           // the so-maniest sync from now fails; 0: none
	failed   int           // syncs that failed
	delay    time.Duration // of each sync
	lies     bool          // syncs succeed and make nothing durable
	room     int64         // bytes that files may still grow by, or unlimited
}

// FailSync lets the nth fsync or fdatasync from now fail with EIO, once; 1 is the next one.
func (f *FS) FailSync(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults.failSync = n
}

// FailedSyncs returns how many syncs have failed by FailSync.
func (f *FS) FailedSyncs() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.faults.failed
}

// DelaySync lets every sync take so long; 0 ends it.
func (f *FS) DelaySync(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults.delay = d
}

// Lie lets every sync succeed and make nothing durable, as a disk does that ignores flushes. PowerOn ends it.
func (f *FS) Lie() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults.lies = true
}

// LimitSpace leaves n bytes free: files that would grow beyond get ENOSPC, and statfs tells. What is deleted or cut
// short gives room back. FreeSpace ends it.
func (f *FS) LimitSpace(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults.room = n
}

// FreeSpace ends LimitSpace.
func (f *FS) FreeSpace() { f.LimitSpace(unlimited) }

// change runs an operation that changes something, if the power is on.
func (f *FS) change(op func() syscall.Errno) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.faults.off {
		return syscall.EIO
	}
	return op()
}

// sync makes something durable by op, or fails as it was told to.
func (f *FS) sync(op func()) syscall.Errno {
	f.mu.Lock()
	delay := f.faults.delay
	f.mu.Unlock()
	if delay > 0 {
		<-time.After(delay)
	}
	return f.change(func() syscall.Errno {
		if f.faults.failSync > 0 {
			if f.faults.failSync--; f.faults.failSync == 0 {
				f.faults.failed++
				return syscall.EIO
			}
		}
		if !f.faults.lies {
			op()
		}
		return 0
	})
}

// take uses up room for growth bytes, negative ones give room back. FS.mu is held.
func (f *FS) takeLocked(growth int64) syscall.Errno {
	if f.faults.room == unlimited {
		return 0
	}
	if growth > f.faults.room {
		return syscall.ENOSPC
	}
	f.faults.room -= growth
	return 0
}
