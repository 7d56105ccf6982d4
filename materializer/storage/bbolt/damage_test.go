package bbolt

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"kalamlog.dev/kalam/materializer/storage"
)

// damagedDirEnv has the test binary read damaged stores instead of testing: a damaged branch page may lead bbolt round in circles until the stack is full, which ends
// a process.
const damagedDirEnv = "BBOLT_DAMAGED_DIR"

// sound makes a store with several pages of several buckets, several syncs, deletions and a dropped partition.
func sound(t *testing.T, dir string) {
	t.Helper()
	for round := range 3 {
		b, err := Open(Options{Dir: dir, freelist: bolt.FreelistArrayType})
		if err != nil {
			t.Fatal(err)
		}
		p := storage.PartitionName(fmt.Sprintf("t/%d/0", round))
		errs := []error{b.CreatePartition(p)}
		for i := range 300 {
			errs = append(errs, b.Put(p, soundKey(2*i), fmt.Appendf(nil, "value %d of round %d", i*i, round)))
			if i%100 == 99 {
				errs = append(errs, b.Sync())
			}
		}
		for i := range 50 {
			errs = append(errs, b.Delete(p, soundKey(12*i)))
		}
		if round == 1 {
			errs = append(errs, b.DropPartition("t/0/0"))
		}
		if err := errors.Join(append(errs, b.Sync(), b.Close())...); err != nil {
			t.Fatal(err)
		}
	}
}

func soundKey(i int) []byte { return fmt.Appendf(nil, "key %06d", i) }

// readAll prints all the store holds, by scans both ways and by key, and what it says it does not hold.
func readAll(dir string) (content string, err error) {
	b, err := Open(Options{Dir: dir, freelist: bolt.FreelistArrayType})
	if err != nil {
		return "", err
	}
	defer func() {
		if e := b.Close(); err == nil {
			err = e
		}
	}()
	names, err := b.Partitions()
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, p := range names {
		fmt.Fprintf(&out, "%s\n", p)
		for _, reverse := range []bool{false, true} {
			for e, err := range b.Scan(p, storage.Range{Reverse: reverse}) {
				if err != nil {
					return "", err
				}
				fmt.Fprintf(&out, "%q %q\n", e.Key, e.Value)
			}
		}
		for i := range 601 {
			v, err := b.Value(p, soundKey(i))
			if err != nil && !errors.Is(err, storage.ErrNotFound) {
				return "", err
			}
			fmt.Fprintf(&out, "%d %q\n", i, v)
		}
	}
	return out.String(), nil
}

// writeOn opens the store, changes some keys, and returns what is there after opening it again.
func writeOn(dir string) (string, error) {
	b, err := Open(Options{Dir: dir, freelist: bolt.FreelistArrayType})
	if err != nil {
		return "", err
	}
	for i := range 60 {
		err = errors.Join(err, b.Put("t/2/0", soundKey(7*i), []byte("new")), b.Delete("t/1/0", soundKey(5*i)))
	}
	if err := errors.Join(err, b.Sync(), b.Close()); err != nil {
		return "", err
	}
	return readAll(dir)
}

// attempts are read from dir by a process of its own: dir/sound has the store, dir/next the number of the first attempt. It prints a line for each.
const attempts = 500

func tryDamage(dir string, out io.Writer) {
	debug.SetMaxStack(32 << 20)
	first, err := strconv.Atoi(os.Getenv("BBOLT_DAMAGED_FIRST"))
	if err != nil {
		panic(err)
	}
	want, err := readAll(copyDir(filepath.Join(dir, "sound"), filepath.Join(dir, "undamaged")))
	if err != nil {
		panic(err)
	}
	wantWritten, err := writeOn(filepath.Join(dir, "undamaged"))
	if err != nil {
		panic(err)
	}
	for i := first; i < attempts; i++ {
		fmt.Fprintf(out, "%d ", i)
		hurt := copyDir(filepath.Join(dir, "sound"), filepath.Join(dir, "hurt"))
		kind := hurtStore(hurt, rand.New(rand.NewPCG(11, uint64(i))))
		read, expect := readAll, want
		if i%4 == 3 {
			read, expect = writeOn, wantWritten
		}
		got, err := read(hurt)
		switch {
		case err != nil:
			fmt.Fprintln(out, kind, "found")
		case got == expect:
			fmt.Fprintln(out, kind, "harmless")
		default:
			fmt.Fprintln(out, kind, "UNNOTICED", firstDifference(got, expect))
		}
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i, line := range g {
		if i >= len(w) || w[i] != line {
			return fmt.Sprintf("%q for %q", line, w[min(i, len(w)-1)])
		}
	}
	return fmt.Sprintf("%d lines for %d", len(g), len(w))
}

// hurtStore flips a bit of a file, blanks a stretch, or cuts the file short.
func hurtStore(dir string, rng *rand.Rand) (kind string) {
	name := fileName
	if rng.IntN(20) == 0 {
		name = "FLOOR"
	}
	path := filepath.Join(dir, name)
	content, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	at := rng.IntN(len(content))
	switch rng.IntN(10) {
	case 0, 1:
		kind = "misled"
		mislead(content, rng)
	case 2:
		kind = "blanked"
		clear(content[at:min(len(content), at+512)])
	case 3:
		kind, content = "cut", content[:at]
	default:
		kind = "flipped"
		if rng.IntN(2) == 0 {
			at = at&^4095 + rng.IntN(200) // the head of a page decides most
		}
		content[min(at, len(content)-1)] ^= 1 << rng.IntN(8)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		panic(err)
	}
	return kind
}

// mislead flips a bit in an element of an inner page, but for the number of the page that it leads to: that may be an older copy of the same page, which is
// whole in itself, and which nothing but kalam verify tells from the newest (docs/backends.md says so).
func mislead(content []byte, rng *rand.Rand) {
	size := os.Getpagesize()
	var places []int
	for at := 0; at+size <= len(content); at += size {
		page := content[at : at+size]
		if binary.LittleEndian.Uint64(page) != uint64(at/size) || binary.LittleEndian.Uint16(page[8:]) != 1 {
			continue // no inner page
		}
		for i := range int(binary.LittleEndian.Uint16(page[10:])) {
			element := 16 + 16*i // position and size of the key, 4 bytes each, and the page, 8
			key := element + int(binary.LittleEndian.Uint32(page[element:]))
			end := key + int(binary.LittleEndian.Uint32(page[element+4:]))
			places = append(places, at+element, at+element+4, at+end-1, at+end-1, at+end-2)
		}
	}
	if len(places) > 0 {
		content[places[rng.IntN(len(places))]] ^= 1 << rng.IntN(8)
	}
}

func copyDir(from, to string) string {
	if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(from))); err != nil {
		panic(err)
	}
	return to
}

// TestDamage hurts a sound store in one place at a time: it must say so, end the process, or be as it was, also if it is written on.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	sound(t, filepath.Join(dir, "sound"))
	outcomes := map[string]int{}
	for next := 0; next < attempts; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		child := exec.CommandContext(ctx, os.Args[0])
		child.Env = append(os.Environ(), damagedDirEnv+"="+dir, "BBOLT_DAMAGED_FIRST="+strconv.Itoa(next))
		out, err := child.Output()
		hung := ctx.Err() != nil
		cancel()
		last := ""
		for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
			number, outcome, _ := strings.Cut(lines.Text(), " ")
			n, bad := strconv.Atoi(number)
			if bad != nil || n != next {
				break // the end of the output of a process that died
			}
			next, last = n+1, outcome
			if outcome != "" {
				outcomes[outcome]++
			}
			if strings.Contains(outcome, "UNNOTICED") {
				t.Errorf("attempt %d: damage went unnoticed: %s", n, outcome)
			}
		}
		switch {
		case err == nil:
		case hung:
			t.Errorf("attempt %d did not end", next-1)
		case last != "":
			t.Fatalf("before attempt %d: %v\n%s", next, err, out)
		default:
			outcomes["the process ended"]++
		}
	}
	t.Log(outcomes)
	if outcomes["flipped found"] == 0 || outcomes["blanked found"] == 0 || outcomes["cut found"] == 0 || outcomes["misled found"] == 0 {
		t.Error("no damage was found at all")
	}
}
