package materializer

import (
	"bytes"
	"io"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/query/expr"
)

func TestGaps(t *testing.T) {
	l := newLedger(t)
	if gaps, err := l.m.Gaps(); err != nil || len(gaps) > 0 {
		t.Fatalf("a new state has gaps %v, %v", gaps, err)
	}
	want := []log.Gap{{After: 7, To: 1 << 40}, {After: 1<<40 + 5, To: 2 << 40}}
	settings := l.m.Catalog().TableByID(SystemCluster)
	l.mustWrite(l.row(settings, Insert, str(ClusterProperty), str("id")))
	for _, g := range want {
		l.mustWrite(l.row(settings, Insert, GapRow(g)...))
	}
	to := openLedger(t, vfs.NewMem())
	if _, err := to.m.Restore(bytes.NewReader(l.snapshot()), nil); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Materializer{l.m, to.m} {
		if gaps, err := m.Gaps(); err != nil || !slices.Equal(gaps, want) {
			t.Errorf("gaps %v, %v", gaps, err)
		}
	}
	l.mustWrite(l.row(settings, Insert, str(restoredProperty+"1:9"), str("nowhere")))
	if _, err := l.m.Gaps(); err == nil {
		t.Error("a gap that begins nowhere was read")
	}
}

// lookAt is a reader that calls look once it has been read up to at.
type lookAt struct {
	r    io.Reader
	at   int
	look func()
}

func (l *lookAt) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(len(p), 512)])
	if l.at -= n; l.at < 0 && l.look != nil {
		l.look()
		l.look = nil
	}
	return n, err
}

// While a snapshot takes the place of the state nobody reads what is neither the one nor the other.
func TestReadersAreRefusedDuringARestore(t *testing.T) {
	from := filled(t)
	raw := from.snapshot()
	to := openLedger(t, vfs.NewMem())
	before := to.createTable(&Table{Namespace: "app", Name: "before", Versions: usersTable(1).Versions})
	to.mustWrite(to.row(before, Insert, big(1), str("x"), big(1)))
	looked := false
	_, err := to.m.Restore(&lookAt{r: bytes.NewReader(raw), at: len(raw) / 2, look: func() {
		looked = true
		if _, err := to.m.View(); !problem.Is(err, problem.Overloaded) {
			t.Errorf("view of half a state: %v", err)
		}
		key, err := EncodeKey(nil, []expr.Value{big(1)})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := to.m.Row(before, 0, key); !problem.Is(err, problem.Overloaded) {
			t.Errorf("row of half a state: %v", err)
		}
	}}, nil)
	if err != nil || !looked {
		t.Fatalf("restore: %v, looked %v", err, looked)
	}
	v, err := to.m.View()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := v.Save(out, nil); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("a view is saved in two ways")
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
}
