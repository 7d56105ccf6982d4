package backup

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/flusher/objstore"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/pebble"
)

// handClock is a clock that a test moves.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// newTestKeeper returns a Keeper over a log with a schema in it, and its store.
func newTestKeeper(t *testing.T, c *handClock, idle time.Duration) (*Keeper, *objstore.Dir) {
	t.Helper()
	dir := t.TempDir()
	m, err := materializer.New(materializer.Options{Backend: func(before func() error) (storage.Backend, error) {
		return pebble.Open(pebble.Options{Dir: filepath.Join(dir, "state"), BeforeDurable: before})
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := log.Open(t.Context(), log.Options{Dir: dir, Fold: m, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	mutations, err := m.Catalog().CreateNamespace("app", 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := materializer.NewWriter(l).Write(t.Context(), &materializer.Batch{Caller: "root", Mutations: mutations}); err != nil {
		t.Fatal(err)
	}
	store := objstore.NewDir(vfs.Default, dir)
	k := NewKeeper(Options{Log: l, State: m, Store: store, Clock: c, Idle: idle, Cluster: "c", Node: 1})
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k, store
}

func mustBegin(t *testing.T, k *Keeper) string {
	t.Helper()
	b, err := k.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b.ID
}

// held reports whether deletions in store are put off.
func held(t *testing.T, store *objstore.Dir) bool {
	t.Helper()
	o, err := store.Create("data/probe")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(o.Commit(), store.Delete("data/probe")); err != nil {
		t.Fatal(err)
	}
	_, err = store.Open("data/probe")
	return !errors.Is(err, os.ErrNotExist)
}

func TestPartsAreTheSameEachTime(t *testing.T) {
	k, _ := newTestKeeper(t, &handClock{}, time.Hour)
	b, err := k.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Parts) < 2 {
		t.Fatalf("parts %+v", b.Parts)
	}
	for _, p := range b.Parts {
		var first, second bytes.Buffer
		for _, out := range []*bytes.Buffer{&first, &second} {
			part, err := k.Part(t.Context(), b.ID, p.Name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := part.Send(t.Context(), out); err != nil {
				t.Fatal(err)
			}
			part.Close()
		}
		if !bytes.Equal(first.Bytes(), second.Bytes()) || first.Len() == 0 {
			t.Errorf("%s: %d and %d bytes", p.Name, first.Len(), second.Len())
		}
	}
	if _, err := k.Part(t.Context(), b.ID, "log/no/such"); !problem.Is(err, problem.NotFound) {
		t.Errorf("no part: %v", err)
	}
	if err := k.End(b.ID); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{k.End(b.ID), errorOf(k.Describe(b.ID)), errorOf(k.Part(t.Context(), b.ID, statePart))} {
		if !problem.Is(err, problem.NotFound) {
			t.Errorf("a backup that has ended: %v", err)
		}
	}
}

func errorOf[T any](_ T, err error) error { return err }

func TestBackupsExpire(t *testing.T) {
	c := &handClock{now: time.Unix(1000, 0)}
	k, store := newTestKeeper(t, c, 10*time.Millisecond)
	id := mustBegin(t, k)
	part, err := k.Part(t.Context(), id, statePart)
	if err != nil {
		t.Fatal(err)
	}
	c.move(time.Hour)
	if _, err := part.Send(t.Context(), io.Discard); err != nil {
		t.Errorf("a part that is being sent: %v", err)
	}
	if !held(t, store) {
		t.Error("nothing is held while a backup is under way")
	}
	part.Close() // now, by the clock
	if _, err := k.Describe(id); err != nil {
		t.Errorf("a backup that was used just now: %v", err)
	}
	c.move(time.Hour)
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for held(t, store) {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("the backup is kept for ever")
		}
	}
	if err := k.End(id); !problem.Is(err, problem.NotFound) {
		t.Errorf("a backup that has expired: %v", err)
	}
}

func TestBackupsAreBounded(t *testing.T) {
	k, _ := newTestKeeper(t, &handClock{}, time.Hour)
	for range maxOpen {
		mustBegin(t, k)
	}
	if _, err := k.Begin(t.Context()); !problem.Is(err, problem.Overloaded) {
		t.Errorf("one too many: %v", err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Begin(t.Context()); !problem.Is(err, problem.ShuttingDown) {
		t.Errorf("after Close: %v", err)
	}
}
