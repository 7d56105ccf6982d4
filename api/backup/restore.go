package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/flusher/objstore"
	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

// Target is what a backup is made.
type Target struct {
	Dir          string               // required: data directory, empty
	Node         log.NodeID           // required: the node that it becomes, alone in a new cluster
	State        materializer.Options // required: what the node will open its state with
	SegmentBytes int64                // likewise
	Logger       *slog.Logger         // default discards
	Meter        *Meter               // nil: none
}

// Restored says what a restore made.
type Restored struct {
	Backup  wire.Backup
	Cluster string       // id of the new cluster
	Gap     log.Gap      // what the log jumped over
	At      log.Position // what the new node starts at
}

// Restore makes t.Dir the data directory of a node that has what the backup in dir has, and is the only one of a new cluster. All of the backup is verified before
// anything is made. A restore that was cut off is started again by the same call; until it is done nothing else opens the directory.
func Restore(ctx context.Context, dir string, t Target) (Restored, error) {
	if t.Logger == nil {
		t.Logger = slog.New(slog.DiscardHandler)
	}
	b, err := Verify(ctx, dir, t.Meter)
	if err != nil {
		return Restored{}, err
	}
	if err := log.PrepareRestore(t.Dir); err != nil {
		return Restored{}, err
	}
	r := &restore{from: dir, target: t, backup: b, identity: log.FirstIdentity(t.Node, t.Node)}
	r.identity.Cluster = uuid.NewString()
	t.Meter.begin("restoring", b.Parts)
	if err := r.copyFiles(ctx); err != nil {
		return Restored{}, err
	}
	gap, at, err := r.makeLog(ctx)
	if err != nil {
		return Restored{}, err
	}
	if err := log.FinishRestore(t.Dir, r.identity); err != nil {
		return Restored{}, err
	}
	t.Meter.end()
	return Restored{Backup: b, Cluster: r.identity.Cluster, Gap: gap, At: at}, nil
}

// restore is one under way.
type restore struct {
	from     string
	target   Target
	backup   wire.Backup
	identity log.Identity
	state    *materializer.Materializer
}

// copyFiles copies the data files, each checked once more.
func (r *restore) copyFiles(ctx context.Context) error {
	store := objstore.NewDir(vfs.Default, r.target.Dir)
	for _, p := range r.backup.Parts {
		if !strings.HasPrefix(p.Name, manifest.DataFolder+"/") {
			continue
		}
		if err := r.copyFile(ctx, store, p); err != nil {
			return fmt.Errorf("restore %s: %w", p.Name, err)
		}
		r.target.Meter.part()
	}
	return nil
}

func (r *restore) copyFile(ctx context.Context, store *objstore.Dir, p wire.BackupPart) error {
	f, err := os.Open(partPath(r.from, p.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	o, err := store.Create(p.Name)
	if err != nil {
		return err
	}
	n, sum, err := sumOf(io.TeeReader(&metered{r: f, ctx: ctx, meter: r.target.Meter}, o))
	if err == nil {
		err = comparePart(partPath(r.from, p.Name), p, n, sum)
	}
	if err != nil {
		return errors.Join(err, o.Abort())
	}
	return o.Commit()
}

// makeLog makes the log and the state, and the entry with which the new cluster begins.
func (r *restore) makeLog(ctx context.Context) (gap log.Gap, at log.Position, err error) {
	if r.state, err = materializer.New(r.target.State); err != nil {
		return gap, at, err
	}
	l, err := log.BeginRestore(log.Options{
		Dir: r.target.Dir, Fold: r.state, Identity: r.identity, SegmentBytes: r.target.SegmentBytes, Logger: r.target.Logger,
	})
	if err != nil {
		return gap, at, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	runs, fold := r.open(ctx)
	defer runs.close()
	defer fold.close()
	if gap, err = l.Load(log.SnapshotStream(runs, fold)); err != nil {
		return gap, at, fmt.Errorf("restore the log and the state: %w", err)
	}
	b, err := r.rebirth(l, gap)
	if err != nil {
		return gap, at, err
	}
	receipt, err := materializer.NewWriter(l).Write(ctx, b)
	if err != nil {
		return gap, at, fmt.Errorf("begin a new cluster: %w", err)
	}
	return gap, receipt.Position, l.Finish(r.backup.Term)
}

// open returns the parts of the log and the state as two streams.
func (r *restore) open(ctx context.Context) (runs, fold *partReader) {
	runs, fold = &partReader{restore: r, ctx: ctx}, &partReader{restore: r, ctx: ctx}
	for _, p := range r.backup.Parts {
		switch {
		case p.Name == statePart:
			fold.parts = append(fold.parts, p.Name)
		case strings.HasPrefix(p.Name, logFolder+"/"):
			runs.parts = append(runs.parts, p.Name)
		}
	}
	return runs, fold
}

// rebirth checks that the log has all that the state speaks of, and returns the batch that makes a new cluster of it: it has another id and
// none of the nodes, and knows where the backup ended.
func (r *restore) rebirth(l *log.Restoring, gap log.Gap) (b *materializer.Batch, err error) {
	v, err := r.state.View()
	if err != nil {
		return nil, fmt.Errorf("open view: %w", err)
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if got := v.Position().String(); got != r.backup.Position {
		return nil, &DamagedError{Path: r.from, Err: fmt.Errorf("its state is at position %s instead of %s", got, r.backup.Position)}
	}
	for _, t := range v.Catalog().Tables() {
		for p := range t.Partitions {
			if err := l.Check(log.Partition{Table: t.ID, ID: log.PartitionID(p)}); err != nil {
				return nil, fmt.Errorf("check %s: %w", t.QualifiedName(), err)
			}
		}
	}
	b = &materializer.Batch{Caller: identity.Root.Name}
	settings := v.Catalog().TableByID(materializer.SystemCluster)
	for _, row := range [][]expr.Value{
		{expr.TextOf(materializer.ClusterProperty), expr.TextOf(r.identity.Cluster)}, materializer.GapRow(gap),
	} {
		m, err := settings.NewRow(materializer.Upsert, row)
		if err != nil {
			return nil, err
		}
		b.Mutations = append(b.Mutations, m)
	}
	nodes := v.Catalog().TableByID(materializer.SystemNodes)
	for row, err := range v.Scan(nodes, 0, storage.Range{}) {
		if err != nil {
			return nil, err
		}
		m, err := nodes.OfKey(materializer.Remove, []expr.Value{row.Row.Column(0)})
		if err != nil {
			return nil, err
		}
		b.Mutations = append(b.Mutations, m)
	}
	return b, nil
}

// partReader reads parts one behind the other.
type partReader struct {
	restore *restore
	ctx     context.Context
	parts   []string // still to be opened
	file    *os.File
}

func (r *partReader) Read(p []byte) (int, error) {
	for {
		if r.file == nil {
			if len(r.parts) == 0 {
				return 0, io.EOF
			}
			var err error
			if r.file, err = os.Open(partPath(r.restore.from, r.parts[0])); err != nil {
				return 0, err
			}
			r.parts = r.parts[1:]
			r.restore.target.Meter.part()
		}
		n, err := (&metered{r: r.file, ctx: r.ctx, meter: r.restore.target.Meter}).Read(p)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		if errors.Is(err, io.EOF) {
			r.close()
		}
	}
}

func (r *partReader) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}
