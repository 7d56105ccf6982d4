package faultfs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a mounted file system in a directory of the test.
type disk struct {
	*FS
	t   *testing.T
	dir string
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	if err := Available(); err != nil {
		t.Skip(err)
	}
	base := t.TempDir()
	mount, backing := filepath.Join(base, "mount"), filepath.Join(base, "backing")
	must(t, errors.Join(os.Mkdir(mount, 0o755), os.Mkdir(backing, 0o755)))
	f, err := Mount(mount, backing)
	must(t, err)
	t.Cleanup(func() {
		if err := f.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return &disk{FS: f, t: t, dir: mount}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (d *disk) path(name string) string { return filepath.Join(d.dir, name) }

// write writes content at the end of a file, and syncs it if asked to.
func (d *disk) write(name, content string, sync bool) {
	d.t.Helper()
	f, err := os.OpenFile(d.path(name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	must(d.t, err)
	defer f.Close()
	_, err = f.WriteString(content)
	must(d.t, err)
	if sync {
		must(d.t, f.Sync())
	}
}

func (d *disk) syncDir(name string) {
	d.t.Helper()
	f, err := os.Open(d.path(name))
	must(d.t, err)
	defer f.Close()
	must(d.t, f.Sync())
}

func (d *disk) losePower(keep int, rnd *rand.Rand) {
	d.t.Helper()
	d.PowerOff()
	must(d.t, d.PowerOn(keep, rnd))
}

// tree lists all files and their content.
func (d *disk) tree() string {
	d.t.Helper()
	var b strings.Builder
	must(d.t, filepath.WalkDir(d.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || path == d.dir {
			return err
		}
		rel, _ := filepath.Rel(d.dir, path)
		if e.IsDir() {
			fmt.Fprintf(&b, "%s/ ", rel)
			return nil
		}
		content, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s=%s ", rel, content)
		return err
	}))
	return strings.TrimSpace(b.String())
}

func (d *disk) expect(want string) {
	d.t.Helper()
	if got := d.tree(); got != want {
		d.t.Errorf("the disk holds %q, want %q", got, want)
	}
}

func rnd(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func TestPowerLossDropsUnsyncedBytes(t *testing.T) {
	d := newDisk(t)
	d.write("a", "synced", true)
	d.syncDir("")
	d.write("a", " and not", false)
	d.expect("a=synced and not")
	d.losePower(0, rnd(1))
	d.expect("a=synced")
	d.write("a", ", then more", true)
	d.losePower(0, rnd(1))
	d.expect("a=synced, then more")
	d.write("a", "!", false)
	d.losePower(100, rnd(1))
	d.expect("a=synced, then more!")
}

func TestPowerLossRestoresOverwrittenAndCutBytes(t *testing.T) {
	d := newDisk(t)
	d.write("a", "0123456789", true)
	d.write("b", "0123456789", true)
	d.syncDir("")
	f, err := os.OpenFile(d.path("a"), os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("xxxx"), 3)
	must(t, errors.Join(err, f.Close(), os.Truncate(d.path("b"), 4)))
	d.expect("a=012xxxx789 b=0123")
	d.losePower(0, rnd(1))
	d.expect("a=0123456789 b=0123456789")
	must(t, os.WriteFile(d.path("a"), []byte("new"), 0o644)) // cuts and writes
	d.expect("a=new b=0123456789")
	d.losePower(0, rnd(1))
	d.expect("a=0123456789 b=0123456789")
}

func TestPowerLossKeepsSomePages(t *testing.T) {
	d := newDisk(t)
	const pages = 200
	d.write("a", strings.Repeat("o", pages*pageSize), true)
	d.syncDir("")
	must(t, os.WriteFile(d.path("b"), nil, 0o644))
	f, err := os.OpenFile(d.path("a"), os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte("n"), pages*pageSize), 0)
	must(t, errors.Join(err, f.Close()))
	d.losePower(50, rnd(2))
	content, err := os.ReadFile(d.path("a"))
	must(t, err)
	kept := 0
	for i := range pages {
		page := content[i*pageSize : (i+1)*pageSize]
		switch {
		case bytes.Count(page, []byte("n")) == pageSize:
			kept++
		case bytes.Count(page, []byte("o")) != pageSize:
			t.Fatalf("page %d is torn", i)
		}
	}
	if kept < pages/4 || kept > pages*3/4 {
		t.Errorf("%d of %d pages kept", kept, pages)
	}
}

func TestPowerLossUndoesNames(t *testing.T) {
	d := newDisk(t)
	d.write("keep", "k", true)
	d.write("target", "old", true)
	must(t, os.Mkdir(d.path("dir"), 0o755))
	d.syncDir("")
	const before = "dir/ keep=k target=old"
	d.write("target.tmp", "new", true)
	must(t, errors.Join(os.Rename(d.path("target.tmp"), d.path("target")), os.Remove(d.path("keep"))))
	must(t, errors.Join(os.Mkdir(d.path("made"), 0o755), os.WriteFile(d.path("made/x"), []byte("x"), 0o644)))
	must(t, os.Remove(d.path("dir")))
	d.expect("made/ made/x=x target=new")
	d.losePower(0, rnd(1))
	d.expect(before)

	d.write("target.tmp", "new", true)
	must(t, errors.Join(os.Rename(d.path("target.tmp"), d.path("target")), os.Remove(d.path("keep"))))
	d.syncDir("")
	d.losePower(0, rnd(1))
	d.expect("dir/ target=new")

	must(t, os.Rename(d.path("target"), d.path("dir/moved")))
	d.losePower(0, rnd(1))
	d.expect("dir/ target=new")
	must(t, os.Rename(d.path("target"), d.path("dir/moved")))
	d.syncDir("dir")
	d.losePower(0, rnd(1))
	d.expect("dir/ dir/moved=new")
}

// A tree that was removed comes back or not, as whole as its directories were synced, and nothing fails over it.
func TestPowerLossAfterRemovingTree(t *testing.T) {
	d := newDisk(t)
	for _, sync := range []bool{true, false} {
		must(t, errors.Join(os.Mkdir(d.path("tree"), 0o755), os.Mkdir(d.path("tree/sub"), 0o755)))
		d.write("tree/a", "a", true)
		d.write("tree/sub/b", "b", true)
		d.syncDir("tree/sub")
		d.syncDir("tree")
		d.syncDir("")
		must(t, errors.Join(os.Rename(d.path("tree/sub/b"), d.path("moved")), os.RemoveAll(d.path("tree"))))
		if sync {
			d.syncDir("")
		}
		d.losePower(0, rnd(1))
		if sync {
			d.expect("moved=b")
			must(t, os.Remove(d.path("moved")))
			d.syncDir("")
		} else {
			d.expect("moved=b tree/")
		}
	}
}

// A prefix of the operations on names stays: never the second without the first.
func TestPowerLossKeepsPrefixOfNames(t *testing.T) {
	lengths := map[int]bool{}
	d := newDisk(t)
	for seed := range uint64(12) {
		for i := range 5 {
			d.write(strconv.Itoa(i), "", true)
		}
		d.losePower(50, rnd(seed))
		entries, err := os.ReadDir(d.dir)
		must(t, err)
		for i, e := range entries {
			if e.Name() != strconv.Itoa(i) {
				t.Fatalf("seed %d: %v is no prefix", seed, entries)
			}
			must(t, os.Remove(d.path(e.Name())))
		}
		lengths[len(entries)] = true
		d.syncDir("")
	}
	if len(lengths) < 3 {
		t.Errorf("always the same prefixes: %v", lengths)
	}
}

func TestSyncFailsOnce(t *testing.T) {
	d := newDisk(t)
	f, err := os.Create(d.path("a"))
	must(t, err)
	defer f.Close()
	d.FailSync(2)
	must(t, f.Sync())
	if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, syscall.EIO) {
		t.Errorf("the second sync: %v", err)
	}
	must(t, f.Sync())
	if d.FailedSyncs() != 1 {
		t.Errorf("%d syncs failed", d.FailedSyncs())
	}
	d.FailSync(1)
	dir, err := os.Open(d.dir)
	must(t, err)
	defer dir.Close()
	if err := dir.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync of the directory: %v", err)
	}
	d.DelaySync(30 * time.Millisecond)
	began := time.Now()
	must(t, f.Sync())
	if took := time.Since(began); took < 30*time.Millisecond {
		t.Errorf("a delayed sync took %v", took)
	}
}

func TestLyingDiskLosesWhatWasSynced(t *testing.T) {
	d := newDisk(t)
	d.write("a", "true", true)
	d.syncDir("")
	d.Lie()
	d.write("a", " and a lie", true)
	d.write("b", "", true)
	d.syncDir("")
	d.losePower(0, rnd(1))
	d.expect("a=true")
	d.write("a", " again", true)
	d.losePower(0, rnd(1))
	d.expect("a=true again")
}

func TestNoSpace(t *testing.T) {
	d := newDisk(t)
	d.write("a", strings.Repeat("x", 10_000), true)
	d.LimitSpace(8192)
	var st syscall.Statfs_t
	must(t, syscall.Statfs(d.dir, &st))
	if free := int64(st.Bavail) * st.Bsize; free > 8192 {
		t.Errorf("statfs tells %d free bytes", free)
	}
	f, err := os.OpenFile(d.path("a"), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 9000), 10_000); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a write beyond the space: %v", err)
	}
	_, err = f.WriteAt(make([]byte, 9000), 0) // grows nothing
	must(t, err)
	if err := unix.Fallocate(int(f.Fd()), 0, 0, 100_000); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("fallocate: %v", err)
	}
	must(t, f.Truncate(0))
	_, err = f.WriteAt(make([]byte, 15_000), 0)
	must(t, err)
	d.FreeSpace()
	_, err = f.WriteAt(make([]byte, 1<<20), 0)
	must(t, err)
}

func TestPowerOffStopsWrites(t *testing.T) {
	d := newDisk(t)
	f, err := os.Create(d.path("a"))
	must(t, err)
	d.PowerOff()
	if _, err := f.Write([]byte("x")); !errors.Is(err, syscall.EIO) {
		t.Errorf("write without power: %v", err)
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync without power: %v", err)
	}
	f.Close()
	must(t, d.PowerOn(0, rnd(1)))
	d.expect("")
}

func TestMapsLocksAndSyncedDescriptors(t *testing.T) {
	d := newDisk(t)
	d.write("a", strings.Repeat("a", pageSize), true)
	d.syncDir("")
	f, err := os.OpenFile(d.path("a"), os.O_RDWR, 0)
	must(t, err)
	m, err := unix.Mmap(int(f.Fd()), 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	m[0] = 'M'
	must(t, unix.Msync(m, unix.MS_SYNC))
	m[1] = 'n'
	must(t, errors.Join(unix.Munmap(m), unix.Flock(int(f.Fd()), unix.LOCK_EX)))
	other, err := os.Open(d.path("a"))
	must(t, err)
	if err := unix.Flock(int(other.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("a second lock: %v", err)
	}
	must(t, errors.Join(other.Close(), f.Close()))
	direct, err := os.OpenFile(d.path("b"), os.O_WRONLY|os.O_CREATE|os.O_SYNC, 0o644)
	must(t, err)
	d.syncDir("")
	_, err = direct.WriteString("durable")
	must(t, errors.Join(err, direct.Close()))
	d.losePower(0, rnd(1))
	content, err := os.ReadFile(d.path("a"))
	must(t, err)
	if string(content[:3]) != "Maa" {
		t.Errorf("after the loss the mapped file starts with %q", content[:3])
	}
	if b, err := os.ReadFile(d.path("b")); err != nil || string(b) != "durable" {
		t.Errorf("written through O_SYNC: %q, %v", b, err)
	}
}
