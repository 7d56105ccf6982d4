package faultfs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
)

// fileID tells a file or directory below apart, whatever its name.
type fileID struct{ dev, ino uint64 }

// journal remembers how to undo what was not synced: the old content of pages, and the operations on names. Its owner locks.
type journal struct {
	lost  string // directory of deleted files
	files map[fileID]*pages
	dirs  map[fileID]*names
	seq   int
}

func newJournal(lost string) (*journal, error) {
	if err := os.RemoveAll(lost); err != nil {
		return nil, fmt.Errorf("clear %s: %w", lost, err)
	}
	if err := os.Mkdir(lost, 0o700); err != nil {
		return nil, fmt.Errorf("make %s: %w", lost, err)
	}
	return &journal{lost: lost, files: map[fileID]*pages{}, dirs: map[fileID]*names{}}, nil
}

// idOf returns the id and size of an open file.
func idOf(f *os.File) (fileID, int64, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return fileID{}, 0, err
	}
	return fileID{st.Dev, st.Ino}, st.Size, nil
}

// file returns the record of an open file, made when it has none, which then counts as synced as it is.
func (j *journal) file(f *os.File) (*pages, error) {
	id, size, err := idOf(f)
	if err != nil {
		return nil, err
	}
	if p := j.files[id]; p != nil {
		return p, nil
	}
	// A descriptor of our own: it reads even if the writer's does not, and outlives it.
	own, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	p := &pages{file: own, synced: size, old: map[int64][]byte{}}
	j.files[id] = p
	return p, nil
}

// syncFile makes the content of an open file durable.
func (j *journal) syncFile(f *os.File) error {
	id, _, err := idOf(f)
	if err != nil {
		return err
	}
	if p := j.files[id]; p != nil {
		delete(j.files, id)
		return p.file.Close()
	}
	return nil
}

func (j *journal) size() (pages, names int) {
	for _, p := range j.files {
		pages += len(p.old)
	}
	for _, n := range j.dirs {
		names += len(n.ops)
	}
	return pages, names
}

// rollBack brings the directory below to a state that a loss of power may leave, and forgets.
func (j *journal) rollBack(keep int, rnd *rand.Rand) error {
	var errs []error
	for _, p := range sortedFiles(j.files) {
		errs = append(errs, p.rollBack(keep, rnd), p.file.Close())
	}
	clear(j.files)
	errs = append(errs, j.rollBackNames(keep, rnd))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("drop what was not synced: %w", err)
	}
	return nil
}

func (j *journal) close() error {
	var errs []error
	for _, p := range j.files {
		errs = append(errs, p.file.Close())
	}
	for _, n := range j.dirs {
		errs = append(errs, n.dir.Close())
	}
	clear(j.files)
	clear(j.dirs)
	return errors.Join(append(errs, os.RemoveAll(j.lost))...)
}
