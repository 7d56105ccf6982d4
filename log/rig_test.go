package log

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/internal/clock"
)

// rig is a replica without Raft. The entries stand for the Raft log, which never loses one.
type rig struct {
	fs      vfs.FS
	fold    *mapFold
	floor   *floor
	store   *store
	replica *replica
	failed  error
}

const rigDir = "data"

func openRig(fs vfs.FS) (*rig, error) {
	r := &rig{fs: fs}
	m, err := newMetrics(nil)
	if err != nil {
		return nil, err
	}
	if err := prepareSegments(fs, fs.PathJoin(rigDir, "segments")); err != nil {
		return nil, err
	}
	if err := syncDir(fs, ""); err != nil {
		return nil, err
	}
	if r.floor, err = openFloor(fs, fs.PathJoin(rigDir, "floor")); err != nil {
		return nil, err
	}
	r.fold = newMapFold(fs, fs.PathJoin(rigDir, "state.json"))
	r.store = newStore(fs, fs.PathJoin(rigDir, "segments"), 700, 3, r.fold.End)
	r.replica, err = openReplica(groupID, r.store, r.fold, r.floor, newFailure(func(err error) { r.failed = err }), m, clock.System{})
	if err != nil {
		return nil, errors.Join(err, r.floor.close())
	}
	return r, nil
}

func (r *rig) close() {
	r.store.files.close()
	r.floor.close()
}

// script is a history: updates of entries, with what is done between them.
type script struct {
	updates [][]committed
	model   map[Partition][]string
	indexOf map[Partition][]Index // of each change
	after   []byte                // 's' sync, 'f' the Fold becomes durable on its own, 'r' read everything, else nothing
}

// makeScript returns a history of n updates to three partitions.
func makeScript(rng *rand.Rand, n int) *script {
	s := &script{model: map[Partition][]string{}, indexOf: map[Partition][]Index{}}
	parts := []Partition{{1, 0}, {1, 1}, {2, 0}}
	index := Index(0)
	for range n {
		var update []committed
		for range 1 + rng.IntN(3) {
			index += Index(1 + rng.IntN(3)) // Raft has entries of its own in between
			var batches [][]byte
			for range 1 + rng.IntN(3) {
				var writes []write
				for range rng.IntN(4) {
					p := parts[rng.IntN(len(parts))]
					data := fmt.Sprintf("%d:%d %s", index, len(s.model[p]), strings.Repeat("x", rng.IntN(120)))
					writes = append(writes, write{p, data})
					s.model[p] = append(s.model[p], data)
					s.indexOf[p] = append(s.indexOf[p], index)
				}
				batches = append(batches, batchOf(writes...))
			}
			update = append(update, committed{index, appendEntry(nil, int64(rng.IntN(1000)), batches)})
		}
		s.updates = append(s.updates, update)
		s.after = append(s.after, "....sfr"[rng.IntN(7)])
	}
	return s
}

// run applies what r lacks. It stops at the first error.
func (s *script) run(r *rig) error {
	for i, update := range s.updates {
		update = lacking(update, r.replica.checkpoint.Index)
		if len(update) == 0 {
			continue
		}
		if _, err := r.replica.apply(update); err != nil {
			return err
		}
		if err := s.between(r, s.after[i]); err != nil {
			return err
		}
	}
	return nil
}

func lacking(update []committed, have Index) []committed {
	for len(update) > 0 && update[0].index <= have {
		update = update[1:]
	}
	return update
}

func (s *script) between(r *rig, what byte) error {
	switch what {
	case 's':
		r.store.saveIndexes() // may fail: it is derived
		return r.replica.sync()
	case 'f':
		return r.fold.Sync()
	case 'r':
		return s.verify(r)
	}
	return nil
}

// verify compares what r has published with the model.
func (s *script) verify(r *rig) error {
	applied := Index(r.store.applied.Load())
	for id, want := range s.model {
		p, err := r.store.partition(id)
		if err != nil {
			return err
		}
		n := 0
		for n < len(want) && s.indexOf[id][n] <= applied {
			n++
		}
		if end := p.end.Load(); end != uint64(n) {
			return &mismatch{fmt.Sprintf("%v ends at %d, want %d at index %d", id, end, n, applied)}
		}
		for at := 0; at < n; {
			records, err := p.read(Offset(at), Offset(n), 300)
			if err != nil {
				return err
			}
			if len(records) == 0 {
				return &mismatch{fmt.Sprintf("%v has nothing at %d of %d", id, at, n)}
			}
			for _, rec := range records {
				if string(rec.Data) != want[at] || rec.Offset != Offset(at) || rec.Index != s.indexOf[id][at] {
					return &mismatch{fmt.Sprintf("%v offset %d: %d/%d %q, want %q", id, at, rec.Offset, rec.Index, rec.Data, want[at])}
				}
				at++
			}
		}
	}
	return nil
}

// mismatch is an answer that differs from the model, as opposed to an error.
type mismatch struct{ what string }

func (m *mismatch) Error() string { return m.what }

// finish reopens what a crash or failure left in fs, checks what it says at once, applies the rest and checks again.
func (s *script) finish(fs vfs.FS) error {
	r, err := openRig(fs)
	if err != nil {
		return fmt.Errorf("reopen: %w", err)
	}
	defer r.close()
	if err := s.verify(r); err != nil {
		return fmt.Errorf("after reopening at %d: %w", r.replica.checkpoint.Index, err)
	}
	if err := s.run(r); err != nil {
		return fmt.Errorf("apply the rest: %w", err)
	}
	if err := s.verify(r); err != nil {
		return fmt.Errorf("after applying the rest: %w", err)
	}
	return nil
}

func newSeed(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}
