package main_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"kalamlog.dev/kalam/internal/process"
)

// smallDisk mounts a file system in memory, which goes with the test.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("kalam-test", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib))
	if errors.Is(err, syscall.EPERM) {
		t.Skip("a full disk is tested on a tmpfs, which only root may mount, with CAP_SYS_ADMIN")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes space so that so many bytes are free; what is given up meanwhile it leaves.
func fill(t *testing.T, dir string, free int64) {
	t.Helper()
	take(t, dir, freeBytes(t, dir)-free)
}

// drain takes all space, what is given up meanwhile included.
func drain(t *testing.T, dir string) {
	t.Helper()
	for free := freeBytes(t, dir); free > 0; free = freeBytes(t, dir) {
		take(t, dir, free)
	}
}

func take(t *testing.T, dir string, bytes int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for bytes > 0 {
		n, err := f.Write(block[:min(bytes, int64(len(block)))])
		if errors.Is(err, syscall.ENOSPC) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		bytes -= int64(n)
	}
}

func unfill(t *testing.T, dir string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
}

func freeBytes(t *testing.T, dir string) int64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

// diskRig is a server on a small disk with clients that insert rows of their own as fast as they may.
type diskRig struct {
	t       *testing.T
	disk    string
	options process.Options
	server  *process.Server
	size    int // of a row
	seq     atomic.Int64
	refused atomic.Int64 // disk_full

	mu    sync.Mutex
	acked map[string]time.Time // ids, and when the request was sent
	odd   error                // a refusal that is none of those expected
}

func newDiskRig(t *testing.T, mib, rowSize int) *diskRig {
	t.Helper()
	return newRig(t, smallDisk(t, mib), rowSize)
}

func newRig(t *testing.T, disk string, rowSize int) *diskRig {
	t.Helper()
	return &diskRig{
		t: t, disk: disk, size: rowSize, acked: map[string]time.Time{},
		options: process.Options{
			Binary: kalamBinary(t), Data: filepath.Join(disk, "data"), HTTP: freeAddress(t), Kafka: freeAddress(t),
			Env: []string{"KALAM_LIMITS_MIN_FREE=96MiB"},
		},
	}
}

func (r *diskRig) start() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	server, err := process.Start(ctx, r.options)
	if err != nil {
		r.t.Fatal(err)
	}
	r.server = server
	r.t.Cleanup(server.Kill)
}

func (r *diskRig) stop() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	if err := r.server.Stop(ctx); err != nil {
		r.t.Fatal(err)
	}
}

// load runs clients until the returned function is called or the server is gone.
func (r *diskRig) load(clients int) (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for ctx.Err() == nil && r.insert(ctx) {
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// insert reports false when the server is gone.
func (r *diskRig) insert(ctx context.Context) bool {
	id := fmt.Sprintf("row-%d", r.seq.Add(1))
	body := fmt.Sprintf(`{"id":%q,"pad":%q}`, id, strings.Repeat("x", r.size))
	sent := time.Now()
	err := r.server.Call(ctx, http.MethodPost, "/v1/tables/app/items/rows", "application/json", strings.NewReader(body), nil, nil)
	var refused *process.RefusedError
	switch {
	case err == nil:
		r.mu.Lock()
		r.acked[id] = sent
		r.mu.Unlock()
	case ctx.Err() != nil:
	case !errors.As(err, &refused):
		return false
	case refused.Reply.Code == "disk_full" && refused.Status == http.StatusInsufficientStorage && refused.Reply.SQLState == "53100":
		r.refused.Add(1)
	case refused.Reply.Code != "timeout" && refused.Reply.Code != "shutting_down" && refused.Reply.Code != "internal":
		r.mu.Lock()
		r.odd = err
		r.mu.Unlock()
	}
	return true
}

func (r *diskRig) ackedCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.acked)
}

// await waits for a condition; it must come true by itself.
func (r *diskRig) await(what string, holds func() bool) {
	r.t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			r.t.Fatalf("%s: not within 30 s; %d writes acknowledged, %d refused\n%s", what, r.ackedCount(), r.refused.Load(), r.server.Output())
		case <-tick.C:
		}
	}
}

func (r *diskRig) sql(sql string) string {
	r.t.Helper()
	results, err := r.server.SQL(r.t.Context(), sql)
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", sql, err, r.server.Output())
	}
	var out strings.Builder
	for _, row := range results[0].Rows {
		fmt.Fprintf(&out, "%s;", row)
	}
	return out.String()
}

// metric returns a line of /metrics.
func (r *diskRig) metric(name string) string {
	r.t.Helper()
	for line := range strings.Lines(r.get("/metrics")) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	r.t.Fatalf("no metric %s", name)
	return ""
}

func (r *diskRig) get(path string) string {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.server.URL+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		r.t.Fatalf("GET %s: %s, %v\n%s", path, res.Status, err, raw)
	}
	return string(raw)
}

// subscribe counts the inserts that a live query tells of until the test ends.
func (r *diskRig) subscribe() (seen *atomic.Int64, ended <-chan struct{}) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.server.URL+"/v1/subscribe?sql=SELECT+id+FROM+app.items", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	seen, done := new(atomic.Int64), make(chan struct{})
	go func() {
		defer close(done)
		defer res.Body.Close()
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			if lines.Text() == "event: insert" {
				seen.Add(1)
			}
		}
	}()
	r.t.Cleanup(func() {
		cancel()
		<-done
	})
	return seen, done
}

// check looks for every acknowledged row, and folds the log of the stopped server again.
func (r *diskRig) check() {
	r.t.Helper()
	results, err := r.server.SQL(r.t.Context(), `SELECT id FROM app.items`)
	if err != nil {
		r.t.Fatal(err)
	}
	there := map[string]bool{}
	for _, row := range results[0].Rows {
		there[strings.Trim(string(row[0]), `"`)] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.acked {
		if !there[id] {
			r.t.Fatalf("%s was acknowledged and is not there; %d acknowledged, %d there", id, len(r.acked), len(there))
		}
	}
	if r.odd != nil {
		r.t.Error(r.odd)
	}
}

func (r *diskRig) verify() {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), r.options.Binary, "verify", "--data", r.options.Data)
	cmd.Env = append(os.Environ(), r.options.Env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("kalam verify: %v\n%s", err, out)
	}
}

// TestFullDisk fills the disk under a server with clients at work: writes are refused with an error of their own, while reads, live queries
// and checkpoints go on; when there is space again writes go on by themselves. The server also stops and starts on a full disk.
func TestFullDisk(t *testing.T) {
	r := newDiskRig(t, 480, 2000)
	r.start()
	r.sql(`CREATE SCHEMA app; CREATE TABLE app.items (id TEXT PRIMARY KEY, pad TEXT); CREATE TABLE app.ballast (id TEXT PRIMARY KEY)`)
	seen, ended := r.subscribe()
	stop := r.load(4)
	r.await("writes", func() bool { return r.ackedCount() > 100 })

	fill(t, r.disk, 70<<20)
	r.await("writes are refused", func() bool { return r.refused.Load() > 20 })
	before := r.ackedCount()
	r.get("/health")
	r.get("/ready")
	if got := r.sql(`SELECT count(*) >= 100 FROM app.items`); got != "[true];" {
		t.Errorf("SELECT on a full disk: %s", got)
	}
	r.get("/v1/tables/app/items/rows/row-1")
	if r.metric("kalam_log_disk_full") != "1" {
		t.Error("the metric does not tell that the disk is full")
	}
	if _, err := r.server.SQL(t.Context(), `FLUSH TABLE app.items`); err == nil || !strings.Contains(err.Error(), "disk_full") {
		t.Errorf("FLUSH on a full disk: %v", err)
	}
	r.sql(`DROP TABLE app.ballast`) // it gives space back
	checkpoints := r.metric("kalam_log_checkpoints_total")
	r.await("a checkpoint of what came before", func() bool { return r.metric("kalam_log_checkpoints_total") != checkpoints })
	if now := r.ackedCount(); now > before+4 {
		t.Errorf("%d writes were taken while the disk was full", now-before)
	}

	unfill(t, r.disk)
	r.await("writes go on by themselves", func() bool { return r.ackedCount() > before+100 })
	r.sql(`FLUSH TABLE app.items`)
	fill(t, r.disk, 70<<20)
	refused := r.refused.Load()
	r.await("writes are refused again", func() bool { return r.refused.Load() > refused+20 })
	stop()
	total := r.ackedCount()
	r.await("the live query has seen every write", func() bool { return seen.Load() >= int64(total) })
	select {
	case <-ended:
		t.Error("the live query was ended")
	default:
	}

	r.await("the ballast is given up", func() bool { return freeBytes(t, r.disk) > 100<<20 })
	r.stop()
	r.start()
	r.check()
	if r.insert(t.Context()); r.ackedCount() != total {
		t.Error("a write was taken on a full disk after a restart")
	}
	unfill(t, r.disk)
	r.await("writes go on after a restart", func() bool { r.insert(t.Context()); return r.ackedCount() > total })
	r.check()

	// Somebody takes all there is: checkpoints wait, the server stays, and goes on with space.
	checkpoints = r.metric("kalam_log_checkpoints_total")
	r.await("a checkpoint", func() bool { return r.metric("kalam_log_checkpoints_total") != checkpoints })
	r.insert(t.Context()) // the next checkpoint is due some seconds from now
	postponed := r.metric("kalam_log_checkpoints_postponed_total")
	r.await("a checkpoint is put off", func() bool {
		drain(t, r.disk) // also what the server gives up meanwhile: the ballast, and Raft log files that it has finished with
		return r.metric("kalam_log_checkpoints_postponed_total") != postponed
	})
	r.get("/v1/tables/app/items/rows/row-1")
	unfill(t, r.disk)
	total = r.ackedCount()
	r.await("writes go on with all space back", func() bool { r.insert(t.Context()); return r.ackedCount() > total })
	r.check()
	r.stop()
	r.verify()
}

// TestDiskRunsOut takes all space away within milliseconds, over the head of the reserve: the server may end, but nothing acknowledged is lost, and with
// space again it starts and is whole.
func TestDiskRunsOut(t *testing.T) {
	rnd := rand.New(rand.NewPCG(testSeed(t), 0))
	r := newDiskRig(t, 600, 100_000)
	r.start()
	r.sql(`CREATE SCHEMA app; CREATE TABLE app.items (id TEXT PRIMARY KEY, pad TEXT)`)
	for round := range 3 {
		before := r.ackedCount()
		stop := r.load(4)
		r.await("writes", func() bool { return r.ackedCount() > before+10+rnd.IntN(40) })
		drain(t, r.disk)
		refused := r.refused.Load()
		r.await("writes are refused, or the server ends", func() bool {
			select {
			case <-r.server.Exited():
				return true
			default:
				return r.refused.Load() > refused+4
			}
		})
		if rnd.IntN(2) == 0 {
			r.server.Kill()
		}
		stop()
		unfill(t, r.disk)
		select {
		case <-r.server.Exited():
			r.verify()
			r.start()
			t.Logf("round %d: the server had ended", round)
		default:
			t.Logf("round %d: the server lives", round)
		}
		r.check()
		before = r.ackedCount()
		r.await("writes go on", func() bool { r.insert(t.Context()); return r.ackedCount() > before })
	}
	r.stop()
	r.verify()
}
