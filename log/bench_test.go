package log

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/statemachine"
)

// BenchmarkPropose compares a durable write through the log with a bare proposal to the same Raft settings.
func BenchmarkPropose(b *testing.B) {
	for _, size := range []int{100, 1000, 64 << 10} {
		for _, writers := range []int{1, 64} {
			b.Run(fmt.Sprintf("log/size=%d/writers=%d", size, writers), func(b *testing.B) {
				l := openTestLog(b, testOptions(b.TempDir()))
				batch := batchOf(write{Partition{7, 0}, strings.Repeat("x", size)})
				b.SetBytes(int64(size))
				runWriters(b, writers, func(ctx context.Context) error {
					_, err := l.Propose(ctx, batch)
					return err
				})
			})
			b.Run(fmt.Sprintf("raft/size=%d/writers=%d", size, writers), func(b *testing.B) {
				propose := openBareRaft(b)
				batch := make([]byte, size)
				b.SetBytes(int64(size))
				runWriters(b, writers, func(context.Context) error { return propose(batch) })
			})
		}
	}
}

func runWriters(b *testing.B, writers int, propose func(context.Context) error) {
	b.ReportAllocs()
	var next atomic.Int64
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	b.ResetTimer()
	for range writers {
		wg.Go(func() {
			var mine []time.Duration
			for next.Add(1) <= int64(b.N) {
				start := time.Now()
				if err := propose(b.Context()); err != nil {
					b.Error(err)
					return
				}
				mine = append(mine, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	if len(took) > 0 {
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

// nothing is a state machine that does nothing.
type nothing struct{}

func (nothing) Open(<-chan struct{}) (uint64, error)                        { return 0, nil }
func (nothing) Update(e []statemachine.Entry) ([]statemachine.Entry, error) { return e, nil }
func (nothing) Lookup(any) (any, error)                                     { return Index(0), nil }
func (nothing) Sync() error                                                 { return nil }
func (nothing) PrepareSnapshot() (any, error)                               { return nil, nil }
func (nothing) SaveSnapshot(any, io.Writer, <-chan struct{}) error          { return nil }
func (nothing) RecoverFromSnapshot(io.Reader, <-chan struct{}) error        { return nil }
func (nothing) Close() error                                                { return nil }

func openBareRaft(b *testing.B) func([]byte) error {
	dir := filepath.Join(b.TempDir(), "raft")
	var leader leadership
	leader.init()
	elected := leader.another()
	o := raftOptions{
		dir: dir, identity: FirstIdentity(1, 1), tick: 10 * time.Millisecond, inMemory: 256 << 20,
		guard: &logGuard{dir: dir, fs: newRaftFS()}, events: &raftEvents{leader: &leader, logger: slog.New(slog.DiscardHandler), removed: func() {}},
	}
	o.create = func(uint64, uint64) statemachine.IOnDiskStateMachine { return nothing{} }
	host, err := startRaft(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(host.Close)
	<-elected
	session := host.GetNoOPSession(uint64(groupID))
	return func(batch []byte) error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err := host.SyncPropose(ctx, session, batch)
		return err
	}
}

// BenchmarkTail measures from the start of a write to a tail's seeing it, and how much of that is after its acknowledgement.
func BenchmarkTail(b *testing.B) {
	l := openTestLog(b, testOptions(b.TempDir()))
	tail, err := l.Tail(7, 4, Position{})
	if err != nil {
		b.Fatal(err)
	}
	seen := make(chan time.Time, b.N)
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; n < b.N; {
			records, err := tail.Next(b.Context(), 1<<20)
			if err != nil {
				return
			}
			now := time.Now()
			for range records {
				seen <- now
				n++
			}
		}
	})
	var after []time.Duration
	b.ResetTimer()
	for i := range b.N {
		if _, err := l.Propose(b.Context(), batchOf(write{Partition{7, PartitionID(i % 4)}, "change"})); err != nil {
			b.Fatal(err)
		}
		acked := time.Now()
		after = append(after, (<-seen).Sub(acked))
	}
	b.StopTimer()
	wg.Wait()
	slices.Sort(after)
	b.ReportMetric(float64(after[len(after)/2].Nanoseconds())/1e3, "acked-to-seen-p50-µs")
	b.ReportMetric(float64(after[len(after)*99/100].Nanoseconds())/1e3, "acked-to-seen-p99-µs")
}

// BenchmarkRead measures a cold scan of a partition.
func BenchmarkRead(b *testing.B) {
	l := openTestLog(b, testOptions(b.TempDir()))
	p := Partition{7, 0}
	writes := make([]write, 1000)
	for i := range writes {
		writes[i] = write{p, strings.Repeat("x", 200)}
	}
	for range 200 {
		if _, err := l.Propose(b.Context(), batchOf(writes...)); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	b.ReportAllocs()
	var bytes int64
	for range b.N {
		for at := Offset(0); at < l.End(p); {
			records, err := l.Read(p, at, 1<<20)
			if err != nil {
				b.Fatal(err)
			}
			for _, r := range records {
				bytes += int64(len(r.Data))
			}
			at += Offset(len(records))
		}
	}
	b.SetBytes(bytes / int64(b.N))
}
