package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/flusher/objstore"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// Files makes every node hold every data file. The node that flushes spreads new ones before it commits them, so that a majority
// has what a manifest names; a node that was away fetches what it lacks. Safe for concurrent use.
type Files struct {
	cluster *Cluster
	store   objstore.Store
	fetches singleflight.Group // by path
}

// newFiles returns the Files of a node whose own lie in store.
func newFiles(c *Cluster, store objstore.Store) *Files { return &Files{cluster: c, store: store} }

// fetchTime is how long a file may take: at the least 1 MB/s is expected of a network between nodes.
func fetchTime(size int64) time.Duration { return time.Minute + time.Duration(size)*time.Microsecond }

// file is what one node tells another of a data file.
type file struct {
	Path     string `json:"path"`
	Bytes    int64  `json:"bytes"`
	Checksum []byte `json:"checksum"` // SHA-256
}

// spreading is a node's request to another to take files that it has.
type spreading struct {
	From  string `json:"from"` // target
	Files []file `json:"files"`
}

func filesOf(named []manifest.File) []file {
	files := make([]file, len(named))
	for i, f := range named {
		files[i] = file{Path: f.Path, Bytes: f.Bytes, Checksum: f.Checksum}
	}
	return files
}

// spreadTimeout bounds how long another node may take to fetch the files of one flush.
const spreadTimeout = 10 * time.Minute

// Spread returns when a majority of the voters, this node among them, has the files durably. Nodes that do not answer get them later.
func (f *Files) Spread(ctx context.Context, named []manifest.File) error {
	c := f.cluster
	if c.o.Net == nil || len(named) == 0 {
		return nil
	}
	members, err := c.o.Log.Members(ctx)
	if err != nil {
		return fmt.Errorf("spread data files: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, spreadTimeout)
	defer cancel()
	q := spreading{From: c.o.Identity.Target, Files: filesOf(named)}
	voters := slices.DeleteFunc(members.List, func(m log.Member) bool { return !m.Voter })
	answers := make(chan error, len(voters))
	have := 0
	for _, m := range voters {
		if m.Replica == c.o.Identity.Replica {
			have++
			continue
		}
		c.owned.Go(func() {
			var done struct{}
			answers <- c.caller.callLong(ctx, m.Target, pathSpread, q, &done)
		})
	}
	var failed []error
	for need := len(voters)/2 + 1; have < need; {
		if len(voters)-len(failed) < need {
			return problem.New(problem.Overloaded, "the data files could not be copied to a majority of the nodes").Because(errors.Join(failed...))
		}
		if err := <-answers; err != nil {
			failed = append(failed, err)
		} else {
			have++
		}
	}
	return nil
}

// take answers Spread: it fetches what this node lacks.
func (f *Files) take(ctx context.Context, q spreading) (struct{}, error) {
	for _, one := range q.Files {
		if err := f.fetch(ctx, one, []string{q.From}); err != nil {
			return struct{}{}, err
		}
	}
	return struct{}{}, nil
}

// Ensure returns when the named files are on this node.
func (f *Files) Ensure(ctx context.Context, named []manifest.File) error {
	if f.cluster.o.Net == nil {
		return nil
	}
	var from []string
	for _, one := range filesOf(named) {
		if f.has(one) {
			continue
		}
		if from == nil {
			var err error
			if from, err = f.others(); err != nil {
				return err
			}
		}
		if err := f.fetch(ctx, one, from); err != nil {
			return err
		}
	}
	return nil
}

// others lists the targets of the other nodes.
func (f *Files) others() ([]string, error) {
	nodes, err := f.cluster.Nodes()
	if err != nil {
		return nil, err
	}
	targets := []string{}
	for _, n := range nodes {
		if n.ID != f.cluster.o.Identity.Node {
			targets = append(targets, n.Target)
		}
	}
	return targets, nil
}

// has reports whether the file is here. A path is used once, and only whole files get theirs, so the size is as good as the checksum.
func (f *Files) has(one file) bool {
	r, err := f.store.Open(one.Path)
	if err != nil {
		return false
	}
	defer r.Close()
	return r.Size() == one.Bytes
}

// fetch copies a file from the first of the targets that has it.
func (f *Files) fetch(ctx context.Context, one file, from []string) error {
	_, err, _ := f.fetches.Do(one.Path, func() (any, error) {
		if f.has(one) {
			return nil, nil //nolint:nilnil // there is nothing to return
		}
		errs := []error{fmt.Errorf("data file %s is not on this node, and no other gives it", one.Path)}
		for _, target := range from {
			err := f.copy(ctx, one, target)
			if err == nil {
				return nil, nil //nolint:nilnil // there is nothing to return
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	})
	return err
}

func (f *Files) copy(ctx context.Context, one file, target string) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTime(one.Bytes))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+target+pathFiles+one.Path, http.NoBody)
	if err != nil {
		return err
	}
	reply, err := f.cluster.caller.client.Do(r)
	if err != nil {
		return fmt.Errorf("fetch %s from %s: %w", one.Path, target, err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("fetch %s from %s: %s", one.Path, target, reply.Status)
	}
	o, err := f.store.Create(one.Path)
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(o, sum), io.LimitReader(reply.Body, one.Bytes+1))
	if err == nil && (n != one.Bytes || !bytes.Equal(sum.Sum(nil), one.Checksum)) {
		err = fmt.Errorf("%d bytes with another checksum than the manifest's came", n)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("fetch %s from %s: %w", one.Path, target, err), o.Abort())
	}
	return o.Commit()
}

// serve answers fetch.
func (f *Files) serve(w http.ResponseWriter, r *http.Request) {
	path := r.PathValue("path")
	if !strings.HasPrefix(path, manifest.DataFolder+"/") {
		http.Error(w, "no data file", http.StatusNotFound)
		return
	}
	o, err := f.store.Open(path)
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, fs.ErrNotExist) {
			status = http.StatusNotFound
		}
		http.Error(w, err.Error(), status)
		return
	}
	defer o.Close()
	http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(o, 0, o.Size()))
}

// tidyPause is how long tidy waits after an error.
const tidyPause = 5 * time.Second

// sweep removes what fetches of an earlier run have left half done. Nothing is fetched beside it.
func (f *Files) sweep() error {
	paths, err := f.store.List(manifest.DataFolder)
	for _, path := range paths {
		if strings.HasSuffix(path, ".tmp") {
			err = errors.Join(err, f.store.Delete(path))
		}
	}
	return err
}

// tidy fetches what manifests name and this node lacks, and removes what none will name any more, whenever they change.
func (f *Files) tidy(ctx context.Context) {
	p := log.Partition{Table: materializer.SystemFlushed}
	for {
		end := f.cluster.o.Log.End(p)
		if err := f.tidyOnce(ctx); err != nil && ctx.Err() == nil {
			f.cluster.o.Logger.Warn("data files of other nodes are not here yet, trying again", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(tidyPause):
				continue
			}
		}
		if f.cluster.o.Log.WaitEnd(ctx, p, end) != nil {
			return
		}
	}
}

func (f *Files) tidyOnce(ctx context.Context) error {
	named, stale, err := f.compare()
	if err != nil {
		return err
	}
	for _, path := range stale {
		if err := f.store.Delete(path); err != nil {
			return err
		}
	}
	return f.Ensure(ctx, named)
}

// compare returns the files that manifests name, and those here that are neither named nor may be by a commit to come: their tables are gone, or a
// flush of the same number was committed.
func (f *Files) compare() (named []manifest.File, stale []string, err error) {
	v, err := f.cluster.o.State.View()
	if err != nil {
		return nil, nil, fmt.Errorf("open view: %w", err)
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	paths, err := f.store.List(manifest.DataFolder)
	if err != nil {
		return nil, nil, err
	}
	tables, err := manifest.Tables(v)
	if err != nil {
		return nil, nil, err
	}
	known := map[string]bool{}
	last := map[log.TableID]int64{}
	for _, id := range tables {
		files, err := manifest.Files(v, id)
		if err != nil {
			return nil, nil, err
		}
		if last[id], err = manifest.Version(v, id); err != nil {
			return nil, nil, err
		}
		for _, one := range files {
			known[one.Path] = true
		}
		named = append(named, files...)
	}
	for _, path := range paths {
		id, flush := manifest.ParsePath(path)
		gone := v.Catalog().TableByID(id) == nil && last[id] == 0
		if !known[path] && !strings.HasSuffix(path, ".tmp") && (gone || flush <= last[id]) {
			stale = append(stale, path)
		}
	}
	return named, stale, nil
}
