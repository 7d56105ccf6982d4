package api

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"kalamlog.dev/kalam/api/wire"
)

// register is the row of one key as its clients know it: present at a version with a value, or not there.
type register struct {
	exists  bool
	version int64
	value   int64
}

type registerOp struct {
	kind     string // read, put, create, swap, drop
	key      int
	expected int64 // version, of swap and drop
	value    int64
}

type registerResult struct {
	done bool     // false: refused by the precondition
	row  register // read: what was read; done: version after it; refused: what the refusal says is there, without value
}

// stepRegister says whether a result is right for the state, and what follows.
func stepRegister(state, input, output any) (bool, any) {
	r, op, out := state.(register), input.(registerOp), output.(registerResult)
	if op.kind == "read" {
		return r == out.row, r
	}
	fits := op.kind == "put" || op.kind == "create" && !r.exists || (op.kind == "swap" || op.kind == "drop") && r.exists && r.version == op.expected
	if !out.done {
		return !fits && out.row.exists == r.exists && out.row.version == r.version, r
	}
	if op.kind == "drop" {
		return fits, register{}
	}
	return fits && (!r.exists || out.row.version > r.version), register{exists: true, version: out.row.version, value: op.value}
}

// TestRowIsLinearizable: whatever clients do to a row at once by HTTP, there is an order of it that explains every answer, the versions
// in refusals included.
func TestRowIsLinearizable(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	if text := os.Getenv("KALAM_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		must(t, err)
		seed = n
	}
	t.Logf("KALAM_SEED=%d repeats this run", seed)
	s := newStack(t, Limits{})
	s.sql(`CREATE SCHEMA app; CREATE TABLE app.registers (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)`)
	const clients, operations, keys = 6, 150, 3
	var mu sync.Mutex
	var history []porcupine.Operation
	began := time.Now()
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(client)))
			known := make([]int64, keys) // the last version seen of each row
			for range operations {
				op := nextRegisterOp(rng, known)
				call := time.Since(began)
				out := s.register(op)
				end := time.Since(began)
				if out.row.exists {
					known[op.key] = out.row.version
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: client, Input: op, Call: int64(call), Output: out, Return: int64(end)})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	conflicts := 0
	for _, o := range history {
		if op, out := o.Input.(registerOp), o.Output.(registerResult); op.kind != "read" && !out.done {
			conflicts++
		}
	}
	model := porcupine.Model{
		Partition: partitionByKey, Init: func() any { return register{} }, Step: stepRegister,
	}
	if result := porcupine.CheckOperationsTimeout(model, history, time.Minute); result != porcupine.Ok {
		t.Errorf("the history is not linearizable: %s", result)
	}
	if conflicts == 0 || conflicts == len(history) {
		t.Errorf("%d conflicts among %d operations: the clients did not meet", conflicts, len(history))
	}
	t.Logf("%d operations, %d conflicts", len(history), conflicts)
}

func partitionByKey(history []porcupine.Operation) [][]porcupine.Operation {
	byKey := map[int][]porcupine.Operation{}
	for _, o := range history {
		key := o.Input.(registerOp).key
		byKey[key] = append(byKey[key], o)
	}
	var parts [][]porcupine.Operation
	for _, part := range byKey {
		parts = append(parts, part)
	}
	return parts
}

func nextRegisterOp(rng *rand.Rand, known []int64) registerOp {
	op := registerOp{key: rng.IntN(len(known)), value: rng.Int64N(1 << 40)}
	op.expected = known[op.key]
	switch n := rng.IntN(20); {
	case n < 5:
		op.kind = "read"
	case n < 7:
		op.kind = "put"
	case n < 9:
		op.kind = "create"
	case n < 18:
		op.kind = "swap"
	default:
		op.kind = "drop"
	}
	return op
}

// register does op by HTTP.
func (s *stack) register(op registerOp) registerResult {
	path := "/v1/tables/app/registers/rows"
	row := fmt.Sprintf(`{"id":%d,"n":%d}`, op.key, op.value)
	version := strconv.FormatInt(op.expected, 10)
	var a answer
	switch op.kind {
	case "read":
		return s.readRegister(s.do(http.MethodGet, path+"/"+strconv.Itoa(op.key), nil))
	case "put":
		a = s.do(http.MethodPost, path+"?mode=upsert", strings.NewReader(row))
	case "create":
		a = s.do(http.MethodPost, path+"?mode=upsert", strings.NewReader(row), "If-None-Match", "*")
	case "swap":
		a = s.do(http.MethodPost, path+"?mode=upsert", strings.NewReader(row), "If-Match", version)
	case "drop":
		a = s.do(http.MethodPost, path+"?mode=delete", strings.NewReader(fmt.Sprintf(`{"id":%d}`, op.key)), "If-Match", version)
	}
	return s.writtenRegister(a)
}

func (s *stack) readRegister(a answer) registerResult {
	if a.status == http.StatusNotFound {
		return registerResult{}
	}
	var reply struct {
		Row     struct{ N int64 }
		Version int64
	}
	if err := json.Unmarshal(a.body, &reply); err != nil || a.status != http.StatusOK {
		s.t.Errorf("read: status %d, %s", a.status, a.body)
	}
	return registerResult{row: register{exists: true, version: reply.Version, value: reply.Row.N}}
}

func (s *stack) writtenRegister(a answer) registerResult {
	var reply wire.WriteReply
	if err := json.Unmarshal(a.body, &reply); err != nil {
		s.t.Errorf("write: status %d, %s", a.status, a.body)
	}
	switch {
	case a.status == http.StatusOK:
		version, err := strconv.ParseInt(strings.Trim(a.header.Get("ETag"), `"`), 10, 64)
		return registerResult{done: true, row: register{exists: err == nil, version: version}}
	case a.status == http.StatusPreconditionFailed && reply.Error.Conflict != nil:
		if v := reply.Error.Conflict.CurrentVersion; v != nil {
			return registerResult{row: register{exists: true, version: *v}}
		}
		return registerResult{}
	}
	s.t.Errorf("write: status %d, %s", a.status, a.body)
	return registerResult{}
}
