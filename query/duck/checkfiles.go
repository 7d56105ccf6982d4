package duck

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/internal/problem"
)

// checkFiles compares the data files of a manifest with their checksums, each once in the life of the mirror: DuckDB does not look at the checksums of
// Parquet pages, and would show what a flipped bit has made of a row. The caller holds the lock.
func (m *mirror) checkFiles(ctx context.Context, dir string, files []manifest.File) error {
	checked := make(map[string]bool, len(files))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range files {
		f := &files[i]
		checked[f.Path] = true
		if !m.checked[f.Path] {
			group.Go(func() error { return checkFile(ctx, filepath.Join(dir, filepath.FromSlash(f.Path)), f) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	m.checked = checked
	return nil
}

func checkFile(ctx context.Context, path string, f *manifest.File) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return errDamaged(f, errors.New("it is not there"))
	}
	if err != nil {
		return fmt.Errorf("open data file: %w", err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.CopyBuffer(sum, contextReader{ctx, file}, make([]byte, 256<<10)); err != nil {
		return fmt.Errorf("read data file %s: %w", f.Path, err)
	}
	if !bytes.Equal(sum.Sum(nil), f.Checksum) {
		return errDamaged(f, errors.New("its checksum is not the manifest's"))
	}
	return nil
}

func errDamaged(f *manifest.File, why error) error {
	return problem.New(problem.Internal, "data file %s is damaged: %s", f.Path, why).
		WithHint("nothing of the table's flushed rows is shown; put the file back from a backup or another node, kalam verify checks it").Because(why)
}

// contextReader ends with its context. It hides what else the reader can do, so that copies go by the buffer.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
