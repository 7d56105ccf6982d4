package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/log"
)

// A backup directory has descriptionFile once it is finished, and journalFile until then.
const (
	descriptionFile = "backup.json"
	journalFile     = "backup.unfinished"
	unfinished      = ".tmp" // suffix of a part being fetched
	formatVersion   = 1
)

// envelope is what descriptionFile holds.
type envelope struct {
	Format int             `json:"format"`
	Sha256 string          `json:"sha256"` // of Backup as it stands, hexadecimal
	Backup json.RawMessage `json:"backup"` // wire.Backup; every part has its size and checksum
}

// DamagedError reports a file of a backup that is not as it was written.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the backup is damaged: %s: %v", e.Path, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// writeDescription makes b durable as the description of the backup in dir: it is finished.
func writeDescription(dir string, b wire.Backup) error {
	body, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("encode description: %w", err)
	}
	sum := sha256.Sum256(body)
	raw, err := json.Marshal(envelope{Format: formatVersion, Sha256: hex.EncodeToString(sum[:]), Backup: body})
	if err != nil {
		return fmt.Errorf("encode description: %w", err)
	}
	return writeFile(filepath.Join(dir, descriptionFile), append(raw, '\n'))
}

// Describe reads the description of the backup in dir. It looks at no other file.
func Describe(dir string) (wire.Backup, error) {
	path := filepath.Join(dir, descriptionFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, journalFile)); err == nil {
			return wire.Backup{}, fmt.Errorf("the backup in %s is not finished: run \"kalam backup %s\" again to go on", dir, dir)
		}
		return wire.Backup{}, fmt.Errorf("%s is no backup: it has no %s", dir, descriptionFile)
	}
	if err != nil {
		return wire.Backup{}, fmt.Errorf("read description: %w", err)
	}
	b, err := decodeDescription(raw)
	if err != nil {
		return wire.Backup{}, &DamagedError{Path: path, Err: err}
	}
	return b, nil
}

func decodeDescription(raw []byte) (wire.Backup, error) {
	var e envelope
	var b wire.Backup
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return b, err
	}
	if e.Format != formatVersion {
		return b, fmt.Errorf("format %d is not known, was it written by a newer release?", e.Format)
	}
	if sum := sha256.Sum256(e.Backup); hex.EncodeToString(sum[:]) != e.Sha256 {
		return b, errors.New("wrong checksum")
	}
	if err := json.Unmarshal(e.Backup, &b); err != nil {
		return b, err
	}
	return b, checkDescription(b)
}

// checkDescription refuses what could make a reader leave the directory, or miss something.
func checkDescription(b wire.Backup) error {
	if _, err := log.ParsePosition(b.Position); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, p := range b.Parts {
		if !validPart(p.Name) || seen[p.Name] {
			return fmt.Errorf("%q is no name of a part", p.Name)
		}
		seen[p.Name] = true
	}
	if !seen[statePart] {
		return errors.New("it has no state")
	}
	return nil
}

func validPart(name string) bool {
	clean := filepath.ToSlash(filepath.Clean(filepath.FromSlash(name)))
	return filepath.IsLocal(filepath.FromSlash(name)) && clean == name && name != "." && name != descriptionFile && name != journalFile
}

// writeFile durably makes path, or replaces it.
func writeFile(path string, data []byte) error {
	tmp := path + unfinished
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeFolder makes a folder below root and the names on the way to it durable.
func makeFolder(root, path string) error {
	if _, err := os.Stat(path); err == nil || path == root {
		return nil
	}
	if err := makeFolder(root, filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// sumOf reads r and returns how much it was and its SHA-256.
func sumOf(r io.Reader) (int64, string, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return n, hex.EncodeToString(h.Sum(nil)), err
}
