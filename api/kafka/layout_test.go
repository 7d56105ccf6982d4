package kafka

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// bareRegistry is the registry of a server that can decode but not serve.
func bareRegistry(t testing.TB) *registry {
	t.Helper()
	return must(newRegistry(&Server{}))(t)
}

// populate fills a request so that every field takes its place on the wire.
func populate(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			switch v.Type().Field(i).Name {
			case "Version", "UnknownTags", "ReplicaState": // the last is the tag that is refused
			default:
				populate(v.Field(i))
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			populate(v.Index(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		populate(v.Elem())
	case reflect.String:
		v.SetString("kalam")
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8:
		v.SetUint(7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Array:
		v.Index(0).SetUint(7)
	default:
		panic(fmt.Sprintf("populate %s", v.Type()))
	}
}

// eachVersion runs f for every key and version, with a request in which every field is set.
func eachVersion(t *testing.T, f func(t *testing.T, k *apiKey, q kmsg.Request)) {
	r := bareRegistry(t)
	for i := range r.keys {
		k := &r.keys[i]
		for version := k.min; version <= k.max; version++ {
			t.Run(fmt.Sprintf("%s v%d", k.name, version), func(t *testing.T) {
				q := k.request()
				populate(reflect.ValueOf(q).Elem())
				q.SetVersion(version)
				f(t, k, q)
			})
		}
	}
}

func TestLayoutsAreThoseOfTheRequests(t *testing.T) {
	eachVersion(t, func(t *testing.T, k *apiKey, q kmsg.Request) {
		body := q.AppendTo(nil)
		back, err := k.decode(q.GetVersion(), body)
		if err != nil {
			t.Fatal(err)
		}
		if again := back.AppendTo(nil); string(again) != string(body) {
			t.Fatalf("decoded and encoded again, %x became %x", body, again)
		}
		w := walker{src: body, version: q.GetVersion(), flexible: q.IsFlexible()}
		if w.structure(k.layout); len(w.src) > 0 {
			t.Fatalf("the layout leaves %d of %d bytes", len(w.src), len(body))
		}
		for n := range body {
			if _, err := k.decode(q.GetVersion(), body[:n]); err == nil {
				t.Fatalf("cut to %d of %d bytes, the request still decodes", n, len(body))
			}
		}
	})
}

func TestEmptyRequestsDecode(t *testing.T) {
	eachVersion(t, func(t *testing.T, k *apiKey, q kmsg.Request) {
		empty := k.request()
		empty.SetVersion(q.GetVersion())
		if _, err := k.decode(q.GetVersion(), empty.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
	})
}

// A count of four thousand million tagged fields in a body of a few bytes must not be believed: the decoder behind would loop over it.
func TestHostileCountsAreRefused(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	bodies := map[string][]byte{
		"tags":              append([]byte{2, 'a', 2, 'b'}, huge...),
		"size of a tag":     append([]byte{2, 'a', 2, 'b', 1, 9}, huge...),
		"length of string":  huge,
		"uvarint too long":  {0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"nothing":           {},
		"the tags are gone": {2, 'a', 2, 'b'},
	}
	k := bareRegistry(t).key(apiVersionsCode)
	for name, body := range bodies {
		if _, err := k.decode(4, body); err == nil {
			t.Errorf("%s: decodes", name)
		}
	}
	metadata := bareRegistry(t).key(3)
	for version, body := range map[int16][]byte{8: {0x7f, 0xff, 0xff, 0xff}, 12: huge} {
		if _, err := metadata.decode(version, body); err == nil {
			t.Errorf("Metadata version %d with too long an array decodes", version)
		}
	}
}

func TestFetchTagOfReplicasIsRefused(t *testing.T) {
	q := kmsg.NewPtrFetchRequest()
	q.Version = 12
	q.ReplicaState.ID = 1
	if _, err := bareRegistry(t).key(1).decode(12, q.AppendTo(nil)); err == nil {
		t.Error("a replica's Fetch decodes")
	}
}

func TestLayoutTextIsChecked(t *testing.T) {
	for _, text := range []string{"i33", "(i32", "i32)", "v:i32", "v1-x:i32", "[", "!x"} {
		if _, err := parseLayout(text); err == nil {
			t.Errorf("%q is taken for a layout", text)
		}
	}
}
