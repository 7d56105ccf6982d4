package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/chaos/history"
	"kalamlog.dev/kalam/internal/problem"
)

// request is a write as it goes over HTTP, the same for every attempt.
type request struct {
	path   string
	body   []byte
	header http.Header
}

// row is a row of events and registers.
type row struct {
	ID string `json:"id"`
	V  string `json:"v"`
}

// request makes the request of a write, and completes op. A compare-and-set of a register whose version the client does not know
// expects the version of a row that is there, 0 or so, and fails most of the time.
func (w *writer) request(op *history.Op) *request {
	r := &request{header: http.Header{}}
	switch op.Kind {
	case history.Insert:
		op.Table, op.Key = history.Events, op.Value
		r.path = w.load.rows(op.Table) + "?mode=insert"
	case history.Upsert, history.CAS:
		op.Table = history.Registers
		r.path = w.load.rows(op.Table) + "?mode=upsert"
		if op.Kind == history.CAS {
			op.Expect = w.seen[op.Key]
			r.header.Set("If-Match", strconv.Quote(strconv.FormatInt(op.Expect, 10)))
		}
	default:
		op.Table = history.Counters
		r.path = "/v1/sql"
		r.body = marshal(map[string]any{
			"sql":    fmt.Sprintf("UPDATE %s SET n = n + 1 WHERE id = $1", w.load.table(history.Counters)),
			"params": []string{op.Key},
		})
		return r
	}
	r.body = marshal(row{op.Key, op.Value})
	return r
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // what we marshal is ours
	}
	return b
}

// answer is what a write was answered, of either door.
type answer struct {
	wire.WriteReply
	Results []wire.Result `json:"results"`
}

func (w *writer) send(ctx context.Context, r *request) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	reply := new(answer)
	return reply, w.target().client.Call(ctx, http.MethodPost, r.path, "application/json", bytes.NewReader(r.body), r.header, reply)
}

// applied notes what an acknowledgement tells.
func (w *writer) applied(op *history.Op, reply *answer) {
	op.Position = reply.Position
	if len(reply.Results) > 0 {
		op.Position = reply.Results[0].Position
	}
	for partition, offsets := range reply.Offsets {
		if p, err := strconv.ParseInt(partition, 10, 32); err == nil {
			op.Partition, op.Offset = int32(p), int64(offsets.First)
		}
	}
	if op.Table == history.Registers {
		w.seen[op.Key] = op.Offset
	}
}

// read reads a register by its key: everything that was acknowledged before, if fresh, or whatever the node has.
func (w *writer) read(ctx context.Context, key string, fresh bool) {
	op := w.begin(&history.Op{Kind: history.Read, Table: history.Registers, Key: key, Fresh: fresh, Attempts: 1})
	path := w.load.rows(op.Table) + "/" + key
	if fresh {
		path += "?at_least=" + url.QueryEscape(w.freshness(op))
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var reply struct {
		Row      row
		Version  int64
		Position string
	}
	err := w.target().client.Call(ctx, http.MethodGet, path, "", nil, nil, &reply)
	if code, _ := errorOf(err); code == string(problem.KeyNotFound) {
		w.end(op, history.OK, nil)
		return
	}
	if err != nil {
		w.moveOn()
		w.end(op, history.Fail, err)
		return
	}
	op.Value, op.Offset, op.Position = reply.Row.V, reply.Version, reply.Position
	op.Partition = w.load.where[key]
	w.seen[key] = reply.Version
	w.end(op, history.OK, nil)
}

// freshness draws one of the two ways to ask for everything acknowledged: by a position that covers it, or by name. It is read after
// the operation has begun.
func (w *writer) freshness(op *history.Op) string {
	if op.Latest = w.rnd.IntN(2) == 0; op.Latest {
		return "latest"
	}
	return w.load.board.read()
}

// count counts the changes of a partition of events.
func (w *writer) count(ctx context.Context, partition int32) {
	op := w.begin(&history.Op{Kind: history.Count, Table: history.Events, Partition: partition, Fresh: true, Attempts: 1})
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	body := marshal(wire.SQLRequest{
		SQL:     fmt.Sprintf("SELECT count(*) FROM %s WHERE _partition = %d", w.load.table(history.Events), partition),
		AtLeast: w.freshness(op),
	})
	var reply wire.SQLReply
	err := w.target().client.Call(ctx, http.MethodPost, "/v1/sql", "application/json", bytes.NewReader(body), nil, &reply)
	if err == nil {
		op.Offset, err = strconv.ParseInt(string(reply.Results[0].Rows[0][0]), 10, 64)
	}
	if err != nil {
		w.moveOn()
		w.end(op, history.Fail, err)
		return
	}
	op.Position = reply.Results[0].Position
	w.end(op, history.OK, nil)
}
