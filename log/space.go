package log

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/internal/problem"
)

// space keeps writes from filling the disk: dragonboat ends the process when it cannot write, so they are refused while there is still room for what
// goes on without them (Raft, checkpoints, a shutdown in order). It counts what was written since it last asked the file system, and what is under way, so
// a burst between two looks is seen too. Safe for concurrent use.
type space struct {
	fs      vfs.FS
	dir     string
	reserve int64       // bytes that writes leave free
	others  func() bool // Options.PeersFull
	ballast *ballast
	logger  *slog.Logger
	metrics *metrics

	looking  sync.Mutex
	free     atomic.Int64 // at the last look; negative: the file system does not tell
	need     atomic.Int64 // what must stay free of it: the reserve, and the ballast while it is gone
	written  atomic.Int64 // since then
	underWay atomic.Int64 // bytes of batches admitted and not answered yet
	lacking  atomic.Bool  // whether the last look found less than the reserve
}

// lookAfter is how many bytes are written before the next look, beside the keeper's, which looks by time.
const lookAfter = 4 << 20

// spread is how many bytes a batch of one byte may take on the disk while it is under way: in the Raft log, in a segment (old and new row) and in the state.
const spread = 4

// newSpace looks for the first time, and gives up the ballast of a disk that is too full to open anything on it.
func newSpace(o *Options, m *metrics) *space {
	s := &space{fs: o.FS, dir: o.Dir, reserve: int64(min(o.MinFreeBytes, 1<<62)), others: o.PeersFull, logger: o.Logger, metrics: m}
	s.ballast = newBallast(o.FS, o.Dir, min(ballastBytes, s.reserve))
	s.look()
	return s
}

// look asks the file system.
func (s *space) look() {
	s.looking.Lock()
	defer s.looking.Unlock()
	counted := s.written.Load()
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		s.free.Store(-1)
		s.lacking.Store(false)
		return
	}
	free := int64(min(usage.AvailBytes, 1<<62))
	before := s.ballast.owed()
	if err := s.ballast.trim(free, min(ballastBytes, s.reserve*3/4), s.reserve); err != nil {
		s.logger.Debug("the ballast file cannot be kept", "error", err)
	}
	free += s.ballast.owed() - before
	s.free.Store(free)
	s.need.Store(s.reserve + s.ballast.owed())
	s.written.Add(-counted)
	s.metrics.free.Set(float64(free))
	lacking := free < s.need.Load()
	if lacking != s.lacking.Swap(lacking) {
		s.logger.Warn("free disk space crossed the limit", "writes_refused", lacking, "free_bytes", free, "limit_bytes", s.need.Load())
		s.metrics.full.Set(map[bool]float64{true: 1}[lacking])
	}
}

// room returns how many bytes may still be written, from what is known without asking the file system.
func (s *space) room() int64 { return s.free.Load() - s.written.Load() - s.need.Load() }

// full reports whether the disk lacks space for writes.
func (s *space) full() bool { return s.lacking.Load() || s.free.Load() >= 0 && s.room() < 0 }

// checkpointRoom is enough for a checkpoint: the memtables of the state, indexes of segments, a snapshot's note.
const checkpointRoom = 48 << 20

// cramped reports whether a checkpoint might not fit. One that fails ends the node; one that is put off only makes the next start replay more.
func (s *space) cramped() bool {
	free := s.free.Load()
	return free >= 0 && free-s.written.Load() < min(checkpointRoom, s.reserve/2)
}

// wrote counts bytes that have gone to the disk.
func (s *space) wrote(n int64) {
	if s.written.Add(n) >= lookAfter {
		s.look()
	}
}

// freeingKey marks the contexts of Freeing.
type freeingKey struct{}

// Freeing marks what is proposed under the context as giving space back, as dropping a table does: a nearly full disk takes it out of the first half
// of its reserve.
func Freeing(ctx context.Context) context.Context { return context.WithValue(ctx, freeingKey{}, true) }

// admit lets a batch in, which done must follow, or refuses it because the disk is nearly full.
func (s *space) admit(ctx context.Context, n int) error {
	under := s.underWay.Add(int64(n))
	free := s.free.Load() - s.written.Load() - spread*under
	if ctx.Value(freeingKey{}) != nil && free >= s.reserve/2 {
		return nil
	}
	err := s.refuse(free)
	if err != nil {
		s.underWay.Add(-int64(n))
		s.metrics.refusedFull.Inc()
	}
	return err
}

// refuse says why a write is refused that leaves free bytes, or nil.
func (s *space) refuse(free int64) error {
	if s.others != nil && s.others() {
		return problem.New(problem.DiskFull, "too few nodes have free space on their disks; nothing was written").
			WithHint("free some space on them; writes go on by themselves then")
	}
	if s.free.Load() < 0 || !s.full() && free >= s.need.Load() {
		return nil
	}
	return errFull(s.dir)
}

func errFull(dir string) error {
	return problem.New(problem.DiskFull, "the disk of the data directory is full; nothing was written").
		WithHint("free some space in %s, or drop a table; writes go on by themselves then", dir)
}

// done ends what admit began.
func (s *space) done(n int) {
	s.underWay.Add(-int64(n))
	s.wrote(int64(n))
}
