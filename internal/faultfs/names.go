package faultfs

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// names is what was done to the names of one directory since it was synced.
type names struct {
	dir  *os.File
	ops  []nameOp
	gone bool // the directory was removed
}

// nameOp is a name made, taken away or moved. Moves count as operations of the directory they go to.
type nameOp struct {
	seq   int
	kind  nameKind
	name  string // made, removed, or the new name of a move
	from  *names // of a move
	old   string // its name there
	spare string // path of a second link to the file that name stood for before; empty if none
	isDir bool   // what was removed was a directory, which was empty
}

type nameKind int

const (
	made nameKind = iota + 1
	removed
	moved
)

// dir returns the record of the directory at path.
func (j *journal) dir(path string) (*names, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	id, _, err := idOf(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if n := j.dirs[id]; n != nil {
		return n, f.Close()
	}
	n := &names{dir: f}
	j.dirs[id] = n
	return n, nil
}

// note adds an operation that has been done.
func (j *journal) note(n *names, op nameOp) {
	j.seq++
	op.seq = j.seq
	n.ops = append(n.ops, op)
}

// spareLink makes a second link to the file at path before its name goes. It returns "" if there is no such file.
func (j *journal) spareLink(path string) (string, error) {
	st, err := os.Lstat(path)
	if err != nil || st.IsDir() {
		return "", nil //nolint:nilerr // what does not exist needs no second link
	}
	j.seq++
	spare := filepath.Join(j.lost, strconv.Itoa(j.seq))
	return spare, os.Link(path, spare)
}

// syncDir makes the names in the directory at path durable, and what was moved away from it.
func (j *journal) syncDir(path string) error {
	n, err := j.dir(path)
	if err != nil {
		return err
	}
	var errs []error
	for _, other := range j.dirs {
		other.ops = slices.DeleteFunc(other.ops, func(op nameOp) bool {
			done := other == n || op.from == n
			if done && op.spare != "" {
				errs = append(errs, os.Remove(op.spare))
			}
			return done
		})
	}
	return errors.Join(errs...)
}

// rollBackNames undoes the operations on names, the newest first, and keeps of each directory's a random prefix of
// about keep percent.
func (j *journal) rollBackNames(keep int, rnd *rand.Rand) error {
	type undo struct {
		dir *names
		op  nameOp
	}
	var undos []undo
	var errs []error
	for _, n := range j.sortedDirs() {
		for _, op := range n.ops[kept(len(n.ops), keep, rnd):] {
			undos = append(undos, undo{n, op})
		}
	}
	slices.SortFunc(undos, func(a, b undo) int { return cmp.Compare(b.op.seq, a.op.seq) })
	for _, u := range undos {
		errs = append(errs, u.dir.undo(u.op))
	}
	for _, n := range j.dirs {
		for _, op := range n.ops {
			if op.spare != "" {
				errs = append(errs, os.RemoveAll(op.spare))
			}
		}
		errs = append(errs, n.dir.Close())
	}
	clear(j.dirs)
	return errors.Join(errs...)
}

// kept draws how many of n operations stay: none, all, or a prefix of any length.
func kept(n, keep int, rnd *rand.Rand) int {
	switch {
	case keep <= 0:
		return 0
	case keep >= 100:
		return n
	}
	return rnd.IntN(n + 1)
}

// sortedDirs returns the directories by their first operation, so that a seed repeats.
func (j *journal) sortedDirs() []*names {
	var all []*names
	for _, n := range j.dirs {
		if len(n.ops) > 0 {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b *names) int { return cmp.Compare(a.ops[0].seq, b.ops[0].seq) })
	return all
}

// forget drops the record of a directory that was removed. If the removal is undone the directory comes back empty: what was in it
// was removed before, and may have been for good.
func (j *journal) forget(path string) error {
	n, err := j.dir(path)
	if err != nil {
		return err
	}
	id, _, err := idOf(n.dir)
	if err != nil {
		return err
	}
	errs := []error{n.dir.Close()}
	for _, op := range n.ops {
		if op.spare != "" {
			errs = append(errs, os.Remove(op.spare))
		}
	}
	n.ops, n.gone = nil, true
	delete(j.dirs, id)
	return errors.Join(errs...)
}

// undo takes back one operation. A name below a directory that has been undone itself is gone already.
func (n *names) undo(op nameOp) error {
	switch op.kind {
	case made:
		return os.RemoveAll(n.path(op.name))
	case removed:
		if op.isDir {
			return os.Mkdir(n.path(op.name), 0o755)
		}
		return os.Link(op.spare, n.path(op.name))
	case moved:
		if op.from.gone {
			return nil
		}
		if err := unix.Renameat(int(n.dir.Fd()), op.name, int(op.from.dir.Fd()), op.old); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("move %s back: %w", op.name, err)
		}
		if op.spare != "" {
			return os.Link(op.spare, n.path(op.name))
		}
	}
	return nil
}

// path names an entry through the directory's descriptor, whatever the directory is called by now.
func (n *names) path(name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", n.dir.Fd(), name)
}
