package faultfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// envStore tells a child of this test binary to be the store, in the directory it names.
const envStore = "FAULTFS_STORE"

// envKeys lets the child stop after so many keys, leave one unsynced, and wait.
const envKeys = "FAULTFS_KEYS"

// A store that syncs what it promises loses none of it, however often the power goes, and does lose the rest.
func TestStoreSurvivesPowerLoss(t *testing.T) {
	d := newDisk(t)
	seed := testSeed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	must(t, os.Mkdir(d.path("db"), 0o755))
	d.syncDir("")
	synced := 0
	for round := range 6 {
		keep := []int{0, 50}[round%2]
		found := d.runStore(40+random.IntN(40), keep, random, func(n int) { synced = n })
		if round%2 == 1 && found {
			t.Errorf("round %d: a key that was never synced came through a loss of everything unsynced", round)
		}
	}
	t.Logf("%d synced keys", synced)
}

// runStore lets a child write until it has synced so many keys, takes the power away, and returns whether the child had found
// the key that its predecessor did not sync. The child itself checks that every synced key is there. With keep = 0 the power goes right
// after the unsynced key was written, otherwise in the middle of things.
func (d *disk) runStore(keys, keep int, random *rand.Rand, synced func(int)) (found bool) {
	d.t.Helper()
	child := exec.CommandContext(d.t.Context(), os.Args[0], "-test.run=^TestStoreProcess$")
	child.Env = append(os.Environ(), envStore+"="+d.path("db"))
	if keep == 0 {
		child.Env = append(child.Env, envKeys+"="+strconv.Itoa(keys))
		keys++ // for the line after the last
	}
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := child.StdoutPipe()
	must(d.t, err)
	var stderr bytes.Buffer
	child.Stderr = &stderr
	must(d.t, child.Start())
	lines := bufio.NewScanner(out)
	for seen := 0; seen < keys && lines.Scan(); {
		var n int
		switch text := lines.Text(); {
		case text == "found":
			found = true
		case text == "idle":
			seen++
		case len(text) > 7 && text[:7] == "synced ":
			if n, err = strconv.Atoi(text[7:]); err != nil {
				d.t.Fatal(err)
			}
			synced(n)
			seen++
		default:
			d.t.Fatalf("the store says %q\n%s", text, stderr.String())
		}
	}
	must(d.t, lines.Err())
	d.PowerOff()
	_ = child.Process.Kill()
	var exit *exec.ExitError
	if err := child.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		d.t.Fatalf("the store ended by itself: %v\n%s", err, stderr.String())
	}
	must(d.t, d.PowerOn(keep, random))
	return found
}

// TestStoreProcess is the child of TestStoreSurvivesPowerLoss.
func TestStoreProcess(t *testing.T) {
	dir := os.Getenv(envStore)
	if dir == "" {
		return
	}
	db, err := pebble.Open(dir, &pebble.Options{FormatMajorVersion: pebble.FormatNewest})
	must(t, err)
	counter := func(key string) int {
		value, c, err := db.Get([]byte(key))
		if errors.Is(err, pebble.ErrNotFound) {
			return 0
		}
		must(t, err)
		defer c.Close()
		n, err := strconv.Atoi(string(value))
		must(t, err)
		return n
	}
	n := counter("synced")
	for i := 1; i <= n; i++ {
		if counter(fmt.Sprintf("key-%d", i)) != i {
			fmt.Fprintf(os.Stdout, "key %d of %d is lost\n", i, n)
		}
	}
	if _, c, err := db.Get([]byte("unsynced")); err == nil {
		c.Close()
		fmt.Fprintln(os.Stdout, "found")
	}
	must(t, db.Flush())
	limit, _ := strconv.Atoi(os.Getenv(envKeys)) // 0, none, if it is not set
	for i := 1; ; i++ {
		b := db.NewBatch()
		n++
		must(t, errors.Join(b.Set(fmt.Appendf(nil, "key-%d", n), []byte(strconv.Itoa(n)), nil), b.Set([]byte("synced"), []byte(strconv.Itoa(n)), nil)))
		must(t, b.Commit(pebble.Sync))
		fmt.Fprintln(os.Stdout, "synced", n)
		if i == limit {
			must(t, db.Set([]byte("unsynced"), bytes.Repeat([]byte("u"), 50_000), pebble.NoSync))
			fmt.Fprintln(os.Stdout, "idle")
			<-t.Context().Done()
		}
		must(t, db.Set([]byte("other"), bytes.Repeat([]byte("u"), 50_000), pebble.NoSync))
	}
}

func testSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("KALAM_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	t.Logf("KALAM_SEED=%d", seed)
	return seed
}
