package storagetest

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"kalamlog.dev/kalam/materializer/storage"
)

// testConcurrency has writers, readers, scanners and someone who makes and drops partitions at work at once.
func testConcurrency(t *testing.T, s *store) {
	const writers, writes = 4, 200
	s.create("p")
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range writes {
				key := fmt.Appendf(nil, "%d-%04d", w, i)
				if err := s.Put("p", key, key); err != nil {
					t.Errorf("put: %v", err)
				}
				if got, err := s.Value("p", key); err != nil || string(got) != string(key) {
					t.Errorf("read own write: %q %v", got, err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if _, err := scan(s, "p", storage.Range{}); err != nil {
				t.Errorf("scan: %v", err)
			}
		}
	})
	wg.Go(func() {
		for i := range 20 {
			p := storage.PartitionName("x/" + strconv.Itoa(i%3))
			if err := s.CreatePartition(p); err != nil {
				t.Errorf("create: %v", err)
			}
			if err := s.Put(p, []byte("a"), nil); err != nil {
				t.Errorf("put: %v", err)
			}
			if err := s.DropPartition(p); err != nil {
				t.Errorf("drop: %v", err)
			}
		}
	})
	wg.Go(func() {
		for range 5 {
			if err := s.Sync(); err != nil {
				t.Errorf("sync: %v", err)
			}
		}
	})
	wg.Wait()
	got, err := scan(s, "p", storage.Range{})
	s.check(err)
	if len(got) != writers*writes {
		t.Fatalf("%d entries, want %d", len(got), writers*writes)
	}
}

// testAtomicReaders moves an amount between keys of two partitions; a snapshot must always find the same total.
func testAtomicReaders(t *testing.T, s *store) {
	const total, moves = 100, 300
	s.create("p", "q")
	s.put("p", "n", strconv.Itoa(total))
	s.put("q", "n", "0")
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		for i := range moves {
			batch := s.NewBatch()
			batch.Put("p", []byte("n"), strconv.AppendInt(nil, int64(total-i), 10))
			batch.Put("q", []byte("n"), strconv.AppendInt(nil, int64(i), 10))
			if err := batch.Commit(); err != nil {
				t.Errorf("commit: %v", err)
			}
		}
	})
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if sum, err := s.sum(); err != nil || sum != total {
			t.Errorf("a snapshot has the total %d: %v", sum, err)
			break
		}
	}
	wg.Wait()
}

func (s *store) sum() (int, error) {
	snapshot, err := s.Snapshot()
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, p := range []storage.PartitionName{"p", "q"} {
		raw, err := snapshot.Value(p, []byte("n"))
		if err != nil {
			return 0, err
		}
		n, err := strconv.Atoi(string(raw))
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, snapshot.Close()
}
