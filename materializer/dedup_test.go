package materializer

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
)

// writeOnce applies mutations as one batch with an idempotency key.
func (l *ledger) writeOnce(key string, fingerprint uint64, ms ...Mutation) (WriteReceipt, error) {
	return NewWriter(l).Remembering(l.memory).Write(context.Background(), &Batch{IdempotencyKey: key, Fingerprint: fingerprint, Mutations: ms})
}

func TestReplay(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(4))
	var ms []Mutation
	for i := range int64(30) {
		ms = append(ms, l.row(users, Insert, big(i), str("x"), big(i)))
	}
	skipped := ms[3]
	skipped.Miss = Skip
	ms = append(ms, skipped)
	first, err := l.writeOnce("k", 1, ms...)
	if err != nil {
		t.Fatal(err)
	}
	l.mustWrite(l.patch(users, 1, "n", lit(big(100))))
	again, err := l.writeOnce("k", 1, ms[:2]...)
	if err != nil {
		t.Fatal(err)
	}
	if !again.Replayed || again.Index != first.Index || again.Position.String() != first.Position.String() || !slices.Equal(again.Applied, first.Applied) {
		t.Errorf("replay %+v, want %+v", again, first)
	}
	if _, err := l.writeOnce("k", 2, ms[0]); !problem.Is(err, problem.IdempotencyMismatch) {
		t.Errorf("another request: %v", err)
	}
	if _, err := l.writeOnce("k2", 1, ms[0]); !problem.Is(err, problem.DuplicateKey) {
		t.Errorf("another key: %v", err)
	}
	if _, err := l.writeOnce("k2", 1, l.row(users, Insert, big(99), str("x"), big(1))); err != nil {
		t.Errorf("a refused request is not remembered, but: %v", err)
	}
	if _, err := l.writeOnce(strings.Repeat("k", MaxIdempotencyKey+1), 1); !problem.Is(err, problem.BadRequest) {
		t.Errorf("a long key: %v", err)
	}
	l.verify()
}

func TestReplayWithinStep(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(1))
	b := EncodeBatch(&Batch{IdempotencyKey: "k", Mutations: []Mutation{l.row(users, Insert, big(1), str("x"), big(1))}})
	s := l.begin()
	results := append(s.entry(b, b), s.entry(b)...)
	s.commit()
	for i, raw := range results {
		r, err := decodeResult(raw)
		if err != nil {
			t.Fatal(err)
		}
		if r.Replayed != (i > 0) || r.Index != l.index-1 || r.Applied[0].Offset != 0 {
			t.Errorf("result %d: %+v", i, r)
		}
	}
}

func TestReplaySurvivesRestart(t *testing.T) {
	fs := vfs.NewMem()
	l := openLedger(t, fs)
	users := l.createTable(usersTable(1))
	first, err := l.writeOnce("k", 1, l.row(users, Insert, big(1), str("x"), big(1)))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.m.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := l.m.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLedger(t, fs)
	again, err := l.writeOnce("k", 1, l.row(users, Insert, big(1), str("x"), big(1)))
	if err != nil || !again.Replayed || again.Index != first.Index || !slices.Equal(again.Applied, first.Applied) {
		t.Errorf("replay after restart: %+v %v, want %+v", again, err, first)
	}
}

// TestMemoryIsBounded by count: the oldest are forgotten, and their records are gone.
func TestMemoryIsBounded(t *testing.T) {
	fs := vfs.NewMem()
	l := openLedger(t, fs)
	l.memory.Keys = 10
	users := l.createTable(usersTable(1))
	upsert := l.row(users, Upsert, big(1), str("x"), big(1))
	once := func(i int) bool {
		t.Helper()
		r, err := l.writeOnce(strconv.Itoa(i), 1, upsert)
		if err != nil {
			t.Fatal(err)
		}
		return r.Replayed
	}
	for i := range 50 {
		once(i)
	}
	if n := l.replies(); n != 10 {
		t.Errorf("%d replies are remembered", n)
	}
	for i := 40; i < 50; i++ {
		if !once(i) {
			t.Errorf("reply %d is forgotten", i)
		}
	}
	if once(39) {
		t.Error("reply 39 is remembered")
	}
	if err := l.m.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := l.m.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLedger(t, fs)
	l.memory.Keys = 10
	if once(40) || !once(49) {
		t.Error("after a restart other replies are remembered")
	}
	if n := l.replies(); n != 10 {
		t.Errorf("%d replies are remembered after a restart", n)
	}
}

// replies counts the records of remembered replies, and checks that the order has as many.
func (l *ledger) replies() int {
	l.t.Helper()
	byKey, order := 0, 0
	for _, line := range dumpState(l.t, l.m) {
		switch {
		case strings.HasPrefix(line, fmt.Sprintf("%x", metaReply)):
			byKey++
		case strings.HasPrefix(line, fmt.Sprintf("%x", metaReplyOrder)):
			order++
		}
	}
	if byKey != order {
		l.t.Errorf("%d replies, %d in the order", byKey, order)
	}
	return byKey
}

// TestMemoryAges: a reply counts for as long as it is young, and the old ones go when others come.
func TestMemoryAges(t *testing.T) {
	l := newLedger(t)
	l.memory.Age = time.Millisecond
	users := l.createTable(usersTable(1))
	upsert := l.row(users, Upsert, big(1), str("x"), big(1))
	once := func(key string) WriteReceipt {
		t.Helper()
		r, err := l.writeOnce(key, 1, upsert)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for i := range 5 {
		once(strconv.Itoa(i))
	}
	l.now += 500
	if !once("0").Replayed {
		t.Error("forgotten before its time")
	}
	l.now += 1000
	if once("0").Replayed {
		t.Error("remembered beyond its time")
	}
	if !once("0").Replayed {
		t.Error("the key's second use is not remembered")
	}
	if n := l.replies(); n != 1 {
		t.Errorf("%d replies are remembered", n)
	}
	l.now += 2000
	once("other")
	if n := l.replies(); n != 1 {
		t.Errorf("%d replies are remembered at last", n)
	}
}

func TestAppliedCodec(t *testing.T) {
	p := func(table log.TableID, id log.PartitionID, o log.Offset) Applied {
		return Applied{Done: true, Partition: log.Partition{Table: table, ID: id}, Offset: o}
	}
	for _, applied := range [][]Applied{
		nil, {{}}, {p(1, 0, 5)}, {p(1, 0, 5), p(1, 0, 6), {}, p(1, 1, 0), p(1, 0, 7), p(2, 0, 1), {}, {}},
	} {
		d := decoder{src: appendApplied(nil, applied)}
		if got := d.applied(); d.bad || !slices.Equal(got, applied) {
			t.Errorf("%v came back as %v", applied, got)
		}
	}
}
