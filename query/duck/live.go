package duck

/*
void kalam_live_callback(void *, void *, void *);
typedef void (*kalam_live_callback_t)(void *, void *, void *);
static kalam_live_callback_t kalam_live_function(void) { return kalam_live_callback; }
// The callback is Go's, below; C gives its address.
*/
import "C"

import (
	"errors"
	"runtime"
	"runtime/cgo"
	"sync"
	"unsafe"

	capi "github.com/duckdb/duckdb-go-bindings"

	"kalamlog.dev/kalam/log"
)

// liveFunction is the SQL function (set, _partition, _offset) that tells whether a flushed row is live. Compared with an
// anti-join on a table of dead offsets it costs a third: a bit is tested for each row and nothing is hashed.
const liveFunction = "kalam_live"

// deadSets holds the sets that views name by number. A set must stay as long as a transaction that began before its
// view was replaced: such a transaction still runs the old view. It is safe for concurrent use.
type deadSets struct {
	pinner runtime.Pinner
	handle *cgo.Handle // of this object, for the function's calls

	mu      sync.RWMutex
	sets    map[int64]*deadSet
	last    int64
	opened  uint64          // numbers the transactions
	open    map[uint64]bool // that have not ended
	retired []retired
}

// retired is a set that only the transactions up to a number may still use.
type retired struct {
	set   int64
	after uint64
}

func newDeadSets() *deadSets {
	d := &deadSets{sets: map[int64]*deadSet{}, open: map[uint64]bool{}, handle: new(cgo.Handle)}
	*d.handle = cgo.NewHandle(d)
	d.pinner.Pin(d.handle)
	return d
}

// free releases what the function's calls need. No query may run any more.
func (d *deadSets) free() {
	d.pinner.Unpin()
	d.handle.Delete()
}

// register makes the SQL function known to the database of c.
func (d *deadSets) register(c *Conn) error {
	f := capi.CreateScalarFunction()
	defer capi.DestroyScalarFunction(&f)
	capi.ScalarFunctionSetName(f, liveFunction)
	for _, id := range []capi.Type{capi.TypeBigInt, capi.TypeInteger, capi.TypeBigInt} {
		t := capi.CreateLogicalType(id)
		capi.ScalarFunctionAddParameter(f, t)
		capi.DestroyLogicalType(&t)
	}
	t := capi.CreateLogicalType(capi.TypeBoolean)
	capi.ScalarFunctionSetReturnType(f, t)
	capi.DestroyLogicalType(&t)
	capi.ScalarFunctionSetFunction(f, unsafe.Pointer(C.kalam_live_function()))
	capi.ScalarFunctionSetExtraInfo(f, unsafe.Pointer(d.handle), nil)
	if capi.RegisterScalarFunction(c.conn, f) == capi.StateError {
		return errors.New("register function " + liveFunction)
	}
	return nil
}

// add keeps a set and returns its number.
func (d *deadSets) add(s *deadSet) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last++
	d.sets[d.last] = s
	return d.last
}

// drop forgets a set that no view has named.
func (d *deadSets) drop(number int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sets, number)
}

// retire forgets a set once the transactions that are open now have ended.
func (d *deadSets) retire(number int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retired = append(d.retired, retired{set: number, after: d.opened})
	d.sweep()
}

// begin notes that a transaction begins and returns its number.
func (d *deadSets) begin() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opened++
	d.open[d.opened] = true
	return d.opened
}

// end notes that a transaction has ended.
func (d *deadSets) end(number uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, number)
	d.sweep()
}

// sweep forgets the retired sets that no open transaction can use.
func (d *deadSets) sweep() {
	oldest := d.opened + 1
	for n := range d.open {
		oldest = min(oldest, n)
	}
	kept := d.retired[:0]
	for _, r := range d.retired {
		if r.after < oldest {
			delete(d.sets, r.set)
		} else {
			kept = append(kept, r)
		}
	}
	d.retired = kept
}

func (d *deadSets) find(number int64) (*deadSet, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s, ok := d.sets[number]
	return s, ok
}

// kalam_live_callback evaluates the function for one chunk, on a thread of DuckDB's. Its vectors are flat.
//
//export kalam_live_callback
func kalam_live_callback(info, input, output unsafe.Pointer) {
	function := capi.FunctionInfo{Ptr: info}
	handle := (*cgo.Handle)(capi.ScalarFunctionGetExtraInfo(function))
	chunk := capi.DataChunk{Ptr: input}
	n := int(capi.DataChunkGetSize(chunk))
	if n == 0 {
		return
	}
	number := *at[int64](capi.VectorGetData(capi.DataChunkGetVector(chunk, 0)), 0)
	set, ok := handle.Value().(*deadSets).find(number)
	if !ok {
		capi.ScalarFunctionSetError(function, "the set of superseded rows is gone")
		return
	}
	partitions := unsafe.Slice((*int32)(capi.VectorGetData(capi.DataChunkGetVector(chunk, 1))), n)
	offsets := unsafe.Slice((*int64)(capi.VectorGetData(capi.DataChunkGetVector(chunk, 2))), n)
	result := unsafe.Slice((*bool)(capi.VectorGetData(capi.Vector{Ptr: output})), n)
	for i := range result {
		result[i] = !set.has(log.PartitionID(partitions[i]), log.Offset(offsets[i]))
	}
}
