package log

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestIdentityRoundTrip(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := ReadIdentity(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of an empty directory: %v", err)
	}
	joined := JoiningIdentity(3+2*lives, "some cluster")
	for _, id := range []Identity{FirstIdentity(2, 1, 2, 3), joined} {
		if err := WriteIdentity(dir, id); err != nil {
			t.Fatal(err)
		}
		got, err := ReadIdentity(dir)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, id) {
			t.Errorf("have %+v, want %+v", got, id)
		}
	}
	if joined.Node != 3 || joined.Replica.Node() != 3 {
		t.Errorf("the replica of node 3 is one of node %d", joined.Replica.Node())
	}
}

func TestIdentityOfTheFirstRelease(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "floor"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	id, err := ReadIdentity(dir)
	if err != nil || id.Node != 1 || id.Target != soloTarget || id.Members[1] != soloTarget {
		t.Errorf("have %+v, %v", id, err)
	}
}

// A flipped bit never makes another identity.
func TestDamagedIdentity(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id := FirstIdentity(2, 1, 2, 3)
	if err := WriteIdentity(dir, id); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, identityFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(whole) {
		damaged := append([]byte(nil), whole...)
		damaged[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadIdentity(dir)
		var c *CorruptionError
		if err == nil && !reflect.DeepEqual(got, id) || err != nil && !errors.As(err, &c) {
			t.Fatalf("bit %d: %+v, %v", bit, got, err)
		}
	}
}

func TestIdentitiesThatCannotBe(t *testing.T) {
	t.Parallel()
	for name, id := range map[string]Identity{
		"no node":             {},
		"replica of another":  {Node: 1, Replica: 2, Target: TargetOf(1)},
		"unknown target":      {Node: 1, Replica: 1, Target: "localhost:1"},
		"not among the first": {Node: 1, Replica: 1, Target: TargetOf(1), Members: map[ReplicaID]string{2: TargetOf(2)}},
		"node out of range":   FirstIdentity(MaxNodeID+1, MaxNodeID+1),
	} {
		if err := WriteIdentity(t.TempDir(), id); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}
