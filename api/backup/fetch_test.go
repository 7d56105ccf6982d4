package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/problem"
)

// fake is a server that keeps backups, whose answers can be wrong.
type fake struct {
	mu      sync.Mutex
	about   wire.Backup
	parts   map[string]string
	kept    bool
	fetched []string
	spoil   func(name, body string) (sent, trailer string) // nil: as it is
}

func sumText(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func newFake() *fake {
	f := &fake{parts: map[string]string{
		"log/1/0/0-2": "frames", "log/1/0/2-3": "more frames", "state": "rows", "data/t-1000/1-j/z.parquet": "columns",
	}}
	f.begin("first", "1:10")
	return f
}

func (f *fake) begin(id, position string) {
	f.about = wire.Backup{ID: id, Cluster: "c", Position: position}
	for name, body := range f.parts {
		p := wire.BackupPart{Name: name}
		if strings.HasPrefix(name, "data/") {
			p.Bytes, p.Sha256 = int64(len(body)), sumText(body)
		}
		f.about.Parts = append(f.about.Parts, p)
	}
	slices.SortFunc(f.about.Parts, func(a, b wire.BackupPart) int { return strings.Compare(a.Name, b.Name) })
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rest := strings.TrimPrefix(r.URL.Path, "/v1/backup")
	id, name, part := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	switch {
	case r.Method == http.MethodPost && rest == "":
		f.kept = true
		_ = json.NewEncoder(w).Encode(f.about)
	case !f.kept || id != f.about.ID:
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(wire.ErrorReply{Error: wire.Error{Code: string(problem.NotFound), Message: "there is no backup"}})
	case r.Method == http.MethodDelete:
		f.kept = false
	case part:
		f.send(w, name)
	default:
		_ = json.NewEncoder(w).Encode(f.about)
	}
}

func (f *fake) send(w http.ResponseWriter, name string) {
	body := f.parts[name]
	trailer := sumText(body)
	if f.spoil != nil {
		body, trailer = f.spoil(name, body)
	}
	w.Header().Set("Trailer", TrailerSum)
	_, _ = io.WriteString(w, body)
	if trailer == "" {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set(TrailerSum, trailer)
	f.fetched = append(f.fetched, name)
}

// run fetches from f into dir and returns what was said.
func (f *fake) run(t *testing.T, dir string) (string, error) {
	t.Helper()
	s := httptest.NewServer(f)
	defer s.Close()
	defer s.Client().CloseIdleConnections()
	var out bytes.Buffer
	c := &Client{URL: s.URL, HTTP: s.Client(), Out: &out}
	_, err := c.Fetch(t.Context(), dir)
	return out.String(), err
}

func (f *fake) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.fetched
	f.fetched = nil
	slices.Sort(all)
	return all
}

// whole expects dir to have what f has, and no more.
func (f *fake) whole(t *testing.T, dir string) {
	t.Helper()
	if _, err := Verify(t.Context(), dir, nil); err != nil {
		t.Error(err)
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == descriptionFile {
			return err
		}
		files++
		rel, _ := filepath.Rel(dir, path)
		raw, err := os.ReadFile(path)
		if err == nil && string(raw) != f.parts[filepath.ToSlash(rel)] {
			t.Errorf("%s has %q", rel, raw)
		}
		return err
	})
	if err != nil || files != len(f.parts) {
		t.Errorf("%d files instead of %d, %v", files, len(f.parts), err)
	}
}

func TestFetch(t *testing.T) {
	f, dir := newFake(), filepath.Join(t.TempDir(), "backup")
	if _, err := f.run(t, dir); err != nil {
		t.Fatal(err)
	}
	f.whole(t, dir)
	if f.kept {
		t.Error("the server still keeps the backup")
	}
	if _, err := f.run(t, dir); err == nil || !strings.Contains(err.Error(), "finished backup") {
		t.Errorf("a finished backup was fetched over: %v", err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "letter"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.run(t, other); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a directory with something else in it was taken: %v", err)
	}
}

// A part that comes cut off or changed is no part, and the next attempt fetches what is missing alone.
func TestFetchGoesOn(t *testing.T) {
	for what, spoil := range map[string]func(body string) (string, string){
		"cut off":                 func(body string) (string, string) { return body[:2], "" },
		"changed":                 func(body string) (string, string) { return body + "!", sumText(body) },
		"changed with its sum":    func(body string) (string, string) { return body + "!", sumText(body + "!") },
		"without a sum":           func(body string) (string, string) { return body, "none" },
		"whole and then cut off":  func(body string) (string, string) { return body, "" },
		"nothing at all":          func(string) (string, string) { return "", "" },
		"empty with an empty sum": func(string) (string, string) { return "", sumText("") },
	} {
		t.Run(what, func(t *testing.T) {
			f, dir := newFake(), t.TempDir()
			bad := "log/1/0/2-3"
			if strings.Contains(what, "sum") {
				bad = "data/t-1000/1-j/z.parquet" // whose checksum is known before
			}
			f.spoil = func(name, body string) (string, string) {
				if name == bad {
					return spoil(body)
				}
				return body, sumText(body)
			}
			if _, err := f.run(t, dir); err == nil {
				t.Fatal("it was accepted")
			}
			if _, err := Verify(t.Context(), dir, nil); err == nil || !strings.Contains(err.Error(), "not finished") {
				t.Errorf("an unfinished backup: %v", err)
			}
			first := f.taken()
			f.spoil = nil
			out, err := f.run(t, dir)
			if err != nil {
				t.Fatal(err)
			}
			f.whole(t, dir)
			again := f.taken()
			for _, name := range again {
				if name != bad && slices.Contains(first, name) {
					t.Errorf("%s was fetched twice", name)
				}
			}
			if !strings.Contains(out, "going on") {
				t.Errorf("it said %q", out)
			}
		})
	}
}

// When the server has forgotten the backup, another begins; parts of the log and data files are taken over, the state is not.
func TestFetchStartsOver(t *testing.T) {
	f, dir := newFake(), t.TempDir()
	f.spoil = func(name, body string) (string, string) {
		if name == "state" {
			return "", ""
		}
		return body, sumText(body)
	}
	if _, err := f.run(t, dir); err == nil {
		t.Fatal("it was accepted")
	}
	f.taken()
	f.spoil, f.kept = nil, false
	delete(f.parts, "log/1/0/2-3")
	f.parts["log/1/0/2-4"], f.parts["state"] = "yet more frames", "other rows"
	f.begin("second", "1:12")
	out, err := f.run(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "starting over") {
		t.Errorf("it said %q", out)
	}
	if got := f.taken(); !slices.Equal(got, []string{"log/1/0/2-4", "state"}) {
		t.Errorf("fetched %q", got)
	}
	f.whole(t, dir)
}

func TestFetchKeepsWithinItsDirectory(t *testing.T) {
	f, dir := newFake(), filepath.Join(t.TempDir(), "backup")
	f.parts["../outside"] = "x"
	f.begin("first", "1:10")
	if _, err := f.run(t, dir); err == nil {
		t.Error("a part outside of the directory was fetched")
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(dir), "outside")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("outside: %v", err)
	}
}

func TestFullDiskIsSaid(t *testing.T) {
	_, _, err := receive("/dev/full", strings.NewReader(strings.Repeat("x", 1<<20)))
	if err == nil {
		t.Fatal("a full disk took everything")
	}
	if got := new(Client).explain("/mnt/backup", err).Error(); !strings.Contains(got, "the disk of /mnt/backup is full") {
		t.Errorf("it is told %q", got)
	}
}

// A line of the journal that a power loss has cut off is none, and neither is a part whose file is not as long.
func TestJournalAfterAPowerLoss(t *testing.T) {
	dir := t.TempDir()
	j, err := writeJournal(dir, wire.Backup{ID: "b"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two", "three"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := j.add(wire.BackupPart{Name: name, Bytes: 3}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, journalFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(raw) + 1 {
		if err := os.WriteFile(path, raw[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := readJournal(dir)
		if err != nil {
			t.Fatal(err)
		}
		if j == nil {
			continue
		}
		for name := range j.whole {
			if name != "one" && name != "two" {
				t.Errorf("%d bytes of the journal: %q counts as whole", n, name)
			}
		}
		if n == len(raw) && len(j.whole) != 2 {
			t.Errorf("the whole journal has %d parts", len(j.whole))
		}
	}
}
