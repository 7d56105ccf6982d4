package log

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
		fmt.Printf("refused: %v\n", err)
		os.Exit(3)
	}
	if _, err := l.Propose(ctx, batchOf(write{Partition{1, 0}, "after"})); err != nil {
		fmt.Printf("refused: %v\n", err)
		os.Exit(3)
	}
	fmt.Printf("records: %s\n", digest(t, l))
	if err := l.Close(); err != nil {
		fmt.Printf("refused: close: %v\n", err)
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
	if os.Getenv("FLIPDEBUG") != "" {
		fmt.Println(string(out[:min(len(out), 700)]))
	}
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

// crashImage returns a directory as kill -9 leaves it: n entries acknowledged, the last checkpoint in the middle.
func crashImage(t testing.TB, n int) string {
	t.Helper()
	live, image := t.TempDir(), filepath.Join(t.TempDir(), "image")
	l := openTestLog(t, testOptions(live))
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

func TestBitFlipsInRaftFilesLoseNothing(t *testing.T) {
	image := crashImage(t, 200)
	clean := filepath.Join(t.TempDir(), "clean")
	copyTree(t, image, clean)
	want, refused := openInChild(t, clean)
	if refused {
		t.Fatalf("the clean image is refused: %s", want)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, clean: %s", seed, want)
	rng := rand.New(rand.NewPCG(seed, 0))
	var files []string
	err := filepath.WalkDir(filepath.Join(image, "raft"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != "LOCK" {
			rel, _ := filepath.Rel(image, path)
			files = append(files, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]int{}
	for i := range 48 {
		file := files[i%len(files)]
		dir := filepath.Join(t.TempDir(), "flipped")
		copyTree(t, image, dir)
		at := flipBit(t, filepath.Join(dir, file), rng)
		got, refused := openInChild(t, dir)
		switch {
		case refused:
			outcomes[file+" refused"]++
		case got == want:
			outcomes[file+" unharmed"]++
		default:
			t.Errorf("bit %d of %s flipped: %s, want %s", at, file, got, want)
		}
		os.RemoveAll(dir)
	}
	t.Logf("%v", outcomes)
}

// flipBit flips a random bit of the file's non-zero part and returns its number.
func flipBit(t testing.TB, path string, rng *rand.Rand) int {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) == 0 {
		return -1
	}
	bit := rng.IntN(len(data) * 8)
	data[bit/8] ^= 1 << (bit % 8)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return bit
}
