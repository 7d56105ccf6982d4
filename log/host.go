package log

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// dragonboat ties its directory to the machine's host name and to the Raft address: data lie in a folder named after the host, and
// a file named dragonboat.ds refuses others. Neither says whose the data are, and both change when a container is made anew. So Kalam
// keeps its own note of both, and when one has changed it renames the folder and removes dragonboat.ds, which dragonboat writes again.
const (
	hostFile = "HOST"
	flagFile = "dragonboat.ds"
)

// adoptHost prepares dir for being opened on this host and at address. Each step may be repeated after a crash.
func adoptHost(dir, address string) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read host name: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	now := host + "\n" + address + "\n"
	noted, err := os.ReadFile(filepath.Join(dir, hostFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case bytes.Equal(noted, []byte(now)):
		return nil
	default:
		old, _, _ := strings.Cut(string(noted), "\n")
		if err := moveHost(dir, old, host); err != nil {
			return err
		}
	}
	return replaceFile(vfs.Default, filepath.Join(dir, hostFile), []byte(now))
}

func moveHost(dir, old, host string) error {
	if err := os.Remove(filepath.Join(dir, flagFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old == host || old == "" || old != filepath.Base(old) {
		return nil
	}
	err := os.Rename(filepath.Join(dir, old), filepath.Join(dir, host))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(vfs.Default, dir)
}
