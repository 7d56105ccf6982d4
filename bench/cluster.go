package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"kalamlog.dev/kalam/internal/process"
)

// cluster measures three nodes: one-row writes at the leader and at a follower, reads at a follower, a bulk load. Then it measures bare Raft of
// three with entries as long as those writes made. All of it shares this machine's processors and its disk: three copies are written to one disk.
func (b *bench) cluster(ctx context.Context) error {
	n, err := b.three(ctx)
	if err != nil {
		return err
	}
	size, err := b.clusterWrites(ctx, n)
	if err == nil {
		err = b.followerReads(ctx, n)
	}
	if err == nil {
		err = b.clusterBulk(ctx, n)
	}
	n.stop()
	if err != nil {
		return err
	}
	if err := b.rawThree(ctx, size); err != nil {
		return err
	}
	for _, at := range []string{"leader", "follower"} {
		b.ratio("write p50 at the "+at+" over raw Raft's", "3 nodes, write at the "+at+", 1 clients, p50 ms", "3 raw nodes, at the "+at+", 1 clients, p50 ms", "none")
		b.ratio("write rate at the "+at+" over raw Raft's, 64", "3 nodes, write at the "+at+", 64 clients, 1/s", "3 raw nodes, at the "+at+", 64 clients, 1/s", "none")
	}
	b.ratio("bulk load of 3 nodes over one", "3 nodes, keyed bulk load rows/s", "keyed bulk load rows/s", "none")
	return nil
}

// clusterWrites times durable one-row inserts and returns how long their Raft entries are.
func (b *bench) clusterWrites(ctx context.Context, n *nodes) (entry int, err error) {
	leader, follower, err := n.roles(ctx)
	if err != nil {
		return 0, err
	}
	if _, err := n.servers[leader].SQL(ctx, `CREATE SCHEMA bench; CREATE TABLE bench.messages`+messages); err != nil {
		return 0, err
	}
	if entry, err = entryBytes(ctx, n.servers[leader]); err != nil {
		return 0, err
	}
	b.report("bytes of a one-row Raft entry", float64(entry), "%d", entry)
	for i, at := range []string{"leader", "follower"} {
		s := n.servers[[]int{leader, follower}[i]]
		if err := latest(ctx, s); err != nil {
			return 0, err
		}
		c := newClient(s.URL)
		first := (i + 1) << 10 // entryBytes's worker is below
		next := make([]int, 64)
		err := b.clients("3 nodes, write at the "+at, func(w, _ int) error {
			next[w]++
			return c.post("/v1/tables/bench/messages/rows", row(first+w, next[w]))
		})
		if err != nil {
			return 0, err
		}
	}
	return entry, nil
}

// entryBytes writes a few rows one after the other and returns the mean length of their entries.
func entryBytes(ctx context.Context, s *process.Server) (int, error) {
	read := func() (bytes, entries float64, err error) {
		if bytes, err = counter(ctx, s, "kalam_log_proposed_bytes_total"); err != nil {
			return 0, 0, err
		}
		entries, err = counter(ctx, s, "kalam_log_entries_total")
		return bytes, entries, err
	}
	bytes, entries, err := read()
	if err != nil {
		return 0, err
	}
	c := newClient(s.URL)
	for i := range 200 {
		if err := c.post("/v1/tables/bench/messages/rows", row(1, i)); err != nil {
			return 0, err
		}
	}
	bytesNow, entriesNow, err := read()
	if err != nil || entriesNow == entries {
		return 0, fmt.Errorf("entries proposed: %v to %v: %w", entries, entriesNow, err)
	}
	return int((bytesNow - bytes) / (entriesNow - entries)), nil
}

// followerReads times reads of a row by its key at a follower: as it has applied it, and with everything acknowledged anywhere before, which
// asks the leader where the log ends.
func (b *bench) followerReads(ctx context.Context, n *nodes) error {
	_, follower, err := n.roles(ctx)
	if err != nil {
		return err
	}
	if err := latest(ctx, n.servers[follower]); err != nil {
		return err
	}
	c := newClient(n.servers[follower].URL)
	for _, kind := range []struct{ name, query string }{{"3 nodes, key read at a follower", ""}, {"3 nodes, the same, at_least=latest", "?at_least=latest"}} {
		err := b.clients(kind.name, func(_, i int) error {
			return c.read("/v1/tables/bench/messages/rows/" + strconv.Itoa(1<<40|i%200) + kind.query)
		})
		if err != nil {
			return err
		}
	}
	b.ratio("key read p50 at a follower over one node's", "3 nodes, key read at a follower, 1 clients, p50 ms", "key read, 1 clients, p50 ms", "none")
	return nil
}

// clusterBulk is bulk at the leader of three.
func (b *bench) clusterBulk(ctx context.Context, n *nodes) error {
	leader, _, err := n.roles(ctx)
	if err != nil {
		return err
	}
	if _, err := n.servers[leader].SQL(ctx, flightsTable); err != nil {
		return err
	}
	bodies, rows, err := b.flightBodies()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := postAll(n.servers[leader].URL, bodies); err != nil {
		return err
	}
	acknowledged := time.Since(began)
	for _, s := range n.servers {
		if err := latest(ctx, s); err != nil {
			return err
		}
	}
	rate := float64(rows) / acknowledged.Seconds()
	b.report("3 nodes, keyed bulk load rows/s", rate, "%.0f   (the last follower has it %.0f ms later)", rate, float64((time.Since(began) - acknowledged).Milliseconds()))
	return nil
}
