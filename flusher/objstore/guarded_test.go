package objstore

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestGuardedStopsWithoutRoom(t *testing.T) {
	errFull := errors.New("full")
	var full error
	s := Guarded(NewDir(vfs.NewMem(), ""), func() error { return full })
	o, err := s.Create("a/b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	full = errFull
	if _, err := o.Write([]byte("y")); !errors.Is(err, errFull) {
		t.Errorf("write without room: %v", err)
	}
	if _, err := s.Create("a/c"); !errors.Is(err, errFull) {
		t.Errorf("create without room: %v", err)
	}
	if err := o.Abort(); err != nil {
		t.Errorf("abort without room: %v", err)
	}
	if left, err := s.List(""); err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	full = nil
	o, err = s.Create("a/b")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Commit(); err != nil {
		t.Errorf("commit with room again: %v", err)
	}
}
