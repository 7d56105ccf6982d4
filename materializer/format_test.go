package materializer

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/query/expr"
)

var rewrite = flag.Bool("rewrite", false, "rewrite testdata/formats.txt")

// TestFormats compares what the encoders write with testdata/formats.txt. Data directories hold these bytes: a difference needs a new format
// version whose decoder reads the old one.
func TestFormats(t *testing.T) {
	var out strings.Builder
	add := func(name string, raw []byte) { fmt.Fprintf(&out, "%s: %s\n", name, hex.EncodeToString(raw)) }
	table := everyType(t)
	values := sampleValues()
	row, err := EncodeRow(nil, table.Schema(), values)
	if err != nil {
		t.Fatal(err)
	}
	add("row", row)
	for i, c := range table.Schema().Columns {
		if key, err := EncodeKey(nil, values[i:i+1]); err == nil {
			add("key "+c.Type.String(), key)
			p, err := (&Table{Kind: Shared, Partitions: 1000, Versions: []*Schema{keySchema(c.Type)}}).PartitionOf(values[i : i+1])
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "partition of that among 1000: %d\n", p)
		}
	}
	add("batch", EncodeBatch(sampleBatch()))
	add("change", appendChange(nil, &Change{Op: RowUpdated, Offset: 9, Previous: 4, HasPrevious: true, Batch: 3, Key: []byte("key"), Old: []byte("old"), New: []byte("new")}))
	add("state", appendState(nil, 5, -6, []byte("row")))
	add("checkpoint", appendCheckpoint(nil, checkpoint{Checkpoint: log.Checkpoint{Index: 7, Timestamp: 8}, group: 1, catalog: 9}))
	applied := appendApplied(nil, []Applied{{Done: true, Partition: log.Partition{Table: 1000, ID: 2}, Offset: 300}, {}})
	add("reply", appendReply(nil, reply{number: 1, group: 1, index: 2, timestamp: 3, fingerprint: 4, applied: applied}))
	add("bounds", appendBounds(nil, bounds{head: 300, next: 301, dropped: 7, droppedByAge: 8, droppedByCount: 292}))
	add("refusal", appendRefused(nil, problem.New(problem.NotNull, "m").WithHint("h"), &Refusal{Mutation: 1, Key: "(1)", Version: AnyVersion}))

	path := filepath.Join("testdata", "formats.txt")
	if *rewrite {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, []byte(out.String())) {
		t.Errorf("the formats have changed:\n%s\nwant:\n%s", out.String(), want)
	}
}

// TestOlderFormats reads what earlier versions wrote.
func TestOlderFormats(t *testing.T) {
	raw, err := hex.DecodeString("010b6964656d706f74656e63792a0000000000000003616e6e0301e8070102026b3103726f777b02026b3201020a0105012d02016e0104020a0105013e02016e010400ac0204e9070200026b33")
	if err != nil {
		t.Fatal(err)
	}
	want := sampleBatch()
	want.Memory = Memory{}.orDefault()
	if got, err := DecodeBatch(raw); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("batch %+v, %v", got, err)
	}
	if got, err := decodeBounds([]byte{3, 5}); err != nil || got != (bounds{head: 3, next: 5}) {
		t.Errorf("bounds %+v, %v", got, err)
	}
}

// sampleValues are a value of each type, in the order of everyType.
func sampleValues() []expr.Value {
	return []expr.Value{
		big(-2), expr.BoolOf(true), expr.IntOf(expr.SmallInt, -300), expr.IntOf(expr.Integer, 70000), big(1 << 40), expr.FloatOf(expr.Real, 1.5),
		expr.FloatOf(expr.Double, -2.25), expr.DecimalOf(0, 12345, 2), expr.DecimalOf(1, 2, 5), str("te\x00xt"), expr.BlobOf([]byte{0, 1, 255}),
		expr.IntOf(expr.Date, 20000), expr.IntOf(expr.Time, 1), expr.IntOf(expr.Timestamp, -1), expr.IntOf(expr.TimestampTZ, 1_700_000_000_000_000),
		expr.UUIDOf([16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}), expr.JSONOf(`{"a":1}`),
		expr.ListOf([]expr.Value{expr.IntOf(expr.Integer, 1), {}}),
		{},
	}
}

func sampleBatch() *Batch {
	home := log.Partition{Table: 1000, ID: 2}
	return &Batch{IdempotencyKey: "idempotency", Fingerprint: 42, Caller: "ann", Mutations: []Mutation{
		{Op: Insert, Partition: home, Schema: 1, Key: []byte("k1"), Row: []byte("row"), Version: AnyVersion},
		{
			Op: Patch, Partition: home, Schema: 1, Key: []byte("k2"), Version: 300, Miss: Skip, Where: op(">", column("n"), lit(big(0))),
			Set: []Assignment{{Column: 2, Expr: op("-", column("n"), lit(big(1)))}},
		},
		{Op: Remove, Partition: log.Partition{Table: 1001}, Schema: 2, Key: []byte("k3"), Version: AnyVersion},
	}}
}
