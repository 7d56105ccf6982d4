package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/tmaxmax/go-sse"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/chaos/history"
	"kalamlog.dev/kalam/internal/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What is taken for failed must be certain: everything else is of unknown outcome.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	refusal := func(code string) error { return &process.RefusedError{Status: 500, Reply: wire.Error{Code: code}} }
	refusedConnection := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, c := range []struct {
		err     error
		verdict history.Outcome
		judged  bool
		code    string
	}{
		{nil, history.OK, false, ""},
		{refusal("version_conflict"), history.Fail, true, "version_conflict"},
		{refusal("duplicate_key"), history.Fail, true, "duplicate_key"},
		{refusal("timeout"), history.Info, false, "timeout"},
		{refusal("overloaded"), history.Info, false, "overloaded"},
		{refusal("shutting_down"), history.Info, false, "shutting_down"},
		{refusal("a code of tomorrow"), history.Info, false, "a code of tomorrow"},
		{refusedConnection, history.Fail, false, "connection refused"},
		{syscall.ECONNRESET, history.Info, false, "connection broken"},
		{context.DeadlineExceeded, history.Info, false, "no answer"},
		{errors.New("EOF"), history.Info, false, "connection broken"},
	} {
		err := c.err
		if err != nil {
			err = fmt.Errorf("wrapped: %w", err)
		}
		code, _ := errorOf(err)
		if verdict(err) != c.verdict || refused(err) != c.judged || code != c.code {
			t.Errorf("%v: %s, judged %v, code %s", c.err, verdict(err), refused(err), code)
		}
	}
}

func newTestLoad(t *testing.T) *Load {
	t.Helper()
	return New(Options{Namespace: "ns", Targets: []Target{{ID: 1}}, Recorder: history.NewRecorder(t.TempDir()), Seed: 1})
}

func TestReaderRecordsEvents(t *testing.T) {
	t.Parallel()
	l := newTestLoad(t)
	r := l.newReader("r", history.Folded, history.Registers)
	l.options.Recorder.Start(r.trail)
	r.open(1, "")
	for _, e := range []sse.Event{
		{Type: "subscribed", Data: `{}`},
		{Type: "row", Data: `{"row":{"id":"a","v":"1"},"partition":1,"offset":4}`},
		{Type: "ready", Data: `{"position":"1:9"}`, LastEventID: "1:9"},
		{Type: "insert", Data: `{"row":{"id":"b","v":"2"},"partition":0,"offset":7}`, LastEventID: "1:10"},
		{Type: "update", Data: `{"old":{"id":"a","v":"1"},"new":{"id":"a","v":"3"},"partition":1,"offset":5}`, LastEventID: "1:11"},
		{Type: "delete", Data: `{"row":{"id":"b","v":"2"},"partition":0,"offset":8}`, LastEventID: "1:12"},
		{Type: "progress", Data: `{"position":"1:20"}`, LastEventID: "1:20"},
		{Type: "reset", Data: `{"reason":"trimmed","position":"1:30"}`},
	} {
		must(t, r.take(1, &e))
	}
	if err := r.take(1, &sse.Event{Type: "error", Data: `{"error":{"code":"shutting_down","message":"m"}}`}); err == nil {
		t.Error("an error event is no error")
	}
	want := []history.Seen{
		{Kind: history.Opened},
		{Kind: history.Row, Partition: 1, Offset: 4, Key: "a", Value: "1"},
		{Kind: history.Ready, Cursor: "1:9"},
		{Kind: history.Changed, Offset: 7, Key: "b", Value: "2", Cursor: "1:10"},
		{Kind: history.Changed, Partition: 1, Offset: 5, Key: "a", Value: "3", Cursor: "1:11"},
		{Kind: history.Deleted, Offset: 8, Key: "b", Cursor: "1:12"},
		{Kind: history.Progress, Cursor: "1:20"},
		{Kind: history.Reset, Error: "trimmed"},
	}
	if len(r.trail.Seen) != len(want) {
		t.Fatalf("saw %+v", r.trail.Seen)
	}
	for i, w := range want {
		got := r.trail.Seen[i]
		w.Reader, w.Session, w.Node, w.At = "r", 1, 1, got.At
		if got != w {
			t.Errorf("event %d: %+v, want %+v", i, got, w)
		}
	}
	if !r.reached(map[int32]int64{0: 9, 1: 6}) || r.reached(map[int32]int64{1: 7}) || r.cursor != "1:20" {
		t.Errorf("cursor %s, next %v", r.cursor, r.next)
	}
}

func TestRecordsBecomeChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		record kgo.Record
		want   history.Change
	}{
		{kgo.Record{Key: []byte(`"k"`), Value: []byte(`{"id":"k","v":"x"}`)}, history.Change{Key: "k", Value: "x"}},
		{kgo.Record{Key: []byte(`"k"`), Value: []byte(`{"id":"k","n":17}`)}, history.Change{Key: "k", Value: "17"}},
		{kgo.Record{Key: []byte(`"k"`)}, history.Change{Key: "k", Gone: true}},
	} {
		if got, err := changeOf(&c.record); err != nil || got != c.want {
			t.Errorf("%s %s: %+v, %v", c.record.Key, c.record.Value, got, err)
		}
	}
	if _, err := changeOf(&kgo.Record{Key: []byte("k")}); err == nil {
		t.Error("a key that is no JSON is accepted")
	}
}

func TestRowsAndTheirEnds(t *testing.T) {
	t.Parallel()
	rows := Rows{Values: map[string]string{}, Ends: map[int32]int64{}}
	raw := func(cells ...string) (row []json.RawMessage) {
		for _, c := range cells {
			row = append(row, json.RawMessage(c))
		}
		return row
	}
	must(t, errors.Join(rows.add(raw(`"a"`, `"x"`, `0`, `5`)), rows.add(raw(`"b"`, `12`, `0`, `3`)), rows.add(raw(`"c"`, `"y"`, `1`, `0`))))
	if !maps.Equal(rows.Values, map[string]string{"a": "x", "b": "12", "c": "y"}) || !maps.Equal(rows.Ends, map[int32]int64{0: 6, 1: 1}) {
		t.Errorf("rows %+v", rows)
	}
	if rows.add(raw(`"a"`, `"z"`, `0`, `9`)) == nil {
		t.Error("a row twice is accepted")
	}
}

func TestBoardCoversEverythingPosted(t *testing.T) {
	t.Parallel()
	var b board
	for _, token := range []string{"1:5", "1:9", "2:3", "1:7", "", "no token"} {
		b.post(token)
	}
	if got := b.read(); got != "1:9,2:3" {
		t.Errorf("the board says %s", got)
	}
}

func TestRequestsAreTheSameForEverySeed(t *testing.T) {
	t.Parallel()
	a, b := newTestLoad(t).newWriter("w"), newTestLoad(t).newWriter("w")
	other := newTestLoad(t).newWriter("v")
	same := true
	for range 20 {
		n := a.rnd.Uint64()
		if n != b.rnd.Uint64() {
			t.Fatal("a client draws something else with the same seed")
		}
		same = same && n == other.rnd.Uint64()
	}
	if same {
		t.Error("two clients draw the same")
	}
}
