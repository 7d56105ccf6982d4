package objstore_test

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/flusher/objstore"
)

// stores are a folder of the machine and one in memory.
func stores(t *testing.T) map[string]*objstore.Dir {
	t.Helper()
	mem := vfs.NewMem()
	if err := mem.MkdirAll("root", 0o755); err != nil {
		t.Fatal(err)
	}
	return map[string]*objstore.Dir{
		"disk": objstore.NewDir(vfs.Default, t.TempDir()), "memory": objstore.NewDir(mem, "root"),
	}
}

func put(t *testing.T, s objstore.Store, path, content string) {
	t.Helper()
	o, err := s.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(o, content); err != nil {
		t.Fatal(err)
	}
	if err := o.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := o.Abort(); err != nil {
		t.Errorf("Abort after Commit: %v", err)
	}
}

func list(t *testing.T, s objstore.Store, prefix string) []string {
	t.Helper()
	paths, err := s.List(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestDir(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := list(t, s, ""); len(got) != 0 {
				t.Errorf("an empty store lists %v", got)
			}
			put(t, s, "data/t-1/2/a.parquet", "hello")
			put(t, s, "data/t-1/1/b.parquet", "")
			put(t, s, "data/u-2/1/c.parquet", "world")
			if got, want := list(t, s, ""), []string{"data/t-1/1/b.parquet", "data/t-1/2/a.parquet", "data/u-2/1/c.parquet"}; !slices.Equal(got, want) {
				t.Errorf("List is %v, want %v", got, want)
			}
			if got, want := list(t, s, "data/t-1"), []string{"data/t-1/1/b.parquet", "data/t-1/2/a.parquet"}; !slices.Equal(got, want) {
				t.Errorf("List of a folder is %v, want %v", got, want)
			}
			if got := list(t, s, "data/t"); len(got) != 0 {
				t.Errorf("List of a folder that is none is %v", got)
			}
			r, err := s.Open("data/t-1/2/a.parquet")
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 3)
			if _, err := r.ReadAt(b, 1); err != nil || string(b) != "ell" || r.Size() != 5 {
				t.Errorf("read %q of %d, %v", b, r.Size(), err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := s.Delete("data/t-1/2/a.parquet"); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Open("data/t-1/2/a.parquet"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Open of a deleted object: %v", err)
			}
			if got, want := list(t, s, ""), []string{"data/t-1/1/b.parquet", "data/u-2/1/c.parquet"}; !slices.Equal(got, want) {
				t.Errorf("List is %v, want %v", got, want)
			}
		})
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := s.Create("data/a")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(o, "half"); err != nil {
				t.Fatal(err)
			}
			if got := list(t, s, ""); !slices.Equal(got, []string{"data/a.tmp"}) {
				t.Errorf("List while writing is %v", got)
			}
			if _, err := s.Open("data/a"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Open before Commit: %v", err)
			}
			for range 2 {
				if err := o.Abort(); err != nil {
					t.Fatal(err)
				}
			}
			if got := list(t, s, ""); len(got) != 0 {
				t.Errorf("List after Abort is %v", got)
			}
		})
	}
}

func TestPathsCannotLeaveTheFolder(t *testing.T) {
	t.Parallel()
	for _, s := range stores(t) {
		for _, path := range []string{"", "..", "../x", "/etc/x", "a/../../x", "a//b", "./a", "a/"} {
			if o, err := s.Create(path); err == nil {
				t.Errorf("Create(%q) gave no error, %v", path, o.Abort())
			}
			if r, err := s.Open(path); err == nil {
				t.Errorf("Open(%q) gave no error, %v", path, r.Close())
			}
			if err := s.Delete(path); err == nil {
				t.Errorf("Delete(%q) gave no error", path)
			}
		}
	}
}

func TestHoldPutsDeletionsOff(t *testing.T) {
	d := objstore.NewDir(vfs.NewMem(), "store")
	for _, name := range []string{"data/t/1/a.parquet", "data/t/1/b.parquet"} {
		o, err := d.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	first, second := d.Hold(), d.Hold()
	unfinished, err := d.Create("data/t/1/c.parquet")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unfinished.Abort(), d.Delete("data/t/1/a.parquet"), first(), first()); err != nil {
		t.Fatal(err)
	}
	if paths, err := d.List("data"); err != nil || len(paths) != 2 {
		t.Fatalf("held: %v, %v", paths, err)
	}
	if err := second(); err != nil {
		t.Fatal(err)
	}
	if paths, err := d.List("data"); err != nil || len(paths) != 1 || paths[0] != "data/t/1/b.parquet" {
		t.Fatalf("released: %v, %v", paths, err)
	}
}
