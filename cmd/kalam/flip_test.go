package main_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"kalamlog.dev/kalam/internal/process"
)

// fileKinds are all kinds of file that a data directory holds. A new kind must be added, and by that is tried.
var fileKinds = []struct {
	name  string
	path  *regexp.Regexp
	flips int // bits that are tried; 0: the file is empty
}{
	{"locks", regexp.MustCompile(`^(raft/|state/|raft/vm/\d+/tandb/)?LOCK$`), 0},
	{"ballast", regexp.MustCompile(`^BALLAST$`), 0},
	{"floor", regexp.MustCompile(`^floor$`), 6},
	{"identity", regexp.MustCompile(`^node$`), 8},
	{"state backend", regexp.MustCompile(`^state/BACKEND$`), 3},
	{"host note", regexp.MustCompile(`^raft/HOST$`), 3},
	{"raft host id", regexp.MustCompile(`^raft/NODEHOST\.ID$`), 3},
	{"raft deployment", regexp.MustCompile(`^raft/dragonboat\.ds$`), 3},
	{"raft bootstrap", regexp.MustCompile(`^raft/vm/\d+/tandb/bootstrap/BOOTSTRAP-\d+-\d+$`), 3},
	{"raft log", regexp.MustCompile(`^raft/vm/\d+/tandb/node-\d+-\d+/\d+\.log$`), 6},
	{"raft log index", regexp.MustCompile(`^raft/vm/\d+/tandb/node-\d+-\d+/\d+\.index$`), 3},
	{"raft manifest", regexp.MustCompile(`^raft/vm/\d+/tandb/node-\d+-\d+/MANIFEST-\d+$`), 3},
	{"raft current", regexp.MustCompile(`^raft/vm/\d+/tandb/node-\d+-\d+/CURRENT$`), 3},
	{"raft snapshot", regexp.MustCompile(`^raft/vm/\d+/snapshot-part-\d+/.*/snapshot-[0-9A-F]+\.gbsnap$`), 3},
	{"raft snapshot note", regexp.MustCompile(`^raft/vm/\d+/snapshot-part-\d+/.*/snapshot\.(metadata|message)$`), 3},
	{"segment", regexp.MustCompile(`^segments/\d+/\d+/\d{20}\.log$`), 8},
	{"segment index", regexp.MustCompile(`^segments/\d+/\d+/\d{20}\.index$`), 3},
	{"drop marker", regexp.MustCompile(`^segments/dropped\.\d+\.\d+$`), 0},
	{"state table", regexp.MustCompile(`^state/\d+\.sst$`), 6},
	{"state log", regexp.MustCompile(`^state/\d+\.log$`), 0},
	{"state manifest", regexp.MustCompile(`^state/MANIFEST-\d+$`), 6},
	{"state options", regexp.MustCompile(`^state/OPTIONS-\d+$`), 3},
	{"state floor", regexp.MustCompile(`^state/FLOOR$`), 3},
	{"state marker", regexp.MustCompile(`^state/marker\.`), 0},
	{"data file", regexp.MustCompile(`^data/.*\.parquet$`), 12},
}

// flipImage is a data directory as kill -9 leaves it, with a file of each kind, and what its server answers.
type flipImage struct {
	t      *testing.T
	binary string
	dir    string
	kinds  [][]string // files by kind
	want   []string
}

// flipQueries read by DuckDB over files and tail, by key, and the catalog.
var flipQueries = []string{
	`SELECT * FROM t ORDER BY id`,
	`SELECT count(*), sum(n)::BIGINT, min(_offset), max(_offset) FROM t`,
	`SELECT id, n, s FROM t WHERE id = 7`,
	`SELECT id, n, s FROM t WHERE id = 77`,
	`SELECT * FROM later ORDER BY id`,
	`SELECT namespace, "table", name, type FROM system.columns WHERE namespace = 'default' ORDER BY ALL`,
}

func newFlipImage(t *testing.T) *flipImage {
	t.Helper()
	f := &flipImage{t: t, binary: kalamBinary(t)}
	live := filepath.Join(t.TempDir(), "live")
	s := f.start(live)
	f.sql(s, `CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT, s TEXT) WITH (partitions = 2); CREATE TABLE gone (id BIGINT PRIMARY KEY);
		INSERT INTO t SELECT i, i * i, 'text ' || i FROM range(0, 2000) r(i); INSERT INTO gone VALUES (1); FLUSH TABLE t`)
	f.until(s, `SELECT count(*) FROM system.jobs WHERE state = 'completed'`, "[1]")
	f.stop(s)
	s = f.start(live) // what comes now is in the Raft log and in no durable state
	f.sql(s, `UPDATE t SET n = n + 1 WHERE id < 50; CREATE TABLE later (id BIGINT PRIMARY KEY, s TEXT); INSERT INTO later VALUES (1, 'one')`)
	f.sql(s, `DELETE FROM t WHERE id = 60; INSERT INTO later VALUES (2, 'two'); DROP TABLE gone`)
	s.Kill()
	f.dir = filepath.Join(t.TempDir(), "image")
	copyTree(t, live, f.dir)
	f.classify()
	clean := f.copy()
	s = f.start(clean)
	f.want = f.answers(s)
	f.stop(s)
	if err := f.verify(clean); err != nil {
		t.Fatal(err)
	}
	return f
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func (f *flipImage) copy() string {
	f.t.Helper()
	dir := filepath.Join(f.t.TempDir(), "copy")
	copyTree(f.t, f.dir, dir)
	return dir
}

// classify finds the kind of every file.
func (f *flipImage) classify() {
	f.t.Helper()
	f.kinds = make([][]string, len(fileKinds))
	err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		file, err := filepath.Rel(f.dir, path)
		if err != nil || strings.HasPrefix(file, "tmp/") {
			return err
		}
		for i, k := range fileKinds {
			if !k.path.MatchString(filepath.ToSlash(file)) {
				continue
			}
			f.kinds[i] = append(f.kinds[i], file)
			return nil
		}
		f.t.Errorf("%s is of no known kind: add it to fileKinds", file)
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	for i, k := range fileKinds {
		if len(f.kinds[i]) == 0 {
			f.t.Errorf("the image has no %s", k.name)
		}
	}
}

func (f *flipImage) tryStart(dir string) (*process.Server, error) {
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	return process.Start(ctx, process.Options{Binary: f.binary, Data: dir})
}

func (f *flipImage) start(dir string) *process.Server {
	f.t.Helper()
	s, err := f.tryStart(dir)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(s.Kill)
	return s
}

func (f *flipImage) stop(s *process.Server) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		f.t.Fatal(err)
	}
}

func (f *flipImage) sql(s *process.Server, sql string) {
	f.t.Helper()
	if _, err := s.SQL(f.t.Context(), sql); err != nil {
		f.t.Fatalf("%s: %v", sql, err)
	}
}

// until asks until a query's first row is as wanted.
func (f *flipImage) until(s *process.Server, sql, want string) {
	f.t.Helper()
	f.poll(sql, func() bool {
		results, err := s.SQL(f.t.Context(), sql)
		if err != nil {
			f.t.Fatal(err)
		}
		return fmt.Sprintf("%s", results[0].Rows[0]) == want
	})
}

func (f *flipImage) poll(what string, holds func() bool) {
	f.t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			f.t.Fatalf("%s: not in time", what)
		case <-tick.C:
		}
	}
}

// answers returns the text of each query's result, or "error".
func (f *flipImage) answers(s *process.Server) []string {
	out := make([]string, len(flipQueries))
	for i, q := range flipQueries {
		results, err := s.SQL(f.t.Context(), q)
		if err != nil {
			out[i] = "error"
			continue
		}
		out[i] = fmt.Sprintf("%s", results[0].Rows)
	}
	return out
}

func (f *flipImage) verify(dir string) error {
	out, err := exec.CommandContext(f.t.Context(), f.binary, "verify", "--data", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("kalam verify: %w\n%s", err, out)
	}
	return nil
}

// TestBitFlips flips a bit in a file of each kind. The server must refuse to start and name a path, answer with an error, or answer as
// if nothing were: never with fewer or other rows. The same goes for kalam verify, which must not fail on what it was given to say.
func TestBitFlips(t *testing.T) {
	seed := testSeed(t)
	f := newFlipImage(t)
	if t.Failed() {
		return
	}
	type trial struct {
		kind, number int
	}
	trials, wg := make(chan trial), sync.WaitGroup{}
	var mu sync.Mutex
	outcomes := map[string]map[string]int{}
	for range 2 {
		wg.Go(func() {
			for one := range trials {
				rng := rand.New(rand.NewPCG(seed, uint64(1000*one.kind+one.number)))
				outcome := f.try(one.kind, rng)
				mu.Lock()
				if name := fileKinds[one.kind].name; outcomes[name] == nil {
					outcomes[name] = map[string]int{outcome: 1}
				} else {
					outcomes[name][outcome]++
				}
				mu.Unlock()
			}
		})
	}
	for kind, k := range fileKinds {
		for number := range k.flips {
			trials <- trial{kind, number}
		}
	}
	close(trials)
	wg.Wait()
	for _, k := range fileKinds {
		t.Log(k.name, outcomes[k.name])
	}
	if outcomes["data file"]["same"] > 0 {
		t.Error("a damaged data file was shown")
	}
}

// try flips a random bit of a random file of a kind, and says what came of it.
func (f *flipImage) try(kind int, rng *rand.Rand) string {
	dir := f.copy()
	defer os.RemoveAll(dir)
	file := f.kinds[kind][rng.IntN(len(f.kinds[kind]))]
	path := filepath.Join(dir, file)
	data, err := os.ReadFile(path)
	if err != nil || len(data) == 0 {
		f.t.Errorf("%s: %d bytes, %v", file, len(data), err)
		return "error"
	}
	bit := rng.IntN(8 * len(data))
	data[bit/8] ^= 1 << (bit % 8)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		f.t.Error(err)
	}
	s, err := f.tryStart(dir)
	if err != nil {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			f.t.Errorf("bit %d of %s: the server neither starts nor refuses: %v", bit, file, err)
		case !strings.Contains(err.Error(), dir):
			f.t.Errorf("bit %d of %s: no path is named: %v", bit, file, err)
		}
		return "refused"
	}
	defer s.Kill()
	outcome := "same"
	for i, got := range f.answers(s) {
		switch got {
		case f.want[i]:
		case "error":
			outcome = "error in an answer"
		default:
			f.t.Errorf("bit %d of %s: %s gives\n%.300s\nwant\n%.300s", bit, file, flipQueries[i], got, f.want[i])
		}
	}
	s.Kill()
	if err := f.verify(dir); err != nil && outcome == "same" {
		outcome = "found by verify"
	}
	return outcome
}
