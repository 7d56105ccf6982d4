package log

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// childEnv names the directory that a child process of this test binary opens; see TestOpenInChild.
const childEnv = "KALAM_LOG_TEST_CHILD_DIR"

const flipPartitions = 2

// TestOpenInChild is the body of child processes: damage may make dragonboat end the process from its own goroutines.
func TestOpenInChild(t *testing.T) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		return // only children have work here
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	l, err := Open(ctx, testOptions(dir))
	if err != nil {
		fmt.Fprintf(os.Stdout, "refused: %v\n", err)
		os.Exit(3)
	}
	if _, err := l.Propose(ctx, batchOf(write{Partition{1, 0}, "after"})); err != nil {
		fmt.Fprintf(os.Stdout, "refused: %v\n", err)
		os.Exit(3)
	}
	fmt.Fprintf(os.Stdout, "records: %s\n", digest(t, l))
	if err := l.Close(); err != nil {
		fmt.Fprintf(os.Stdout, "refused: close: %v\n", err)
		os.Exit(3)
	}
}

// digest names every record of the test's partitions.
func digest(t testing.TB, l *Log) string {
	var s strings.Builder
	for n := range flipPartitions {
		all := readAll(t, l, Partition{1, PartitionID(n)})
		fmt.Fprintf(&s, "%d records %08x; ", len(all), crc32.ChecksumIEEE([]byte(strings.Join(all, "\n"))))
	}
	return s.String()
}

// openInChild returns what a child says about dir.
func openInChild(t testing.TB, dir string) (digest string, refused bool) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(testContext(t), exe, "-test.run=^TestOpenInChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return string(out), true
	}
	if err != nil {
		t.Fatal(err)
	}
	_, line, ok := strings.Cut(string(out), "records: ")
	if !ok {
		t.Fatalf("child said %q", out)
	}
	line, _, _ = strings.Cut(line, "\n")
	return line, false
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// crashImage returns a directory as kill -9 leaves it: after a restart, with a checkpoint in the middle of what followed.
func crashImage(t testing.TB, n int) string {
	t.Helper()
	live, image := t.TempDir(), filepath.Join(t.TempDir(), "image")
	l := openTestLog(t, testOptions(live))
	proposeN(t, l, 3)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openTestLog(t, testOptions(live))
	for i := range n {
		p := Partition{1, PartitionID(i % flipPartitions)}
		if _, err := l.Propose(testContext(t), batchOf(write{p, fmt.Sprintf("change %d %s", i, strings.Repeat("x", i%300))})); err != nil {
			t.Fatal(err)
		}
		if i == n/2 {
			if err := l.Checkpoint(testContext(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	copyTree(t, live, image)
	return image
}

// flip is one bit of one file.
type flip struct {
	file string
	bit  int
}

func TestBitFlipsInRaftFilesLoseNothing(t *testing.T) {
	image := crashImage(t, 200)
	clean := filepath.Join(t.TempDir(), "clean")
	copyTree(t, image, clean)
	want, refused := openInChild(t, clean)
	if refused {
		t.Fatalf("the clean image is refused: %s", want)
	}
	outcomes := sync.Map{}
	flips := make(chan flip)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for f := range flips {
				outcome := tryFlip(t, image, f, want)
				count, _ := outcomes.LoadOrStore(filepath.Base(f.file)+" "+outcome, new(atomic.Int64))
				count.(*atomic.Int64).Add(1)
			}
		})
	}
	for _, f := range chooseFlips(t, image, newSeed(t)) {
		flips <- f
	}
	close(flips)
	wg.Wait()
	outcomes.Range(func(outcome, count any) bool {
		t.Log(outcome, count.(*atomic.Int64).Load())
		return true
	})
}

// tryFlip opens image with f flipped.
func tryFlip(t *testing.T, image string, f flip, want string) string {
	dir := filepath.Join(t.TempDir(), "flipped")
	copyTree(t, image, dir)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, f.file)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return "error"
	}
	data[f.bit/8] ^= 1 << (f.bit % 8)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Error(err)
	}
	got, refused := openInChild(t, dir)
	switch {
	case refused && !strings.Contains(got, "refused: "):
		t.Logf("bit %d of %s ended the process: %.300s", f.bit, f.file, got)
		return "ended the process"
	case refused:
		if !strings.Contains(got, filepath.Join(dir, "raft")) {
			t.Errorf("bit %d of %s: no file is named: %s", f.bit, f.file, got)
		}
		return "refused"
	case got != want:
		t.Errorf("bit %d of %s flipped: %s, want %s", f.bit, f.file, got, want)
	}
	return "unharmed"
}

// chooseFlips returns random bits of every file, and every bit of one record header of the newest log: tan takes some of those
// for the end of the log.
func chooseFlips(t *testing.T, image string, rng *rand.Rand) []flip {
	var flips []flip
	newest := flip{}
	err := filepath.WalkDir(filepath.Join(image, "raft"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == "LOCK" {
			return err
		}
		data, err := os.ReadFile(path)
		file, _ := filepath.Rel(image, path)
		for range 4 {
			if len(data) > 0 {
				flips = append(flips, flip{file, rng.IntN(8 * len(data))})
			}
		}
		if strings.HasSuffix(file, ".log") {
			newest = flip{file, 8 * tanRecord(data, 20+rng.IntN(150))}
		}
		return err
	})
	if err != nil || newest.bit < 8 {
		t.Fatalf("no record found: %v", err)
	}
	for bit := range 7 * 8 {
		flips = append(flips, flip{newest.file, newest.bit + bit})
	}
	return flips
}

// tanRecord returns the place of the n-th chunk of a tan log: chunks are | crc u32 | length u16 | type u8 | and do not cross blocks.
func tanRecord(data []byte, n int) int {
	const block, head = 32 << 10, 7
	at := 0
	for ; n > 0 && at+head < len(data); n-- {
		at += head + int(binary.LittleEndian.Uint16(data[at+4:]))
		if left := block - at%block; left < head {
			at += left
		}
	}
	return at
}
