package storage_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/materializer/storage/bbolt"
	"kalamlog.dev/kalam/materializer/storage/pebble"
	"kalamlog.dev/kalam/materializer/storage/redis"
	"kalamlog.dev/kalam/materializer/storage/redis/redistest"
)

// benchEntries is how many entries the stores under reading benchmarks hold, benchValue the size of their values in bytes.
const (
	benchEntries = 200_000
	benchValue   = 100
)

// openers open a new store of each backend. All are on disk.
func openers() map[string]func(b *testing.B) (storage.Backend, error) {
	return map[string]func(b *testing.B) (storage.Backend, error){
		"pebble": func(b *testing.B) (storage.Backend, error) { return pebble.Open(pebble.Options{Dir: b.TempDir()}) },
		"bbolt":  func(b *testing.B) (storage.Backend, error) { return bbolt.Open(bbolt.Options{Dir: b.TempDir()}) },
		"redis": func(b *testing.B) (storage.Backend, error) {
			server := redistest.Start(b, redistest.Durable...)
			return redis.Open(redis.Options{URL: server.URL(), Prefix: "bench", Dir: b.TempDir()})
		},
	}
}

func overBackends(b *testing.B, entries int, run func(b *testing.B, s storage.Backend)) {
	for _, name := range []string{"pebble", "bbolt", "redis"} {
		b.Run(name, func(b *testing.B) {
			s, err := openers()[name](b)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			if err := s.CreatePartition("t/1/0"); err != nil {
				b.Fatal(err)
			}
			for from := 0; from < entries; from += 1000 {
				put(b, s, 1000, func(i int) uint64 { return uint64(from + i) })
			}
			if err := s.Sync(); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			run(b, s)
		})
	}
}

func benchKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// put commits a batch of n entries.
func put(b *testing.B, s storage.Backend, n int, key func(int) uint64) {
	b.Helper()
	var value [benchValue]byte
	batch := s.NewBatch()
	for i := range n {
		batch.Put("t/1/0", benchKey(key(i)), value[:])
	}
	if err := batch.Commit(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkInsert puts new keys in order, 1000 a batch, with a Sync every 100 batches.
func BenchmarkInsert(b *testing.B) {
	overBackends(b, 0, func(b *testing.B, s storage.Backend) {
		bulk(b, s, func(n uint64) uint64 { return n })
	})
}

// BenchmarkUpdate replaces random entries, 1000 a batch, with a Sync every 100 batches.
func BenchmarkUpdate(b *testing.B) {
	overBackends(b, benchEntries, func(b *testing.B, s storage.Backend) {
		rng := rand.New(rand.NewPCG(1, 1))
		bulk(b, s, func(uint64) uint64 { return rng.Uint64N(benchEntries) })
	})
}

func bulk(b *testing.B, s storage.Backend, key func(n uint64) uint64) {
	b.Helper()
	n, batches := uint64(0), 0
	for b.Loop() {
		put(b, s, 1000, func(int) uint64 { n++; return key(n) })
		if batches++; batches%100 == 0 {
			if err := s.Sync(); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := s.Sync(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkValue reads random entries one at a time.
func BenchmarkValue(b *testing.B) {
	overBackends(b, benchEntries, func(b *testing.B, s storage.Backend) {
		rng := rand.New(rand.NewPCG(1, 1))
		for b.Loop() {
			if _, err := s.Value("t/1/0", benchKey(rng.Uint64N(benchEntries))); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkValues looks up 1000 random keys at once, half of which exist.
func BenchmarkValues(b *testing.B) {
	overBackends(b, benchEntries, func(b *testing.B, s storage.Backend) {
		keys := make([][]byte, 1000)
		for b.Loop() {
			step := uint64(2 * benchEntries / len(keys))
			for i := range keys {
				keys[i] = benchKey(uint64(i)*step + uint64(b.N)%step)
			}
			if err := storage.Values(s, "t/1/0", keys, func(int, []byte) {}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)*float64(len(keys))/b.Elapsed().Seconds(), "keys/s")
	})
}

// BenchmarkScan reads everything in order.
func BenchmarkScan(b *testing.B) {
	overBackends(b, benchEntries, func(b *testing.B, s storage.Backend) {
		n := 0
		for b.Loop() {
			for _, err := range s.Scan("t/1/0", storage.Range{}) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
	})
}

// BenchmarkSync commits one entry and makes it durable.
func BenchmarkSync(b *testing.B) {
	overBackends(b, benchEntries, func(b *testing.B, s storage.Backend) {
		n := uint64(0)
		for b.Loop() {
			n++
			put(b, s, 1, func(int) uint64 { return n % benchEntries })
			if err := s.Sync(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
