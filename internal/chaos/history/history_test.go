package history

import (
	"path/filepath"
	"reflect"
	"testing"
)

func TestLoadGivesBackWhatWasRecorded(t *testing.T) {
	dir := t.TempDir()
	r := NewRecorder(dir)
	for i, outcome := range []Outcome{OK, Fail, Info, ""} {
		op := &Op{Client: "w1", ID: i, Kind: Insert, Table: Events, Key: "k", Value: "v"}
		r.Invoke(op)
		op.Offset, op.Partition = int64(i), 1
		if outcome != "" {
			r.Return(op, outcome)
		}
	}
	trail := &Trail{Name: "tail", How: Tail, Table: Events, Starts: map[int32]int64{1: 5}}
	r.Start(trail)
	r.See(trail, Seen{Kind: Changed, Partition: 1, Offset: 7, Key: "k", Value: "v", Cursor: "1:5"})
	want := r.Snapshot()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	ops, trails, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	want[3].Offset, want[3].Partition = -1, 0 // what was learned after the invocation is not recorded without a return
	if !reflect.DeepEqual(ops, want) {
		t.Errorf("loaded %+v\nwant %+v", ops, want)
	}
	if len(trails) != 1 || !reflect.DeepEqual(trails[0], trail) {
		t.Errorf("loaded %+v, want %+v", trails, trail)
	}
	if ops[2].Return != Never || ops[3].Return != Never || ops[3].Outcome != Info {
		t.Errorf("unknown outcomes: %+v, %+v", ops[2], ops[3])
	}
}

func TestRecorderTellsItsFirstError(t *testing.T) {
	r := NewRecorder(filepath.Join(t.TempDir(), "missing"))
	r.Invoke(&Op{Client: "w1"})
	if r.Close() == nil {
		t.Error("a history that cannot be written is no error")
	}
}

func TestFold(t *testing.T) {
	l := Log{0: {{Key: "a", Value: "1"}, {Key: "b", Value: "1"}, {Key: "a", Gone: true}}, 1: {{Key: "c", Value: "1"}, {Key: "c", Value: "2"}}}
	if got := l.Fold(); !reflect.DeepEqual(got, map[string]string{"b": "1", "c": "2"}) {
		t.Errorf("rows %v", got)
	}
}
