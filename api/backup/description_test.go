package backup

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"kalamlog.dev/kalam/api/wire"
)

func example() wire.Backup {
	return wire.Backup{
		ID: "b", Cluster: "c", Node: 1, Version: "v", Position: "1:77", Term: 3, Created: 5,
		Parts: []wire.BackupPart{
			{Name: "log/1/0/0-1", Bytes: 3, Sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
			{Name: "state", Bytes: 0, Sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		},
	}
}

// Whatever bit of the description is wrong, it is refused or says the same.
func TestFlippedBitsInTheDescription(t *testing.T) {
	dir := t.TempDir()
	if err := writeDescription(dir, example()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, descriptionFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := Describe(dir); err != nil || !reflect.DeepEqual(b, example()) {
		t.Fatalf("%+v, %v", b, err)
	}
	for i := range len(raw) * 8 {
		raw[i/8] ^= 1 << (i % 8)
		b, err := decodeDescription(raw)
		if err == nil && !reflect.DeepEqual(b, example()) {
			t.Errorf("bit %d: %+v", i, b)
		}
		raw[i/8] ^= 1 << (i % 8)
	}
	if err := os.WriteFile(path, raw[:len(raw)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Describe(dir)
	if d, ok := errors.AsType[*DamagedError](err); !ok || d.Path != path {
		t.Errorf("half a description: %v", err)
	}
}

func TestNamesOfParts(t *testing.T) {
	for name, valid := range map[string]bool{
		"state": true, "log/1/0/00-01": true, "data/a.b-1000/1-x/z.parquet": true,
		"": false, ".": false, "..": false, "../x": false, "log/../../x": false, "/etc/passwd": false, "a//b": false, "a/": false,
		descriptionFile: false, journalFile: false,
	} {
		if validPart(name) != valid {
			t.Errorf("%q: want %v", name, valid)
		}
	}
	twice := example()
	twice.Parts = append(twice.Parts, twice.Parts[0])
	stateless := example()
	stateless.Parts = stateless.Parts[:1]
	nowhere := example()
	nowhere.Position = "somewhere"
	for _, b := range []wire.Backup{twice, stateless, nowhere} {
		if checkDescription(b) == nil {
			t.Errorf("%+v was accepted", b)
		}
	}
}
