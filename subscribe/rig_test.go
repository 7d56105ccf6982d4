package subscribe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/pebble"
	"kalamlog.dev/kalam/query/expr"
)

// rig is a log, its state and a registry over a folder that survives a restart of them.
type rig struct {
	t        testing.TB
	dir      string
	options  Options
	storing  bool // live queries are stored
	metrics  *prometheus.Registry
	log      *log.Log
	state    *materializer.Materializer
	writer   *materializer.Writer
	registry *Registry
}

func newRig(t testing.TB, o Options) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), options: o}
	r.start()
	t.Cleanup(r.stop)
	return r
}

// newStoringRig is a rig whose live queries are stored.
func newStoringRig(t testing.TB, o Options) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), options: o, storing: true}
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *rig) start() {
	r.t.Helper()
	state, err := materializer.New(materializer.Options{Backend: func(beforeDurable func() error) (storage.Backend, error) {
		return pebble.Open(pebble.Options{Dir: filepath.Join(r.dir, "state"), BeforeDurable: beforeDurable})
	}})
	if err != nil {
		r.t.Fatal(err)
	}
	l, err := log.Open(testContext(r.t), log.Options{Dir: r.dir, Fold: state, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.metrics = prometheus.NewRegistry()
	o := r.options
	o.Log, o.Materializer, o.Registerer = l, state, r.metrics
	r.log, r.state, r.writer = l, state, materializer.NewWriter(l)
	if r.storing {
		o.Writer = r.writer
	}
	r.registry = New(o)
}

func (r *rig) stop() {
	r.t.Helper()
	if err := errors.Join(r.registry.Close(), r.log.Close()); err != nil {
		r.t.Errorf("stop: %v", err)
	}
}

func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	r.start()
}

// testContext ends before the test binary would be killed.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(identity.NewContext(context.Background(), identity.Root), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func as(ctx context.Context, name string) context.Context {
	return identity.NewContext(ctx, identity.Caller{Name: name})
}

// create makes a table of columns written as "name TYPE"; the first keys of them are the primary key.
func (r *rig) create(name string, kind materializer.TableKind, partitions, keys int, columns ...string) *materializer.Table {
	r.t.Helper()
	s := &materializer.Schema{Version: 1}
	if kind == materializer.User {
		s.Columns = append(s.Columns, materializer.Column{Name: materializer.UserColumn, Type: expr.Type{Kind: expr.Text}, NotNull: true, Hidden: true})
		keys++
	}
	for _, c := range columns {
		s.Columns = append(s.Columns, column(r.t, c))
	}
	for i := range keys {
		s.Key = append(s.Key, i)
		s.Columns[i].NotNull = true
	}
	def := &materializer.Table{Namespace: "default", Name: name, Kind: kind, Partitions: partitions, Versions: []*materializer.Schema{s}}
	t, mutations, err := r.state.Catalog().CreateTable(def, clock.Micros(clock.System{}))
	if err != nil {
		r.t.Fatal(err)
	}
	r.write(mutations...)
	return t
}

func column(t testing.TB, text string) materializer.Column {
	t.Helper()
	var name, typ string
	if _, err := fmt.Sscan(text, &name, &typ); err != nil {
		t.Fatal(err)
	}
	parsed, err := expr.ParseType(typ)
	if err != nil {
		t.Fatal(err)
	}
	return materializer.Column{Name: name, Type: parsed}
}

// write proposes mutations as one batch.
func (r *rig) write(mutations ...materializer.Mutation) materializer.WriteReceipt {
	r.t.Helper()
	receipt, err := r.writer.Write(testContext(r.t), &materializer.Batch{Caller: "root", Mutations: mutations})
	if err != nil {
		r.t.Fatalf("write: %v", err)
	}
	return receipt
}

// put is an upsert of a row given as Go values; nil is NULL.
func (r *rig) put(t *materializer.Table, values ...any) materializer.Mutation {
	r.t.Helper()
	op := materializer.Upsert
	if t.Kind == materializer.Stream {
		op = materializer.Insert
	}
	m, err := t.NewRow(op, r.values(t, values))
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

// remove is a delete by key.
func (r *rig) remove(t *materializer.Table, key ...any) materializer.Mutation {
	r.t.Helper()
	m, err := t.OfKey(materializer.Remove, r.values(t, key))
	if err != nil {
		r.t.Fatal(err)
	}
	m.Miss = materializer.Skip
	return m
}

func (r *rig) values(t *materializer.Table, values []any) []expr.Value {
	r.t.Helper()
	out := make([]expr.Value, len(values))
	for i, v := range values {
		raw, err := json.Marshal(v)
		if err != nil {
			r.t.Fatal(err)
		}
		if out[i], err = expr.FromJSON(raw, t.Schema().Columns[i].Type); err != nil {
			r.t.Fatal(err)
		}
	}
	return out
}

// partitionOf returns the partition of a key, as an event shows it.
func (r *rig) partitionOf(t *materializer.Table, key ...any) string {
	r.t.Helper()
	p, err := t.PartitionOf(r.values(t, key))
	if err != nil {
		r.t.Fatal(err)
	}
	return strconv.Itoa(int(p))
}

func (r *rig) subscribe(ctx context.Context, q Request) *Subscription {
	r.t.Helper()
	s, err := r.registry.Subscribe(ctx, q)
	if err != nil {
		r.t.Fatalf("subscribe %q: %v", q.SQL, err)
	}
	r.t.Cleanup(s.Close)
	return s
}

// told is an event that outlives the call of Next.
type told struct {
	Type   EventType
	Cursor log.Position
	Data   string
}

func keep(events []Event) []told {
	var out []told
	for _, e := range events {
		out = append(out, told{e.Type, e.Cursor, string(e.Data)})
	}
	return out
}

// until collects events up to the batch in which stop wants one.
func until(t testing.TB, s *Subscription, stop func(told) bool) []told {
	t.Helper()
	var all []told
	for {
		events, err := s.Next(testContext(t))
		if err != nil {
			t.Fatalf("next after %v: %v", all, err)
		}
		batch := keep(events)
		all = append(all, batch...)
		if slices.ContainsFunc(batch, stop) {
			return all
		}
	}
}

func isReady(e told) bool { return e.Type == Ready }
