package log

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// appendTanRecord appends a record as tan writes it to a log that ends at the end of a record.
func appendTanRecord(log, record []byte) []byte {
	for first := true; ; first = false {
		if left := tanBlock - len(log)%tanBlock; left < tanHead {
			log = append(log, make([]byte, left)...)
		}
		n := min(len(record), tanBlock-len(log)%tanBlock-tanHead)
		last := n == len(record)
		kind := byte(3)
		switch {
		case first && last:
			kind = tanFull
		case first:
			kind = tanFirst
		case last:
			kind = tanLast
		}
		body := append([]byte{kind}, record[:n]...)
		log = binary.LittleEndian.AppendUint32(log, uint32(xxhash.Sum64(body)))
		log = binary.LittleEndian.AppendUint16(log, uint16(n))
		log = append(log, body...)
		if record = record[n:]; last {
			return log
		}
	}
}

func TestTornRecord(t *testing.T) {
	text := func(n int) []byte { return bytes.Repeat([]byte("record! "), n/8+1)[:n] }
	two := appendTanRecord(appendTanRecord(nil, text(500)), text(40_000))
	start := int64(len(two))
	three := appendTanRecord(bytes.Clone(two), text(90_000))
	change := func(b []byte, edit func([]byte)) []byte {
		b = bytes.Clone(b)
		edit(b)
		return b
	}
	hole := func(at int) func([]byte) {
		return func(b []byte) { clear(b[at/tanSector*tanSector:][:4096]) }
	}
	for name, c := range map[string]struct {
		log  []byte
		torn bool
	}{
		"empty":                       {nil, false},
		"whole":                       {three, false},
		"cut short":                   {three[:len(three)-300], false}, // tan copes
		"hole in the first chunk":     {change(three, hole(len(two)+5000)), true},
		"hole in a middle chunk":      {change(three, hole(len(two)+40_000)), true},
		"hole in the last chunk":      {change(three, hole(len(three)-5000)), true},
		"hole and cut short":          {change(three, hole(len(two)+5000))[:len(three)-9000], true},
		"flipped bit":                 {change(three, func(b []byte) { b[len(two)+900] ^= 8 }), false},
		"hole with a record behind":   {appendTanRecord(change(three, hole(len(two)+5000)), text(100)), false},
		"hole in a record in between": {change(three, hole(9000)), false},
	} {
		got, torn, err := tornRecord(bytes.NewReader(c.log), int64(len(c.log)))
		if err != nil || torn != c.torn || torn && got != start {
			t.Errorf("%s: torn %v from %d, want %v from %d: %v", name, torn, got, c.torn, start, err)
		}
	}
}

// A power loss in the middle of writing a record must not keep a node from starting: nothing of it was acknowledged.
func TestOpenAfterPowerLossWithinARaftWrite(t *testing.T) {
	image := crashImage(t, 60)
	want := func(dir string) string {
		got, refused := openInChild(t, dir)
		if refused {
			t.Fatalf("refused: %s", got)
		}
		return got
	}
	clean := filepath.Join(t.TempDir(), "clean")
	copyTree(t, image, clean)
	path, err := newestTanLog(filepath.Join(image, "raft"))
	if err != nil || path == "" {
		t.Fatalf("no log: %v", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole := appendTanRecord(data, []byte(strings.Repeat("never synced ", 2000)))
	hole := whole[(len(data)/tanSector+3)*tanSector:]
	clear(hole[:min(4096, len(hole))])
	if err := os.WriteFile(path, whole, 0o644); err != nil {
		t.Fatal(err)
	}
	if a, b := want(clean), want(image); a != b {
		t.Errorf("after power loss: %s, want %s", b, a)
	}
}
