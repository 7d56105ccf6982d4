package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tmaxmax/go-sse"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"kalamlog.dev/kalam/api/wire"
)

// retentionRig is a server that keeps flushed changes for a moment only, and a table of one partition.
type retentionRig struct {
	*killRig
	rows atomic.Int64 // inserted
}

func newRetentionRig(t *testing.T) *retentionRig {
	t.Helper()
	k := &retentionRig{killRig: newKillRig(t)}
	k.options.Env = []string{"KALAM_RETENTION_AGE=1s", "KALAM_STORAGE_SEGMENT_BYTES=1MiB"}
	k.start()
	k.sql(`CREATE SCHEMA shop; CREATE TABLE shop.items (id BIGINT PRIMARY KEY, body TEXT) WITH (partitions = 1)`)
	return k
}

// insert adds n rows of 2 KiB in one statement. An error is the server's end.
func (k *retentionRig) insert(n int) ([]wire.Result, error) {
	first := k.rows.Load()
	results, err := k.server.SQL(k.t.Context(), fmt.Sprintf(
		`INSERT INTO shop.items (id, body) SELECT range, repeat(md5(range::TEXT), 64) FROM range(%d, %d)`, first, first+int64(n)))
	if err == nil {
		k.rows.Add(int64(n))
	}
	return results, err
}

func (k *retentionRig) mustInsert(n int) wire.Result {
	k.t.Helper()
	results, err := k.insert(n)
	if err != nil {
		k.t.Fatalf("insert: %v\n%s", err, k.server.Output())
	}
	return results[0]
}

func (k *retentionRig) number(sql string) int64 {
	k.t.Helper()
	n, err := strconv.ParseInt(string(k.sql(sql)[0].Rows[0][0]), 10, 64)
	if err != nil {
		k.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

const startOfItems = `SELECT coalesce(max(start_offset), 0) FROM system.log_starts s JOIN system.tables t ON s.table_id = t.id WHERE t.name = 'items'`

// logBytes is what the log of user tables takes on disk.
func (k *retentionRig) logBytes() (sum int64) {
	k.t.Helper()
	for _, table := range k.userTables() {
		err := filepath.WalkDir(filepath.Join(k.options.Data, "segments", table), func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil // deleted meanwhile
			}
			sum += info.Size()
			return err
		})
		if err != nil {
			k.t.Fatal(err)
		}
	}
	return sum
}

// events reads a live query after from until last is seen.
func (k *retentionRig) events(from, last string) (types []string) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 30*time.Second)
	defer cancel()
	query := url.Values{"sql": {"SELECT id FROM shop.items"}, "from": {from}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.server.URL+"/v1/subscribe?"+query.Encode(), http.NoBody)
	if err != nil {
		k.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		k.t.Fatal(err)
	}
	defer res.Body.Close()
	for e, err := range sse.Read(res.Body, nil) {
		if err != nil {
			k.t.Fatalf("after %d events: %v", len(types), err)
		}
		types = append(types, e.Type)
		if e.Type == last {
			return types
		}
	}
	k.t.Fatalf("the stream ended after %d events", len(types))
	return nil
}

func count(types []string, want string) (n int) {
	for _, t := range types {
		if t == want {
			n++
		}
	}
	return n
}

// TestRetention lets a table's log go once it is flushed, while it is written to and read: the disk space comes back, a live query that comes
// back with an old token starts over, Kafka consumers begin with the first change kept, queries see every row, and the state is the fold of what is
// left in the log and of the data files.
func TestRetention(t *testing.T) {
	k := newRetentionRig(t)
	old := k.mustInsert(10).Position
	for range 10 {
		k.mustInsert(400)
	}
	full := k.logBytes()
	if full < 7<<20 {
		t.Fatalf("the log takes %d bytes", full)
	}
	k.sql(`FLUSH TABLE shop.items`)
	k.mustInsert(100)
	k.sql(`UPDATE shop.items SET body = 'short' WHERE id < 20`)
	k.sql(`FLUSH TABLE shop.items`)

	stopWriting, seen := k.writeAndFollow()
	k.eventually("the start of the log moves", func() bool { return k.number(startOfItems) > 4000 })
	k.eventually("the log's disk space is given back", func() bool { return k.logBytes() < full/4 })
	stopWriting()
	if missed := seen(); missed != "" {
		t.Error(missed)
	}

	start := k.number(startOfItems)
	rows := k.rows.Load()
	if got := k.number(`SELECT count(*) FROM shop.items`); got != rows {
		t.Errorf("%d rows, want %d", got, rows)
	}
	if got := k.number(`SELECT min(base_offset) FROM system.segments WHERE "table" = 'items'`); got > start {
		t.Errorf("the log starts at %d, its first segment at %d", start, got)
	}
	types := k.events(old, "ready")
	if types[0] != "subscribed" || types[1] != "reset" || int64(count(types, "row")) != rows || len(types) != int(rows)+3 {
		t.Errorf("a resume with an old token gave %v... %d rows of %d", types[:2], count(types, "row"), rows)
	}
	k.checkKafka(start)
	k.stopServer()
	k.verify()
	k.start()
	if again := k.number(startOfItems); again < start {
		t.Errorf("the log started at %d and after a restart at %d", start, again)
	}
	if got := k.number(`SELECT count(*) FROM shop.items`); got != rows {
		t.Errorf("%d rows after a restart, want %d", got, rows)
	}
	k.stopServer()
}

func (k *retentionRig) stopServer() {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 30*time.Second)
	defer cancel()
	if err := k.server.Stop(ctx); err != nil {
		k.t.Fatal(err)
	}
}

// writeAndFollow writes and flushes, and follows by a live query and by Kafka, until stop. What missed returns then is empty if the live query had every row once
// and the consumer dense offsets.
func (k *retentionRig) writeAndFollow() (stop func(), missed func() string) {
	ctx, cancel := context.WithCancel(k.t.Context())
	first := k.rows.Load()
	var seen sync.Map
	var twice, reset atomic.Int64
	var work sync.WaitGroup
	query := url.Values{"sql": {"SELECT id FROM shop.items"}, "snapshot": {"false"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.server.URL+"/v1/subscribe?"+query.Encode(), http.NoBody)
	if err != nil {
		k.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		k.t.Fatal(err)
	}
	work.Go(func() {
		defer res.Body.Close()
		for e, err := range sse.Read(res.Body, nil) {
			if err != nil {
				return
			}
			switch e.Type {
			case "reset":
				reset.Add(1)
			case "insert":
				var data struct{ Row struct{ ID int64 } }
				if json.Unmarshal([]byte(e.Data), &data) == nil {
					if _, again := seen.LoadOrStore(data.Row.ID, true); again {
						twice.Add(1)
					}
				}
			}
		}
	})
	var skipped, consumed atomic.Int64
	consumer, err := kgo.NewClient(kgo.SeedBrokers(k.server.Kafka), kgo.ConsumeTopics("shop.items"), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	if err != nil {
		k.t.Fatal(err)
	}
	work.Go(func() {
		defer consumer.Close()
		next := int64(-1)
		for ctx.Err() == nil {
			for _, r := range consumer.PollFetches(ctx).Records() {
				if next >= 0 && r.Offset != next {
					skipped.Add(1)
				}
				next = r.Offset + 1
				consumed.Add(1)
			}
		}
	})
	writing, stopWriting := context.WithCancel(ctx)
	work.Go(func() {
		for i := 0; writing.Err() == nil; i++ {
			if _, err := k.insert(5); err != nil {
				k.t.Errorf("insert: %v", err)
				return
			}
			if i%20 == 0 {
				if _, err := k.server.SQL(ctx, `FLUSH TABLE shop.items`); err != nil {
					k.t.Errorf("flush: %v", err)
				}
			}
			select {
			case <-writing.Done():
			case <-time.After(20 * time.Millisecond): // load, not a wait for anything
			}
		}
	})
	all := func() bool {
		for id := first; id < k.rows.Load(); id++ {
			if _, ok := seen.Load(id); !ok {
				return false
			}
		}
		return true
	}
	stop = func() {
		stopWriting()
		k.eventually("the live query has every row", func() bool { return reset.Load() > 0 || all() })
		cancel()
		work.Wait()
	}
	return stop, func() string {
		if twice.Load() > 0 || reset.Load() > 0 || skipped.Load() > 0 || consumed.Load() == 0 {
			return fmt.Sprintf("a live query that kept up saw %d rows twice and %d resets, a consumer had %d records and skipped %d times",
				twice.Load(), reset.Load(), consumed.Load(), skipped.Load())
		}
		return ""
	}
}

// checkKafka reads what Kafka clients see at and before the start.
func (k *retentionRig) checkKafka(start int64) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 30*time.Second)
	defer cancel()
	first := func(o ...kgo.Opt) (int64, error) {
		client, err := kgo.NewClient(append(o, kgo.SeedBrokers(k.server.Kafka))...)
		if err != nil {
			k.t.Fatal(err)
		}
		defer client.Close()
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return 0, err
		}
		return fetches.Records()[0].Offset, nil
	}
	fromStart, err := first(kgo.ConsumeTopics("shop.items"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil || fromStart < start || fromStart > k.number(startOfItems) {
		k.t.Errorf("from the beginning a consumer begins at %d, want %d, %v", fromStart, start, err)
	}
	at := func(o kgo.Offset) map[string]map[int32]kgo.Offset {
		return map[string]map[int32]kgo.Offset{"shop.items": {0: o}}
	}
	if _, err := first(kgo.ConsumePartitions(at(kgo.NewOffset().At(0))), kgo.ConsumeResetOffset(kgo.NoResetOffset())); !errors.Is(err, kerr.OffsetOutOfRange) {
		k.t.Errorf("offset 0: %v", err)
	}
}

// TestRetentionSurvivesKills kills the server while it writes, flushes and deletes, and expects nothing acknowledged to be missing and nothing to
// be left of what was deleted.
func TestRetentionSurvivesKills(t *testing.T) {
	k := newRetentionRig(t)
	for round := range 3 {
		before := k.number(startOfItems)
		var load sync.WaitGroup
		load.Go(func() {
			for {
				if _, err := k.insert(100); err != nil {
					return
				}
				if _, err := k.server.SQL(k.t.Context(), `FLUSH TABLE shop.items`); err != nil {
					return
				}
				select {
				case <-k.server.Exited():
				case <-time.After(100 * time.Millisecond): // load, not a wait for anything
				}
			}
		})
		k.eventually("the start of the log moves", func() bool { return k.number(startOfItems) > before })
		time.Sleep(time.Duration(round) * 40 * time.Millisecond) // in another phase of the deletion each time
		k.server.Kill()
		load.Wait()
		k.verify()
		k.start()
		k.rows.Store(k.number(`SELECT max(id) + 1 FROM shop.items`)) // an insert may have got no answer
		if got := k.number(`SELECT count(*) FROM shop.items`); got != k.rows.Load() {
			t.Fatalf("round %d: %d rows of %d", round, got, k.rows.Load())
		}
	}
	k.sql(`FLUSH TABLE shop.items`)
	k.eventually("the log is empty", func() bool { return k.logBytes() < 1<<20 })
	k.stopServer()
	k.verify()
}

// The rows of a stream go from queries and from the disk once its TTL has passed.
func TestStreamExpires(t *testing.T) {
	k := newRetentionRig(t)
	k.sql(`CREATE TABLE shop.views (page TEXT) WITH (type = 'stream', ttl = '1s', partitions = 1)`)
	k.sql(`INSERT INTO shop.views SELECT 'p' || range FROM range(1000); FLUSH TABLE shop.views`)
	k.eventually("the rows expire", func() bool { return k.number(`SELECT count(*) FROM shop.views`) == 0 })
	k.sql(`INSERT INTO shop.views VALUES ('new')`)
	if got := k.number(`SELECT count(*) FROM shop.views`); got != 1 {
		t.Errorf("%d rows", got)
	}
	if got := k.number(`SELECT count(*) FROM system.data_files`); got != 0 {
		t.Errorf("%d data files are still named", got)
	}
	k.stopServer()
	k.verify()
	k.start()
	k.eventually("the data files are removed", func() bool {
		files, err := filepath.Glob(filepath.Join(k.options.Data, "data", "shop.views-*", "*", "*.parquet"))
		return err == nil && len(files) == 0
	})
	if got := k.number(`SELECT count(*) FROM shop.views`); got != 1 {
		t.Errorf("%d rows after a restart", got)
	}
	k.stopServer()
}

// An idle server writes nothing, and a table that nobody has written to has no files.
func TestIdleServerWritesNothing(t *testing.T) {
	k := newRetentionRig(t)
	k.mustInsert(100)
	k.sql(`CREATE TABLE shop.never (id BIGINT PRIMARY KEY)`)
	k.sql(`FLUSH TABLE shop.items`)
	k.eventually("the log is empty", func() bool { return k.logBytes() == 0 })
	if tables := k.userTables(); len(tables) != 1 {
		t.Errorf("segments of %v: a table never written has some", tables)
	}
	files := func() string {
		var b strings.Builder
		for _, folder := range []string{"segments", "raft", "state", "data", "floor"} {
			err := filepath.WalkDir(filepath.Join(k.options.Data, folder), func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				info, err := d.Info()
				fmt.Fprintln(&b, path, info.Size(), info.ModTime().UnixNano())
				return err
			})
			if err != nil {
				return err.Error() // removed meanwhile
			}
		}
		return b.String()
	}
	// The last checkpoint comes some seconds after the last write. From then on nothing moves for longer than any of the server's clocks.
	const quiet = 7 * time.Second
	last, since := files(), time.Now()
	k.eventually("nothing moves any more", func() bool {
		if now := files(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > quiet
	})
	k.stopServer()
}
