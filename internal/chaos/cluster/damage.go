package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Damage does harm to a file of a node that does not run and returns what was done. Kind is a part of the path below the data
// directory; the file and the place are drawn among those that have data.
func (n *Node) Damage(kind string, rnd *rand.Rand, do func(*os.File, *rand.Rand) (string, error)) (string, error) {
	files, err := n.files(kind)
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", fmt.Errorf("node %d has no file with data in %s", n.ID, kind)
	}
	path := files[rnd.IntN(len(files))]
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	what, err := do(f, rnd)
	rel, _ := filepath.Rel(n.data(), path)
	return what + " of " + rel, errors.Join(err, f.Sync(), f.Close())
}

// files lists files with data whose path contains kind, in a fixed order.
func (n *Node) files(kind string) (files []string, err error) {
	err = filepath.WalkDir(n.data(), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if rel, _ := filepath.Rel(n.data(), path); info.Size() > 64 && strings.Contains(rel, kind) {
			files = append(files, path)
		}
		return nil
	})
	slices.Sort(files)
	return files, err
}

// FlipBit inverts one bit of the bytes that are not zero: what was preallocated is no data.
func FlipBit(f *os.File, rnd *rand.Rand) (string, error) {
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	var b [1]byte
	var at int64
	for range 10_000 {
		at = rnd.Int64N(st.Size())
		if _, err := f.ReadAt(b[:], at); err != nil {
			return "", err
		}
		if b[0] != 0 {
			break
		}
	}
	bit := rnd.IntN(8)
	b[0] ^= 1 << bit
	_, err = f.WriteAt(b[:], at)
	return fmt.Sprintf("bit %d of byte %d flipped", bit, at), err
}

// CutOff takes the last part of a file away.
func CutOff(f *os.File, rnd *rand.Rand) (string, error) {
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	size := rnd.Int64N(st.Size())
	return fmt.Sprintf("cut from %d to %d bytes", st.Size(), size), f.Truncate(size)
}

// Backup copies the data of a node that does not run, for Restore.
func (n *Node) Backup() error {
	return errors.Join(n.DropBackup(), os.CopyFS(n.backup(), os.DirFS(n.data())))
}

// Restore puts the copy of Backup in the place of the data.
func (n *Node) Restore() error {
	if err := n.Wipe(); err != nil {
		return err
	}
	return errors.Join(os.CopyFS(n.data(), os.DirFS(n.backup())), n.DropBackup())
}

// DropBackup removes the copy.
func (n *Node) DropBackup() error { return os.RemoveAll(n.backup()) }

func (n *Node) backup() string { return filepath.Join(n.dir, "backup") }
