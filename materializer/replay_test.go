package materializer

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// replayRig writes with idempotency keys and knows what each was answered with.
type replayRig struct {
	t     *testing.T
	rt    *rapid.T
	l     *ledger
	fs    *vfs.MemFS
	users *Table
	first map[string]firstUse
	uses  int // keys taken in, those used again after they were forgotten included
}

type firstUse struct {
	applied []Applied
	at      int64
}

// TestReplaysAreExact: keys come again in any order, over restarts and snapshots, as time goes on. A key that is answered from the memory gets
// its original offsets; one that was first used since Remembered.Since is answered from it; the memory never exceeds its bounds and
// accounts for every key.
func TestReplaysAreExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := &replayRig{t: t, rt: rt, fs: vfs.NewMem(), first: map[string]firstUse{}}
		r.l = openLedger(t, r.fs)
		r.l.memory = Memory{Keys: rapid.IntRange(1, 6).Draw(rt, "keys"), Age: time.Duration(rapid.IntRange(5, 200).Draw(rt, "age")) * time.Microsecond}
		r.users = r.l.createTable(usersTable(2))
		for range rapid.IntRange(5, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 19).Draw(rt, "what") {
			case 0:
				r.restart()
			case 1:
				r.move()
			case 2, 3:
				r.l.now += rapid.Int64Range(1, 100).Draw(rt, "pause")
			default:
				r.write(fmt.Sprint("key ", rapid.IntRange(0, 9).Draw(rt, "key")))
			}
			r.check()
		}
	})
}

func (r *replayRig) write(key string) {
	before := r.l.m.Remembered()
	n := int64(len(r.l.all))
	got, err := r.l.writeOnce(key, 1, r.l.row(r.users, Upsert, big(int64(len(key))+n%7), str("x"), big(n)), r.l.row(r.users, Upsert, big(n), str("y"), big(n)))
	if err != nil {
		r.rt.Fatal(err)
	}
	use, known := r.first[key]
	switch {
	case got.Replayed && !known:
		r.rt.Fatalf("%s was never used and is answered from the memory", key)
	case got.Replayed && !slices.Equal(got.Applied, use.applied):
		r.rt.Fatalf("%s is answered with %v, was %v", key, got.Applied, use.applied)
	case !got.Replayed && known && use.at >= before.Since(r.l.now, r.l.memory.Age):
		r.rt.Fatalf("%s was used at %d and is forgotten at %d, though the memory reaches back to %d: %+v", key, use.at, r.l.now, before.Since(r.l.now, r.l.memory.Age), before)
	}
	if !got.Replayed {
		r.first[key] = firstUse{got.Applied, r.l.now}
		r.uses++
	}
}

func (r *replayRig) check() {
	m := r.l.m.Remembered()
	if m.Keys > uint64(r.l.memory.Keys) || m.Keys+m.DroppedByAge+m.DroppedByCount != uint64(r.uses) {
		r.rt.Fatalf("the memory holds %+v after %d keys, its bounds are %+v", m, r.uses, r.l.memory)
	}
}

// restart closes the state and opens it again.
func (r *replayRig) restart() {
	if err := r.l.m.Sync(); err != nil {
		r.rt.Fatal(err)
	}
	if err := r.l.m.Close(); err != nil {
		r.rt.Fatal(err)
	}
	r.follow(openLedger(r.t, r.fs))
}

// move goes on with another node that got a snapshot.
func (r *replayRig) move() {
	raw := r.l.snapshot()
	r.fs = vfs.NewMem()
	next := openLedger(r.t, r.fs)
	if _, err := next.m.Restore(bytes.NewReader(raw), nil); err != nil {
		r.rt.Fatal(err)
	}
	r.follow(next)
}

// follow goes on with next, which must remember the same.
func (r *replayRig) follow(next *ledger) {
	if got, want := next.m.Remembered(), r.l.m.Remembered(); got != want {
		r.rt.Fatalf("%+v is remembered, was %+v", got, want)
	}
	next.index, next.now, next.ends, next.all, next.memory = r.l.index, r.l.now, r.l.ends, r.l.all, r.l.memory
	r.l = next
}
