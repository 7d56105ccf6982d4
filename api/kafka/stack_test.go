package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/pebble"
	"kalamlog.dev/kalam/query/expr"
)

// stack is a whole node of one process: log, state and the Kafka door, in a folder that outlives a restart.
type stack struct {
	t      testing.TB
	dir    string
	log    *log.Log
	state  *materializer.Materializer
	writer *materializer.Writer
	server *Server
	addr   string
	served chan error
	adjust func(*Options)
}

// startStack starts a node that the test's end stops.
func startStack(t testing.TB, adjust func(*Options)) *stack {
	t.Helper()
	k := &stack{t: t, dir: t.TempDir(), adjust: adjust}
	k.start("127.0.0.1:0")
	t.Cleanup(k.stop)
	return k
}

func (k *stack) start(address string) {
	k.t.Helper()
	k.state = must(materializer.New(materializer.Options{
		Backend: func(beforeDurable func() error) (storage.Backend, error) {
			return pebble.Open(pebble.Options{Dir: filepath.Join(k.dir, "state"), BeforeDurable: beforeDurable})
		},
		Clock: clock.System{},
	}))(k.t)
	ctx, cancel := context.WithTimeout(k.t.Context(), 20*time.Second)
	defer cancel()
	k.log = must(log.Open(ctx, log.Options{Dir: filepath.Join(k.dir, "log"), Fold: k.state}))(k.t)
	k.writer = materializer.NewWriter(k.log)
	k.serve(address)
}

func (k *stack) serve(address string) {
	k.t.Helper()
	o := Options{
		Log: k.log, Materializer: k.state, Writer: k.writer, Logger: slog.New(slog.NewTextHandler(testLog{k.t}, nil)),
	}
	if k.adjust != nil {
		k.adjust(&o)
	}
	k.server = must(New(o))(k.t)
	l := must((&net.ListenConfig{}).Listen(k.t.Context(), "tcp", address))(k.t)
	k.addr = l.Addr().String()
	k.served = make(chan error, 1)
	go func() { k.served <- k.server.Serve(l) }()
}

// testLog writes the server's log into the test's.
type testLog struct{ t testing.TB }

func (w testLog) Write(b []byte) (int, error) {
	w.t.Log(string(b))
	return len(b), nil
}

// stop closes the door, then what lies behind it.
func (k *stack) stop() {
	k.stopServer()
	if err := k.log.Close(); err != nil {
		k.t.Errorf("close log: %v", err)
	}
}

func (k *stack) stopServer() {
	if err := k.server.Close(); err != nil {
		k.t.Errorf("close server: %v", err)
	}
	if err := <-k.served; err != nil {
		k.t.Errorf("serve: %v", err)
	}
}

// restart stops everything and starts it again at the same address.
func (k *stack) restart() {
	k.t.Helper()
	k.stop()
	k.start(k.addr)
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (k *stack) write(mutations []materializer.Mutation) materializer.WriteReceipt {
	k.t.Helper()
	ctx := identity.NewContext(context.Background(), identity.Root)
	return must(k.writer.Write(ctx, &materializer.Batch{Caller: identity.Root.Name, Mutations: mutations}))(k.t)
}

// column is one column of a test table.
func column(name string, kind expr.Kind) materializer.Column {
	return materializer.Column{Name: name, Type: expr.Type{Kind: kind}}
}

// createTable makes a table whose first key columns are its primary key.
func (k *stack) createTable(namespace, name string, partitions, key int, columns ...materializer.Column) *materializer.Table {
	k.t.Helper()
	schema := &materializer.Schema{Version: 1, Columns: columns}
	kind := materializer.Stream
	for i := range key {
		schema.Key = append(schema.Key, i)
		schema.Columns[i].NotNull = true
		kind = materializer.Shared
	}
	return k.createAs(&materializer.Table{
		Namespace: namespace, Name: name, Kind: kind, Partitions: partitions, Versions: []*materializer.Schema{schema},
	})
}

func (k *stack) createAs(def *materializer.Table) *materializer.Table {
	k.t.Helper()
	now := time.Now().UnixMicro()
	if !k.state.Catalog().HasNamespace(def.Namespace) {
		k.write(must(k.state.Catalog().CreateNamespace(def.Namespace, now))(k.t))
	}
	_, mutations, err := k.state.Catalog().CreateTable(def, now)
	if err != nil {
		k.t.Fatal(err)
	}
	k.write(mutations)
	return must(k.state.Catalog().Table(def.Namespace, def.Name))(k.t)
}

// sensors makes the table that most tests use: id BIGINT PRIMARY KEY, name TEXT, heat DOUBLE.
func (k *stack) sensors(partitions int) *materializer.Table {
	k.t.Helper()
	return k.createTable("iot", "sensors", partitions, 1,
		column("id", expr.BigInt), column("name", expr.Text), column("heat", expr.Double))
}

func (k *stack) drafter(t *materializer.Table) *materializer.Drafter {
	return materializer.NewDrafter(t, identity.Root, time.Now().UnixMicro(), materializer.NewIDs(1))
}

// put upserts rows of a table of sensors' shape, one batch a row, and returns where each change is.
func (k *stack) put(t *materializer.Table, ids ...int64) []log.Partition {
	k.t.Helper()
	var at []log.Partition
	for _, id := range ids {
		at = append(at, k.putRow(t, id, fmt.Sprintf("sensor %d", id)))
	}
	return at
}

func (k *stack) putRow(t *materializer.Table, id int64, name string) log.Partition {
	k.t.Helper()
	values := []expr.Value{expr.IntOf(expr.BigInt, id), expr.TextOf(name), expr.FloatOf(expr.Double, float64(id)/2)}
	m, _, err := k.drafter(t).Put(materializer.Upsert, values, []bool{true, true, true})
	if err != nil {
		k.t.Fatal(err)
	}
	k.write([]materializer.Mutation{m})
	return m.Partition
}

func (k *stack) remove(t *materializer.Table, id int64) {
	k.t.Helper()
	m := must(k.drafter(t).Remove([]expr.Value{expr.IntOf(expr.BigInt, id), {}, {}}, []bool{true, false, false}))(k.t)
	k.write([]materializer.Mutation{m})
}

// putBatch writes n rows of sensors' shape in one batch; their ids begin at first.
func (k *stack) putBatch(t *materializer.Table, first, n int64) {
	k.t.Helper()
	d := k.drafter(t)
	var mutations []materializer.Mutation
	for id := first; id < first+n; id++ {
		values := []expr.Value{expr.IntOf(expr.BigInt, id), expr.TextOf("batch"), expr.FloatOf(expr.Double, 0.5)}
		m, _, err := d.Put(materializer.Upsert, values, []bool{true, true, true})
		if err != nil {
			k.t.Fatal(err)
		}
		mutations = append(mutations, m)
	}
	k.write(mutations)
}

// decodeJSON fails the test if raw is not JSON of T's shape.
func decodeJSON[T any](t testing.TB, raw []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%q is not the JSON expected: %v", raw, err)
	}
	return v
}

// eventually waits until ok holds, which must be soon.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(15 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}
