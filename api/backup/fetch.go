package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/problem"
)

// TrailerSum is the HTTP trailer with the SHA-256 of a part, hexadecimal.
const TrailerSum = "Kalam-Sha256"

// Client fetches backups.
type Client struct {
	URL   string       // of the server, without a slash at the end
	HTTP  *http.Client // required
	Out   io.Writer    // required: what happens, for humans
	Meter *Meter       // nil: none
}

// Fetch makes a backup in dir: a new one, or it goes on with one that was cut off. If the server does not keep that any more another begins, which
// takes over what is the same in both. A backup that is finished is left alone.
func (c *Client) Fetch(ctx context.Context, dir string) (b wire.Backup, err error) {
	had, err := c.prepare(dir)
	if err != nil {
		return b, err
	}
	about, err := c.begin(ctx, had)
	if err != nil {
		return b, err
	}
	var whole map[string]wire.BackupPart
	if had != nil {
		whole = reusable(had, about)
	}
	j, err := writeJournal(dir, about, whole)
	if err != nil {
		return b, c.explain(dir, err)
	}
	defer func() { err = errors.Join(err, j.close()) }()
	if err := clean(dir, j.whole); err != nil {
		return b, err
	}
	if err := c.fetchParts(ctx, dir, j); err != nil {
		return b, c.explain(dir, err)
	}
	for i, p := range about.Parts {
		about.Parts[i] = j.whole[p.Name]
	}
	if err := writeDescription(dir, about); err != nil {
		return b, c.explain(dir, err)
	}
	if err := os.Remove(filepath.Join(dir, journalFile)); err != nil {
		return b, fmt.Errorf("remove journal: %w", err)
	}
	c.release(ctx, about.ID)
	return about, nil
}

// prepare makes dir unless it is there, and returns the journal of what was begun in it.
func (c *Client) prepare(dir string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make backup directory: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, descriptionFile)); err == nil {
		return nil, fmt.Errorf("%s has a finished backup: make another one in a directory of its own", dir)
	}
	had, err := readJournal(dir)
	if err != nil || had != nil {
		return had, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read backup directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() != journalFile && e.Name() != journalFile+unfinished {
			return nil, fmt.Errorf("%s is not empty, and what is in it is no backup", dir)
		}
	}
	return nil, nil //nolint:nilnil // nothing was begun
}

// begin asks for the backup that had speaks of, or for a new one.
func (c *Client) begin(ctx context.Context, had *journal) (wire.Backup, error) {
	if had != nil {
		b, err := c.ask(ctx, http.MethodGet, "/v1/backup/"+had.about.ID)
		if err == nil {
			fmt.Fprintf(c.Out, "going on with the backup at position %s: %d of %d parts are here\n", b.Position, len(had.whole), len(b.Parts))
			return b, nil
		}
		if !problem.Is(err, problem.NotFound) {
			return b, err
		}
		fmt.Fprintf(c.Out, "the server does not keep the backup at position %s any more (it was restarted, or nothing was fetched in a while): starting over\n",
			had.about.Position)
	}
	b, err := c.ask(ctx, http.MethodPost, "/v1/backup")
	if err == nil {
		fmt.Fprintf(c.Out, "backup of cluster %s at position %s: %d parts\n", b.Cluster, b.Position, len(b.Parts))
	}
	return b, err
}

// reusable returns the parts that had has and about wants. Of the same cluster, parts of the log and data files with the same name are the same.
func reusable(had *journal, about wire.Backup) map[string]wire.BackupPart {
	whole := map[string]wire.BackupPart{}
	if had.about.Cluster != about.Cluster {
		return whole
	}
	for _, p := range about.Parts {
		h, ok := had.whole[p.Name]
		same := p.Sha256 == h.Sha256 || p.Sha256 == "" && (p.Name != statePart || had.about.ID == about.ID)
		if ok && same {
			whole[p.Name] = h
		}
	}
	return whole
}

// clean removes the files that are no whole parts.
func clean(dir string, whole map[string]wire.BackupPart) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if _, ok := whole[filepath.ToSlash(name)]; ok || name == journalFile {
			return nil
		}
		return os.Remove(path)
	})
	if err != nil {
		return fmt.Errorf("remove what an earlier attempt has left: %w", err)
	}
	return nil
}

func (c *Client) fetchParts(ctx context.Context, dir string, j *journal) error {
	var missing []wire.BackupPart
	for _, p := range j.about.Parts {
		if !validPart(p.Name) {
			return fmt.Errorf("the server names a part %q", p.Name)
		}
		if _, ok := j.whole[p.Name]; !ok {
			missing = append(missing, p)
		}
	}
	c.Meter.begin("fetching", missing)
	for _, p := range missing {
		got, err := c.fetch(ctx, dir, j.about.ID, p)
		if err == nil {
			err = j.add(got)
		}
		if err != nil {
			return err
		}
		c.Meter.part()
	}
	c.Meter.end()
	return nil
}

// fetch makes one part whole and durable.
func (c *Client) fetch(ctx context.Context, dir, id string, p wire.BackupPart) (wire.BackupPart, error) {
	reply, err := c.do(ctx, http.MethodGet, "/v1/backup/"+id+"/"+p.Name)
	if err != nil {
		return p, err
	}
	defer reply.Body.Close()
	path := partPath(dir, p.Name)
	if err := makeFolder(dir, filepath.Dir(path)); err != nil {
		return p, fmt.Errorf("make folder: %w", err)
	}
	n, sum, err := receive(path+unfinished, &metered{r: reply.Body, ctx: ctx, meter: c.Meter})
	if err != nil {
		return p, fmt.Errorf("fetch %s: %w", p.Name, err)
	}
	told := reply.Trailer.Get(TrailerSum)
	if told != sum || p.Sha256 != "" && (p.Sha256 != sum || p.Bytes != n) {
		return p, fmt.Errorf("fetch %s: %d bytes came that do not have the checksum of the server's", p.Name, n)
	}
	if err := os.Rename(path+unfinished, path); err != nil {
		return p, err
	}
	return wire.BackupPart{Name: p.Name, Bytes: n, Sha256: sum}, syncFolder(filepath.Dir(path))
}

// receive writes r to a new file, durably.
func receive(path string, r io.Reader) (int64, string, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, "", err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), r)
	if err == nil {
		err = f.Sync()
	}
	return n, hex.EncodeToString(h.Sum(nil)), errors.Join(err, f.Close())
}

// explain says what to do about an error that ended the fetching.
func (c *Client) explain(dir string, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the disk of %s is full: free some space and run the same command again, it goes on where it stopped: %w", dir, err)
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("stopped: run the same command again to go on: %w", err)
	}
	return fmt.Errorf("the backup in %s is not finished, run the same command again to go on: %w", dir, err)
}

// release lets the server go on deleting. If it does not hear of it the backup expires.
func (c *Client) release(ctx context.Context, id string) {
	if reply, err := c.do(ctx, http.MethodDelete, "/v1/backup/"+id); err == nil {
		reply.Body.Close()
	}
}

func (c *Client) ask(ctx context.Context, method, path string) (b wire.Backup, err error) {
	reply, err := c.do(ctx, method, path)
	if err != nil {
		return b, err
	}
	defer reply.Body.Close()
	if err := json.NewDecoder(reply.Body).Decode(&b); err != nil {
		return b, fmt.Errorf("read reply: %w", err)
	}
	return b, nil
}

// do sends a request; a refusal is a *problem.Error.
func (c *Client) do(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	reply, err := c.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	if reply.StatusCode < http.StatusBadRequest {
		return reply, nil
	}
	defer reply.Body.Close()
	var refused wire.ErrorReply
	if err := json.NewDecoder(reply.Body).Decode(&refused); err != nil || refused.Error.Code == "" {
		return nil, fmt.Errorf("the server answers %s", strings.TrimSpace(reply.Status))
	}
	return nil, problem.New(problem.Code(refused.Error.Code), "%s", refused.Error.Message).WithHint("%s", refused.Error.Hint)
}
