package objstore

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// leftover is the suffix of objects not committed yet.
const leftover = ".tmp"

// Dir is a Store in a folder of a file system. An object is written beside its place, synced, renamed and its folder synced.
type Dir struct {
	fs   vfs.FS
	root string

	// folders is held while a folder is made and gets its first file, and while empty ones are removed: a folder must not go between the two.
	folders sync.Mutex
	holds   holds
}

// NewDir returns the Store of a folder, which must exist.
func NewDir(fs vfs.FS, root string) *Dir { return &Dir{fs: fs, root: root} }

func (d *Dir) place(name string) string {
	return d.fs.PathJoin(append([]string{d.root}, strings.Split(name, "/")...)...)
}

// check refuses paths that could lead out of the folder.
func check(name string) error {
	if name == "" || name != path.Clean(name) || path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") {
		return fmt.Errorf("objstore: path %q is not clean", name)
	}
	return nil
}

// Create starts an object.
func (d *Dir) Create(name string) (Object, error) {
	if err := check(name); err != nil {
		return nil, err
	}
	d.folders.Lock()
	defer d.folders.Unlock()
	if err := d.makeFolder(path.Dir(name)); err != nil {
		return nil, err
	}
	f, err := d.fs.Create(d.place(name+leftover), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("create data file: %w", err)
	}
	return &dirObject{dir: d, name: name, file: f, buffer: bufio.NewWriterSize(f, 256<<10)}, nil
}

// makeFolder creates a folder and its parents, and makes their entries durable.
func (d *Dir) makeFolder(name string) error {
	if name == "." {
		return nil
	}
	if _, err := d.fs.Stat(d.place(name)); err == nil {
		return nil
	}
	parent := path.Dir(name)
	if err := d.makeFolder(parent); err != nil {
		return err
	}
	if err := d.fs.MkdirAll(d.place(name), 0o755); err != nil {
		return fmt.Errorf("create data folder: %w", err)
	}
	return d.syncFolder(parent)
}

func (d *Dir) syncFolder(name string) error {
	folder := d.root
	if name != "." {
		folder = d.place(name)
	}
	f, err := d.fs.OpenDir(folder)
	if err != nil {
		return fmt.Errorf("open data folder: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync data folder: %w", err)
	}
	return nil
}

// Open reads an object.
func (d *Dir) Open(name string) (Reader, error) {
	if err := check(name); err != nil {
		return nil, err
	}
	f, err := d.fs.Open(d.place(name), vfs.RandomReadsOption)
	if err != nil {
		return nil, fmt.Errorf("open data file %s: %w", name, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open data file %s: %w", name, errors.Join(err, f.Close()))
	}
	return dirReader{File: f, size: info.Size()}, nil
}

// List returns the paths below prefix.
func (d *Dir) List(prefix string) ([]string, error) {
	var paths []string
	if err := d.list(path.Clean(prefix), &paths); err != nil {
		return nil, fmt.Errorf("list data files: %w", err)
	}
	slices.Sort(paths)
	return paths, nil
}

func (d *Dir) list(folder string, paths *[]string) error {
	names, err := d.fs.List(d.place(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		name = path.Join(folder, name)
		info, err := d.fs.Stat(d.place(name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		case info.IsDir():
			err = d.list(name, paths)
		default:
			*paths = append(*paths, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Delete removes an object and the folders that are empty without it, while there is a Hold later.
func (d *Dir) Delete(name string) error {
	if err := check(name); err != nil {
		return err
	}
	if d.putOff(name) {
		return nil
	}
	return d.remove(name)
}

func (d *Dir) remove(name string) error {
	if err := d.fs.Remove(d.place(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete data file: %w", err)
	}
	d.folders.Lock()
	defer d.folders.Unlock()
	for folder := path.Dir(name); folder != "." && d.removeEmpty(folder); folder = path.Dir(folder) {
	}
	return nil
}

// removeEmpty removes a folder if it is empty and reports whether it did. An empty folder that stays does no harm.
func (d *Dir) removeEmpty(folder string) bool {
	names, err := d.fs.List(d.place(folder))
	return err == nil && len(names) == 0 && d.fs.Remove(d.place(folder)) == nil
}

type dirReader struct {
	vfs.File
	size int64
}

func (r dirReader) Size() int64 { return r.size }

type dirObject struct {
	dir    *Dir
	name   string
	file   vfs.File
	buffer *bufio.Writer
	done   bool
}

func (o *dirObject) Write(p []byte) (int, error) { return o.buffer.Write(p) }

func (o *dirObject) Commit() error {
	o.done = true
	err := o.buffer.Flush()
	if err == nil {
		err = o.file.Sync()
	}
	if err := errors.Join(err, o.file.Close()); err != nil {
		return fmt.Errorf("sync data file %s: %w", o.name, errors.Join(err, o.dir.Delete(o.name+leftover)))
	}
	if err := o.dir.fs.Rename(o.dir.place(o.name+leftover), o.dir.place(o.name)); err != nil {
		return fmt.Errorf("rename data file: %w", errors.Join(err, o.dir.Delete(o.name+leftover)))
	}
	return o.dir.syncFolder(path.Dir(o.name))
}

func (o *dirObject) Abort() error {
	if o.done {
		return nil
	}
	o.done = true
	return errors.Join(o.file.Close(), o.dir.Delete(o.name+leftover))
}
