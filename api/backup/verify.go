package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"kalamlog.dev/kalam/api/wire"
)

// Verify reads all of the backup in dir and compares it with its checksums. The error is a *DamagedError that names the first file that differs.
func Verify(ctx context.Context, dir string, m *Meter) (wire.Backup, error) {
	b, err := Describe(dir)
	if err != nil {
		return b, err
	}
	m.begin("verifying", b.Parts)
	for _, p := range b.Parts {
		if err := verifyPart(ctx, dir, p, m); err != nil {
			return b, err
		}
		m.part()
	}
	m.end()
	return b, nil
}

func verifyPart(ctx context.Context, dir string, p wire.BackupPart, m *Meter) error {
	path := partPath(dir, p.Name)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &DamagedError{Path: path, Err: errors.New("it is missing")}
	}
	if err != nil {
		return fmt.Errorf("read backup: %w", err)
	}
	defer f.Close()
	n, sum, err := sumOf(&metered{r: f, ctx: ctx, meter: m})
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return comparePart(path, p, n, sum)
}

func comparePart(path string, p wire.BackupPart, n int64, sum string) error {
	if n != p.Bytes {
		return &DamagedError{Path: path, Err: fmt.Errorf("it has %d bytes instead of %d", n, p.Bytes)}
	}
	if sum != p.Sha256 {
		return &DamagedError{Path: path, Err: errors.New("wrong checksum")}
	}
	return nil
}

func partPath(dir, name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }

// metered is a reader that counts and ends with a context.
type metered struct {
	r     io.Reader
	ctx   context.Context
	meter *Meter
}

func (r *metered) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	n, err := r.r.Read(p)
	r.meter.add(int64(n))
	return n, err
}
