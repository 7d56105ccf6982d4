package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"kalamlog.dev/kalam/internal/chaos/history"
)

// searchTime is how long the search for an order of one history may take. A search without result counts as a violation.
const searchTime = 60 * time.Second

// Registers checks that the operations on each row of the table of registers are linearizable: fresh reads, blind writes and
// writes at an expected version. Writes of unknown outcome are looked up in the log first: a write that is not there has had no effect,
// which Log has checked, and of one that is there the version is known. Reads that may be stale are left to Log.
func Registers(ops []history.Op, log history.Log) []Violation {
	where := map[string]int64{}
	for _, changes := range log {
		for o, c := range changes {
			where[c.Value] = int64(o)
		}
	}
	byKey := map[string][]porcupine.Operation{}
	for i := range ops {
		op := &ops[i]
		if op.Table != history.Registers {
			continue
		}
		if in, ok := registerOp(op, where); ok {
			byKey[op.Key] = append(byKey[op.Key], operation(op, in))
		}
	}
	var f findings
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		search(&f, "registers are linearizable", "row "+key, registerModel, byKey[key])
	}
	return f.done()
}

// register is a row: its value and version, which is the offset of its last change; -1 if there is none.
type register struct {
	value   string
	version int64
}

// registerInput is an operation with what came of it.
type registerInput struct {
	op      *history.Op
	version int64 // after a write
}

// registerOp leaves out what says nothing: operations without effect or answer.
func registerOp(op *history.Op, where map[string]int64) (registerInput, bool) {
	in := registerInput{op: op}
	version, written := where[op.Value]
	switch {
	case op.Kind == history.Read:
		return in, op.Fresh && op.Outcome == history.OK
	case op.Outcome == history.Fail:
		return in, op.Kind == history.CAS && op.Code == codeConflict
	case !written:
		return in, op.Outcome == history.OK // acknowledged and lost: no order explains it
	}
	in.version = version
	return in, true
}

// codeConflict is how the server refuses a write at a version that is not the row's.
const codeConflict = "version_conflict"

var registerModel = porcupine.Model{
	Init: func() any { return register{version: -1} },
	Step: func(state, input, _ any) (bool, any) {
		now, _ := state.(register)
		in, _ := input.(registerInput)
		switch op := in.op; {
		case op.Kind == history.Read:
			return now.version == op.Offset && (now.version < 0 || now.value == op.Value), now
		case op.Outcome == history.Fail:
			return now.version != op.Expect, now
		case op.Kind == history.CAS && now.version != op.Expect:
			return false, now
		}
		return in.version > now.version, register{in.op.Value, in.version}
	},
	DescribeOperation: describe,
}

// Appends checks that each partition of the table of events is a linearizable log: an append is told the length it found, a count
// tells the length.
func Appends(ops []history.Op, log history.Log) []Violation {
	where := map[string]place{}
	for p, changes := range log {
		for o, c := range changes {
			where[c.Value] = place{p, int64(o)}
		}
	}
	byPartition := map[int32][]porcupine.Operation{}
	for i := range ops {
		op := &ops[i]
		if op.Table != history.Events {
			continue
		}
		at, written := where[op.Value]
		switch {
		case op.Kind == history.Count && op.Outcome == history.OK:
			byPartition[op.Partition] = append(byPartition[op.Partition], operation(op, appendInput{op, op.Offset}))
		case op.Kind == history.Insert && written && op.Outcome == history.OK:
			byPartition[op.Partition] = append(byPartition[op.Partition], operation(op, appendInput{op, op.Offset}))
		case op.Kind == history.Insert && written:
			byPartition[at.partition] = append(byPartition[at.partition], operation(op, appendInput{op, at.offset}))
		}
	}
	var f findings
	for _, p := range slices.Sorted(maps.Keys(byPartition)) {
		search(&f, "the log is linearizable", fmt.Sprintf("partition %d", p), appendModel, byPartition[p])
	}
	return f.done()
}

type appendInput struct {
	op     *history.Op
	length int64 // before an append; as counted
}

var appendModel = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, _ any) (bool, any) {
		length, _ := state.(int64)
		in, _ := input.(appendInput)
		if in.op.Kind == history.Count {
			return length == in.length, length
		}
		return length == in.length, length + 1
	},
	DescribeOperation: describe,
}

func operation(op *history.Op, input any) porcupine.Operation {
	return porcupine.Operation{Input: input, Call: op.Invoke, Return: op.Return}
}

func describe(input, _ any) string {
	switch in := input.(type) {
	case registerInput:
		return fmt.Sprintf("%s, version %d", name(in.op), in.version)
	case appendInput:
		return fmt.Sprintf("%s, length %d", name(in.op), in.length)
	}
	return ""
}

// search looks for an order of the operations that the model allows.
func search(f *findings, rule, what string, model porcupine.Model, ops []porcupine.Operation) {
	for i := range ops {
		ops[i].ClientId = i // a client whose operation is of unknown outcome goes on: each one stands for itself
	}
	result, info := porcupine.CheckOperationsVerbose(model, ops, searchTime)
	switch result {
	case porcupine.Ok:
	case porcupine.Unknown:
		f.add(rule, "%s: no answer within %v for %d operations", what, searchTime, len(ops))
	case porcupine.Illegal:
		f.add(rule, "%s: no order of its %d operations explains them; the longest one that does ends before: %s", what, len(ops), blocked(model, info, ops))
	}
}

// blocked describes the operation that begins first of those that the longest order leaves out.
func blocked(model porcupine.Model, info porcupine.LinearizationInfo, ops []porcupine.Operation) string {
	var longest []int
	for _, partial := range info.PartialLinearizations()[0] {
		if len(partial) > len(longest) {
			longest = partial
		}
	}
	in := map[int]bool{}
	for _, i := range longest {
		in[i] = true
	}
	first := -1
	for i := range ops {
		if !in[i] && (first < 0 || cmp.Less(ops[i].Return, ops[first].Return)) {
			first = i
		}
	}
	if first < 0 {
		return "?"
	}
	return model.DescribeOperation(ops[first].Input, nil)
}
