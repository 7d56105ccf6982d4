package query

import (
	"strings"
	"testing"

	"kalamlog.dev/kalam/flusher/manifest"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// retain deletes what is flushed of a table from the log.
func (s *stack) retain(name string) {
	s.Helper()
	v, err := s.state.View()
	s.must(err)
	defer v.Close()
	table, err := v.Catalog().Table(materializer.DefaultNamespace, name)
	s.must(err)
	ends, err := manifest.Ends(v, table)
	s.must(err)
	starts := map[log.PartitionID]log.Start{}
	for p, end := range ends {
		if end > 0 {
			last, err := s.log.Read(log.Partition{Table: table.ID, ID: p}, end-1, 1)
			s.must(err)
			starts[p] = log.Start{Offset: end, Index: last[0].Index}
		}
	}
	b, err := manifest.MoveStarts(v, table, starts, 1)
	s.must(err)
	_, err = s.writer.Write(as("root"), b)
	s.must(err)
}

// Queries see the same rows whether the log still has them or only the data files do.
func TestQueriesAfterRetention(t *testing.T) {
	s := openStack(t)
	f := s.withFlusher()
	s.exec("CREATE TABLE t (k BIGINT PRIMARY KEY, v TEXT)")
	s.exec("CREATE TABLE e (n BIGINT) WITH (type = 'stream', partitions = 2)")
	const all = "SELECT k, v FROM t ORDER BY k"
	s.exec("INSERT INTO t SELECT range, 'a' FROM range(50)")
	s.exec("INSERT INTO e SELECT range FROM range(50)")
	s.exec(all) // the mirror has seen these in the log
	s.exec("UPDATE t SET v = 'b' WHERE k < 10")
	s.flushTable(f, "t")
	s.flushTable(f, "e")
	s.exec("DELETE FROM t WHERE k = 3")
	before := s.exec("SELECT *, _partition, _offset, _timestamp, _op FROM t ORDER BY k").lines()
	s.exec("UPDATE t SET v = 'c' WHERE k = 20")
	s.flushTable(f, "t")
	s.retain("t")
	s.retain("e")
	check := func() {
		t.Helper()
		after := s.exec("SELECT *, _partition, _offset, _timestamp, _op FROM t WHERE k <> 20 ORDER BY k").lines()
		for line := range strings.Lines(after) {
			if !strings.Contains(before, line) {
				t.Errorf("%q is new", line)
			}
		}
		if got := s.exec("SELECT count(*), count(*) FILTER (v = 'b'), count(*) FILTER (v = 'c') FROM t").lines(); got != "49 | 9 | 1\n" {
			t.Errorf("counts %s", got)
		}
		if got := s.exec("SELECT count(*), sum(n) FROM e").lines(); got != "50 | 1225\n" {
			t.Errorf("stream %s", got)
		}
	}
	check()
	s.must(s.Close())
	s.openEngine() // reads everything anew
	check()
	s.exec("INSERT INTO e VALUES (0)")
	if got := s.exec("SELECT count(*) FROM e").lines(); got != "51\n" {
		t.Errorf("stream with a tail %s", got)
	}
}

func TestSegmentsTable(t *testing.T) {
	s := openStack(t)
	f := s.withFlusher()
	s.exec("CREATE TABLE t (k BIGINT PRIMARY KEY) WITH (partitions = 1)")
	const q = "SELECT base_offset, end_offset, bytes > 0, sealed FROM system.segments WHERE namespace = 'default' AND \"table\" = 't'"
	if got := s.exec(q).lines(); got != "" {
		t.Errorf("of a table never written: %s", got)
	}
	s.exec("INSERT INTO t SELECT range FROM range(5)")
	if got := s.exec(q).lines(); got != "0 | 5 | true | false\n" {
		t.Errorf("after a write: %s", got)
	}
	s.flushTable(f, "t")
	s.retain("t")
	s.exec("INSERT INTO t VALUES (5)")
	if got := s.exec(q).lines(); got != "5 | 6 | true | false\n" {
		t.Errorf("after retention: %s", got)
	}
}

func TestRetentionOptionsOfATable(t *testing.T) {
	s := openStack(t)
	s.exec("CREATE TABLE a (k BIGINT PRIMARY KEY) WITH (retention = '7 days', retention_bytes = '10GB')")
	s.exec("CREATE TABLE b (k BIGINT PRIMARY KEY) WITH (retention = 'unlimited', retention_bytes = 'Unlimited')")
	s.exec("CREATE TABLE c (k BIGINT PRIMARY KEY) WITH (retention_bytes = 1000)")
	for name, want := range map[string]materializer.TableOptions{
		"a": {Retention: 7 * 24 * 3600e9, RetentionBytes: 10e9},
		"b": {Retention: materializer.Unlimited, RetentionBytes: materializer.Unlimited},
		"c": {RetentionBytes: 1000},
	} {
		table, err := s.state.Catalog().Table("default", name)
		s.must(err)
		if got := table.Options; got.Retention != want.Retention || got.RetentionBytes != want.RetentionBytes {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, with := range []string{"retention = 'soon'", "retention_bytes = 'much'", "retention_bytes = '-1'"} {
		if _, err := s.run("CREATE TABLE x (k BIGINT PRIMARY KEY) WITH (" + with + ")"); !problem.Is(err, problem.InvalidDefinition) {
			t.Errorf("%s: %v", with, err)
		}
	}
}
