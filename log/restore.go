package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// restoreFile is in a data directory while it is being restored: without it half a restore would be taken for a node.
const (
	restoreFile = "RESTORING"
	restoreText = "kalam restore 1\n"
)

// PrepareRestore makes dir, or takes an empty one, or one in which a restore was cut off, whose files it removes. It refuses any other. From then until
// FinishRestore nothing opens dir but BeginRestore.
func PrepareRestore(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read data directory: %w", err)
	}
	restoring, err := isRestoring(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 && !restoring {
		return fmt.Errorf("%s is not empty: a backup is restored into an empty directory", dir)
	}
	if err := replaceFile(vfs.Default, filepath.Join(dir, restoreFile), []byte(restoreText)); err != nil {
		return fmt.Errorf("mark the restore: %w", err)
	}
	for _, e := range entries {
		if e.Name() == restoreFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove what a restore has left: %w", err)
		}
	}
	return nil
}

// FinishRestore makes dir the data directory of id.
func FinishRestore(dir string, id Identity) error {
	if err := writeIdentity(dir, id); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, restoreFile)); err != nil {
		return fmt.Errorf("take off the mark of the restore: %w", err)
	}
	if err := syncDir(vfs.Default, dir); err != nil {
		return fmt.Errorf("take off the mark of the restore: %w", err)
	}
	return nil
}

func isRestoring(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, restoreFile))
	if err != nil && !oserror.IsNotExist(err) {
		return false, fmt.Errorf("look for a restore: %w", err)
	}
	return err == nil, nil
}

// refuseRestoring refuses a directory whose restore was cut off.
func refuseRestoring(dir string) error {
	restoring, err := isRestoring(dir)
	if restoring {
		return fmt.Errorf("the restore of a backup into %s was cut off: run it again", dir)
	}
	return err
}

// Restoring is a log that is being made from a backup, without Raft. Not safe for concurrent use.
type Restoring struct {
	log  *Log
	gap  Gap
	next Index
}

// BeginRestore opens the log of a directory that PrepareRestore has made ready. Options.Identity is that of a new cluster of one.
func BeginRestore(o Options) (*Restoring, error) {
	o.setDefaults()
	o.Offline = true
	if err := o.validate(); err != nil {
		return nil, err
	}
	restoring, err := isRestoring(o.Dir)
	if err != nil || !restoring {
		return nil, errors.Join(fmt.Errorf("%s is not prepared for a restore", o.Dir), err)
	}
	l := &Log{options: o}
	if err := l.openStorage(); err != nil {
		return nil, fmt.Errorf("make log in %s: %w", o.Dir, errors.Join(err, l.shut()))
	}
	return &Restoring{log: l}, nil
}

// Load takes up a SnapshotStream and makes it durable. The log goes on behind the gap that it returns, with the first proposal, which has to note the
// gap in the state. What partitions the state knows is the caller's to Check.
func (r *Restoring) Load(stream io.Reader) (Gap, error) {
	replica := r.log.replica
	if err := replica.restoreSnapshot(stream, nil); err != nil {
		return Gap{}, err
	}
	parts, err := replica.store.listPartitions()
	if err != nil {
		return Gap{}, err
	}
	for _, id := range parts {
		if err := r.Check(id); err != nil {
			return Gap{}, err
		}
	}
	last := replica.checkpoint.Index
	if r.next, err = afterRestore(last); err != nil {
		return Gap{}, err
	}
	r.gap = Gap{After: last, To: r.next}
	return r.gap, nil
}

// Check makes sure that the log has all of a partition that the state says it has.
func (r *Restoring) Check(id Partition) error {
	p, err := r.log.store.partition(id)
	if err != nil {
		return err
	}
	if p.end.Load() > 0 {
		return p.load()
	}
	if bases, err := p.listSegments(); err != nil || len(bases) > 0 {
		return errors.Join(&CorruptionError{Path: p.dir, Err: errors.New("the state knows nothing of these changes")}, err)
	}
	return nil
}

// Propose applies batch as an entry of its own.
func (r *Restoring) Propose(_ context.Context, batch []byte) (Receipt, error) {
	if r.next == 0 {
		return Receipt{}, errors.New("propose to a log that has nothing yet")
	}
	now := r.log.options.Clock.Now().UnixMicro()
	results, err := r.log.replica.apply([]committed{{index: r.next, data: appendEntry(nil, now, [][]byte{batch})}})
	if err != nil {
		return Receipt{}, err
	}
	result, err := splitResults(results[0], 1)
	if err != nil {
		return Receipt{}, err
	}
	receipt := Receipt{Position: r.log.positionAt(r.next), Result: result[0]}
	r.next++
	return receipt, nil
}

// Finish makes everything durable and the Raft log that goes with it, whose terms follow term, and closes the log.
func (r *Restoring) Finish(term uint64) error {
	l := r.log
	bridgeRaftLog(l.options.Logger)
	if l.replica.checkpoint.Index < r.gap.To {
		return errors.Join(errors.New("nothing was proposed behind the backup"), r.Close())
	}
	err := errors.Join(l.replica.loadGaps(), l.replica.sync(), l.store.saveIndexes())
	if gaps := l.replica.gaps.Load(); err == nil && (len(*gaps) == 0 || (*gaps)[len(*gaps)-1] != r.gap) {
		err = errors.New("the gap that the restore makes is not in the state")
	}
	if err == nil {
		err = seedRaft(filepath.Join(l.options.Dir, "raft"), l.options.Identity, l.replica.checkpoint.Index, term+1)
	}
	return errors.Join(err, r.Close())
}

// Close closes what is open. It is idempotent.
func (r *Restoring) Close() error { return r.log.Close() }
