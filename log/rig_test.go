package log

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/problem"
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
	r.store = newStore(fs, fs.PathJoin(rigDir, "segments"), 700, 3, r.fold)
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
	starts  map[Partition][]cut   // in order
	after   []byte                // 's' sync, 'f' the Fold becomes durable on its own, 'r' read everything, else nothing
}

// cut is a deletion in a script.
type cut struct {
	Start
	by Index // the entry
}

// cutAt returns where p starts once the entry at applied is.
func (s *script) cutAt(p Partition, applied Index) Start {
	var start Start
	for _, c := range s.starts[p] {
		if c.by <= applied && c.Offset > start.Offset {
			start = c.Start
		}
	}
	return start
}

// makeScript returns a history of n updates to three partitions.
func makeScript(rng *rand.Rand, n int) *script { return randomScript(rng, n, 0) }

// makeCutScript returns one in which prefixes are deleted too.
func makeCutScript(rng *rand.Rand, n int) *script { return randomScript(rng, n, 8) }

// randomScript makes about one of cutOneIn writes a deletion, none with 0.
func randomScript(rng *rand.Rand, n, cutOneIn int) *script {
	s := &script{model: map[Partition][]string{}, indexOf: map[Partition][]Index{}, starts: map[Partition][]cut{}}
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
					if n := len(s.model[p]); n > 0 && cutOneIn > 0 && rng.IntN(cutOneIn) == 0 {
						writes = append(writes, s.cut(p, Offset(1+rng.IntN(n)), index))
						continue
					}
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

// cut deletes what lies before offset from p.
func (s *script) cut(p Partition, offset Offset, by Index) write {
	start := Start{Offset: offset, Index: s.indexOf[p][offset-1]}
	s.starts[p] = append(s.starts[p], cut{start, by})
	return deletion(p, start)
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
		if err := r.replica.sync(); err != nil {
			return err
		}
		return r.deletePrefixes()
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
		start := s.cutAt(id, applied)
		if got := *p.start.Load(); got != start {
			return &mismatch{fmt.Sprintf("%v starts at %+v, want %+v at index %d", id, got, start, applied)}
		}
		if start.Offset > 0 {
			if _, err := p.read(start.Offset-1, Offset(n), 300); !problem.Is(err, problem.Trimmed) {
				return &mismatch{fmt.Sprintf("%v before its start %d: %v", id, start.Offset, err)}
			}
		}
		for at := int(start.Offset); at < n; {
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
	if err := r.findLeftovers(); err != nil {
		return fmt.Errorf("delete what is left: %w", err)
	}
	if err := s.verify(r); err != nil {
		return fmt.Errorf("after reopening at %d: %w", r.replica.checkpoint.Index, err)
	}
	if err := s.run(r); err != nil {
		return fmt.Errorf("apply the rest: %w", err)
	}
	if err := s.verify(r); err != nil {
		return fmt.Errorf("after applying the rest: %w", err)
	}
	if err := r.replica.sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return r.checkDeleted()
}

// deletePrefixes does what the keeper does after a checkpoint.
func (r *rig) deletePrefixes() error {
	return r.replica.prefixes.run(r.floor.durable(), 1000)
}

// findLeftovers does what the keeper does after a start.
func (r *rig) findLeftovers() error {
	cut, err := r.replica.cutPartitions()
	if err != nil {
		return err
	}
	r.replica.prefixes.add(cut)
	return r.deletePrefixes()
}

// checkDeleted makes sure that no file is left that lies before its partition's start.
func (r *rig) checkDeleted() error {
	if err := r.deletePrefixes(); err != nil {
		return err
	}
	ids, err := r.store.listPartitions()
	if err != nil {
		return err
	}
	for _, id := range ids {
		p, err := r.store.partition(id)
		if err != nil {
			return err
		}
		bases, err := p.listSegments()
		if err != nil {
			return err
		}
		slices.Sort(bases)
		start := p.start.Load().Offset
		for i, base := range bases {
			if end := append(bases, Offset(p.end.Load()))[i+1]; end <= start {
				return &mismatch{fmt.Sprintf("%v starts at %d and has a segment from %d to %d", id, start, base, end)}
			}
		}
	}
	return nil
}

// newSeed returns a generator; KALAM_SEED repeats the run of one.
func newSeed(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("KALAM_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("KALAM_SEED: %v", err)
		}
	}
	t.Logf("KALAM_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}
