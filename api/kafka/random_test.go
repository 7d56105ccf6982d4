package kafka

import (
	"context"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kalamlog.dev/kalam/internal/identity"
)

// scramble fills a request with values that are now and then sensible.
func scramble(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			switch v.Type().Field(i).Name {
			case "Version", "UnknownTags", "ReplicaState":
			default:
				scramble(r, v.Field(i))
			}
		}
	case reflect.Slice:
		if n := r.IntN(4); n > 0 { // else null
			v.Set(reflect.MakeSlice(v.Type(), n-1, n-1))
		}
		for i := range v.Len() {
			scramble(r, v.Index(i))
		}
	case reflect.Pointer:
		if r.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			scramble(r, v.Elem())
		}
	case reflect.String:
		words := []string{"", "iot.sensors", "iot.sensors.changes", "sensors", "g", "consumer", "range", "\xff\x00", "system.tables"}
		v.SetString(words[r.IntN(len(words))])
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		numbers := []int64{0, 1, 2, 3, -1, -2, -3, 7, 10_000, 1<<31 - 1, -1 << 31, 1<<63 - 1, -1 << 63}
		v.SetInt(numbers[r.IntN(len(numbers))])
	case reflect.Uint8:
		v.SetUint(r.Uint64N(256))
	case reflect.Bool:
		v.SetBool(r.IntN(2) > 0)
	default:
	}
}

// TestRandomRequests has handlers answer requests that decode and make no sense. Whatever they say, they say it in the protocol's form.
func TestRandomRequests(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	k.put(k.sensors(2), 1, 2, 3)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	p := &peer{local: k.addr, remote: "10.0.0.1", clientID: "random"}
	for range 3_000 {
		key := &k.server.keys.keys[r.IntN(len(k.server.keys.keys))]
		q := key.request()
		scramble(r, reflect.ValueOf(q).Elem())
		version := key.min + int16(r.IntN(int(key.max-key.min)+1))
		q.SetVersion(version)
		decoded, err := key.decode(version, q.AppendTo(nil))
		if err != nil {
			t.Fatalf("%s version %d: %v", key.name, version, err)
		}
		ctx, cancel := context.WithTimeout(identity.NewContext(t.Context(), identity.Root), time.Millisecond)
		response, err := key.serve(ctx, p, decoded)
		cancel()
		if produce, ok := decoded.(*kmsg.ProduceRequest); ok && produce.Acks == 0 {
			continue
		}
		if err != nil {
			t.Fatalf("%s version %d: %v", key.name, version, err)
		}
		response.SetVersion(version)
		if err := decoded.ResponseKind().ReadFrom(response.AppendTo(nil)); err != nil {
			t.Fatalf("%s version %d answers what does not decode: %v", key.name, version, err)
		}
	}
}

// TestGroupOnDyingConnections has two members read what is being written while every connection is cut again and again. Nothing is missed.
func TestGroupOnDyingConnections(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(4)
	stop, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	const rows, members = 1_000, 2
	keys := make(chan string, 10*rows)
	for range members {
		c := k.consumer(inGroup("tough", "iot.sensors")...)
		go func() {
			defer func() { done <- struct{}{} }()
			for stop.Err() == nil {
				for _, r := range c.PollFetches(stop).Records() {
					keys <- string(r.Key)
				}
				_ = c.CommitUncommittedOffsets(stop) // lost commits only mean that records come again
			}
		}()
	}
	pace := time.NewTicker(70 * time.Millisecond)
	defer pace.Stop()
	for first := int64(0); first < rows; first += 25 {
		<-pace.C
		k.putBatch(sensors, first, 25)
		k.server.closeConns()
	}
	seen := make(map[string]bool)
	eventually(t, "all records", func() bool {
		for len(keys) > 0 {
			seen[<-keys] = true
		}
		return len(seen) == rows
	})
	cancel()
	for range members {
		<-done
	}
}
