package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// session is one backup under way.
type session struct {
	options *Options
	about   wire.Backup
	view    *materializer.View
	runs    map[string]log.Run
	files   map[string]manifest.File
	sending sync.RWMutex // held for reading while a part is sent: the view must not be closed then
	ended   chan struct{}
	once    sync.Once
	closed  error
	release []func() error // from the last on

	users int       // guarded by Keeper.mu
	used  time.Time // likewise: when there last was one
}

// The names of parts. A data file's is its path.
const (
	statePart = "state"
	logFolder = "log"
)

// newSession pins a backup at one position. What could be deleted is held first, so the view speaks of nothing that is gone.
func newSession(ctx context.Context, o *Options, id string) (*session, error) {
	s := &session{
		options: o, runs: map[string]log.Run{}, files: map[string]manifest.File{}, used: o.Clock.Now(), ended: make(chan struct{}),
		about: wire.Backup{
			ID: id, Cluster: o.Cluster, Node: uint64(o.Node), Version: o.Version, Term: o.Log.Leader().Term, Created: clock.Micros(o.Clock),
		},
	}
	segments := o.Log.Hold()
	s.release = append(s.release, func() error { segments(); return nil }, o.Store.Hold())
	if err := s.pin(ctx); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

func (s *session) pin(ctx context.Context) (err error) {
	if s.view, err = s.options.State.View(); err != nil {
		return fmt.Errorf("open view: %w", err)
	}
	s.release = append(s.release, s.view.Close)
	s.about.Position = s.view.Position().String()
	if err := s.options.Log.Wait(ctx, s.view.Position()); err != nil { // a view may be ahead of what the log shows to readers, for a moment
		return fmt.Errorf("wait for the view's position: %w", err)
	}
	for _, t := range s.view.Catalog().Tables() {
		if err := s.addLog(t); err != nil {
			return err
		}
	}
	s.about.Parts = append(s.about.Parts, wire.BackupPart{Name: statePart})
	return s.addFiles()
}

// addLog adds the changes of a table that are in the log.
func (s *session) addLog(t *materializer.Table) error {
	for p := range t.Partitions {
		id := log.Partition{Table: t.ID, ID: log.PartitionID(p)}
		start, err := s.view.Start(id)
		if err != nil {
			return err
		}
		end, err := s.view.End(id)
		if err != nil {
			return err
		}
		runs, err := s.options.Log.Runs(id, start.Offset, end)
		if err != nil {
			return fmt.Errorf("list the log of %s: %w", t.QualifiedName(), err)
		}
		for _, r := range runs {
			name := runName(r)
			s.runs[name] = r
			s.about.Parts = append(s.about.Parts, wire.BackupPart{Name: name, Bytes: r.Bytes})
		}
	}
	return nil
}

// runName is log/<table>/<partition>/<from>-<to>. Whatever has that name in one cluster is the same.
func runName(r log.Run) string {
	return fmt.Sprintf("%s/%d/%d/%020d-%020d", logFolder, r.Partition.Table, r.Partition.ID, r.From, r.To)
}

// addFiles adds the data files that manifests name.
func (s *session) addFiles() error {
	tables, err := manifest.Tables(s.view)
	if err != nil {
		return err
	}
	for _, t := range tables {
		files, err := manifest.Files(s.view, t)
		if err != nil {
			return err
		}
		for _, f := range files {
			s.files[f.Path] = f
			s.about.Parts = append(s.about.Parts, wire.BackupPart{Name: f.Path, Bytes: f.Bytes, Sha256: hex.EncodeToString(f.Checksum)})
		}
	}
	return nil
}

// end releases what the session holds, once nothing of it is being sent; what is, breaks off. It is idempotent.
func (s *session) end() error {
	s.once.Do(func() {
		close(s.ended)
		s.sending.Lock()
		defer s.sending.Unlock()
		var errs []error
		for _, release := range slices.Backward(s.release) {
			errs = append(errs, release())
		}
		s.closed = errors.Join(errs...)
	})
	return s.closed
}

// Part is a part about to be sent.
type Part struct {
	Name string

	keeper  *Keeper
	session *session
}

// Part returns a part of a backup under way; Close it.
func (k *Keeper) Part(ctx context.Context, id, name string) (*Part, error) {
	s, err := k.use(id)
	if err != nil {
		return nil, err
	}
	p := &Part{Name: name, keeper: k, session: s}
	if err := p.find(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Part) find(ctx context.Context) error {
	if f, ok := p.session.files[p.Name]; ok {
		if p.session.options.Ensure == nil {
			return nil
		}
		return p.session.options.Ensure(ctx, []manifest.File{f})
	}
	if _, ok := p.session.runs[p.Name]; !ok && p.Name != statePart {
		return problem.New(problem.NotFound, "the backup has no part %s", strconv.Quote(p.Name))
	}
	return nil
}

// Close lets go of the backup.
func (p *Part) Close() { p.keeper.leave(p.session) }

// Send writes all of the part to w and returns its SHA-256, hexadecimal. It ends early with an error if ctx does, or the backup.
func (p *Part) Send(ctx context.Context, w io.Writer) (sum string, err error) {
	h := sha256.New()
	if err := p.send(ctx, io.MultiWriter(w, h)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (p *Part) send(ctx context.Context, w io.Writer) error {
	s := p.session
	s.sending.RLock()
	defer s.sending.RUnlock()
	select {
	case <-s.ended:
		return errUnknown(s.about.ID)
	default:
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.keeper.life, cancel)()
	stop := make(chan struct{})
	defer context.AfterFunc(ctx, func() { close(stop) })()
	out := &stoppable{w: w, ctx: ctx, ended: s.ended}
	if r, ok := s.runs[p.Name]; ok {
		return s.options.Log.SaveRun(out, r, stop)
	}
	if f, ok := s.files[p.Name]; ok {
		return s.sendFile(out, f.Path)
	}
	return s.view.Save(out, stop)
}

func (s *session) sendFile(w io.Writer, path string) error {
	r, err := s.options.Store.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w, io.NewSectionReader(r, 0, r.Size()))
	return err
}

// stoppable is a writer that ends with the request and with the backup.
type stoppable struct {
	w     io.Writer
	ctx   context.Context
	ended chan struct{}
}

func (s *stoppable) Write(p []byte) (int, error) {
	select {
	case <-s.ended:
		return 0, errors.New("the backup has ended")
	case <-s.ctx.Done():
		return 0, context.Cause(s.ctx)
	default:
	}
	return s.w.Write(p)
}
