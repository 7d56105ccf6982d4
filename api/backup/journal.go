package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"kalamlog.dev/kalam/api/wire"
)

// journal is journalFile: what an unfinished backup directory has. Its first line is the wire.Backup, each other one a wire.BackupPart that is whole and
// durable in its place. A line that was cut off counts as none.
type journal struct {
	about wire.Backup
	whole map[string]wire.BackupPart
	file  *os.File
}

// readJournal returns nil if there is none, or none that can be used.
func readJournal(dir string) (*journal, error) {
	raw, err := os.ReadFile(filepath.Join(dir, journalFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is nothing to return
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	j := &journal{whole: map[string]wire.BackupPart{}}
	first, rest, _ := bytes.Cut(raw, []byte("\n"))
	_ = json.Unmarshal(first, &j.about) // of a line that was cut off nothing is taken
	if j.about.ID == "" {
		return nil, nil //nolint:nilnil // nothing was fetched yet
	}
	for line := range bytes.Lines(rest) {
		var p wire.BackupPart
		if json.Unmarshal(line, &p) != nil || !validPart(p.Name) {
			break
		}
		if info, err := os.Stat(partPath(dir, p.Name)); err == nil && info.Size() == p.Bytes {
			j.whole[p.Name] = p
		}
	}
	return j, nil
}

// writeJournal durably begins a journal that has what whole has, open for add.
func writeJournal(dir string, about wire.Backup, whole map[string]wire.BackupPart) (*journal, error) {
	j := &journal{about: about, whole: map[string]wire.BackupPart{}}
	lines, err := json.Marshal(about)
	if err != nil {
		return nil, fmt.Errorf("encode journal: %w", err)
	}
	lines = append(lines, '\n')
	for _, p := range about.Parts {
		if had, ok := whole[p.Name]; ok {
			j.whole[p.Name] = had
			lines = appendLine(lines, had)
		}
	}
	path := filepath.Join(dir, journalFile)
	if err := writeFile(path, lines); err != nil {
		return nil, fmt.Errorf("write journal: %w", err)
	}
	if j.file, err = os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return j, nil
}

func appendLine(dst []byte, p wire.BackupPart) []byte {
	line, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Errorf("encode %T: %w", p, err)) // it is made of text and numbers
	}
	return append(append(dst, line...), '\n')
}

// add notes that p is whole, which may be forgotten by a power loss.
func (j *journal) add(p wire.BackupPart) error {
	j.whole[p.Name] = p
	if _, err := j.file.Write(appendLine(nil, p)); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

func (j *journal) close() error { return j.file.Close() }
