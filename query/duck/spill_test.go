package duck

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

// TestSpillStopsWithoutRoom: a query that spills is ended when there is no room for that, others go on, and with room it runs.
func TestSpillStopsWithoutRoom(t *testing.T) {
	errFull := errors.New("no room")
	var full atomic.Bool
	db, err := Open(Options{DataDir: t.TempDir(), MemoryLimit: "40MB", Threads: 2, Room: func() error {
		if full.Load() {
			return errFull
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Release(c)
	sorted := func(rows string) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := c.Text(ctx, "SELECT sum(hash(s) % 2)::TEXT FROM (SELECT md5(i::TEXT) || md5((i + 1)::TEXT) AS s FROM range("+rows+") r(i) ORDER BY 1)")
		return err
	}
	full.Store(true)
	if err := sorted("100"); err != nil {
		t.Errorf("a small query without room: %v", err)
	}
	if err := sorted("3000000"); !errors.Is(err, errFull) {
		t.Errorf("a query that spills without room: %v", err)
	}
	if err := sorted("100"); err != nil {
		t.Errorf("the next query: %v", err)
	}
	full.Store(false)
	if err := sorted("700000"); err != nil {
		t.Errorf("a query that spills with room: %v", err)
	}
}
