package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tmaxmax/go-sse"
	"github.com/twmb/franz-go/pkg/kgo"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/process"
)

// clusterRig is up to four real nodes, by number.
type clusterRig struct {
	t       *testing.T
	ctx     context.Context
	binary  string
	dir     string
	peers   []string
	http    map[int]string
	kafka   map[int]string
	servers map[int]*process.Server
}

func newClusterRig(t *testing.T) *clusterRig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	c := &clusterRig{
		t: t, ctx: ctx, binary: kalamBinary(t), dir: t.TempDir(),
		http: map[int]string{}, kafka: map[int]string{}, servers: map[int]*process.Server{},
	}
	for n := range 3 {
		c.peers = append(c.peers, fmt.Sprintf("%d=%s", n+1, freeAddress(t)))
	}
	for n := range 4 {
		c.http[n+1], c.kafka[n+1] = freeAddress(t), freeAddress(t)
	}
	t.Cleanup(func() {
		for _, s := range c.servers {
			s.Kill()
		}
	})
	return c
}

func (c *clusterRig) data(node int) string { return filepath.Join(c.dir, strconv.Itoa(node)) }

// launch starts a node; raft is where it listens if it is not among the peers.
func (c *clusterRig) launch(node int, raft string) (*process.Server, error) {
	ctx, cancel := context.WithTimeout(c.ctx, 40*time.Second)
	defer cancel()
	return process.Start(ctx, process.Options{
		Binary: c.binary, Data: c.data(node), HTTP: c.http[node], Kafka: c.kafka[node],
		Env: []string{fmt.Sprintf("KALAM_CLUSTER_NODE_ID=%d", node), "KALAM_CLUSTER_PEERS=" + strings.Join(c.peers, ","), "KALAM_CLUSTER_RAFT=" + raft},
	})
}

// start starts nodes at the same time.
func (c *clusterRig) start(nodes ...int) {
	c.t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, n := range nodes {
		wg.Go(func() {
			s, err := c.launch(n, "")
			if err != nil {
				c.t.Errorf("node %d: %v", n, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			c.servers[n] = s
		})
	}
	wg.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
}

func (c *clusterRig) kill(node int) {
	c.servers[node].Kill()
	delete(c.servers, node)
}

func (c *clusterRig) sql(node int, sql string) []wire.Result {
	c.t.Helper()
	r, err := c.servers[node].SQL(c.ctx, sql)
	if err != nil {
		c.t.Fatalf("node %d: %s: %v", node, sql, err)
	}
	return r
}

// rows returns what node says of a query that must include everything acknowledged.
func (c *clusterRig) rows(node int, sql string) string {
	c.t.Helper()
	body, err := json.Marshal(wire.SQLRequest{SQL: sql, AtLeast: "latest"})
	if err != nil {
		c.t.Fatal(err)
	}
	var reply wire.SQLReply
	if err := c.servers[node].Call(c.ctx, http.MethodPost, "/v1/sql", "application/json", bytes.NewReader(body), nil, &reply); err != nil {
		c.t.Fatalf("node %d: %v", node, err)
	}
	return fmt.Sprintf("%s", reply.Results[0].Rows)
}

// insert writes rows [from, to) through node. A write whose outcome is unknown is repeated under its key.
func (c *clusterRig) insert(node, from, to int) {
	c.t.Helper()
	for i := from; i < to; i++ {
		body := fmt.Sprintf(`[{"id": %d, "v": "row %d"}]`, i, i)
		header := http.Header{"Idempotency-Key": {fmt.Sprint("row ", i)}}
		for {
			err := c.servers[node].Call(c.ctx, http.MethodPost, "/v1/tables/app/m/rows?mode=insert", "application/json", strings.NewReader(body), header, nil)
			var refused *process.RefusedError
			if err == nil {
				break
			}
			if !errors.As(err, &refused) || refused.Status < 500 || c.ctx.Err() != nil {
				c.t.Fatalf("node %d, row %d: %v", node, i, err)
			}
		}
	}
}

func (c *clusterRig) status(node int) (s wire.ClusterStatus) {
	c.t.Helper()
	if err := c.servers[node].Call(c.ctx, http.MethodGet, "/v1/cluster", "", nil, nil, &s); err != nil {
		c.t.Fatal(err)
	}
	return s
}

// leader waits until node knows who leads.
func (c *clusterRig) leader(node int) int {
	c.t.Helper()
	leader := 0
	c.eventually("a node leads", func() bool {
		leader = int(c.status(node).Leader)
		return leader != 0 && c.servers[leader] != nil
	})
	return leader
}

func (c *clusterRig) eventually(what string, ready func() bool) {
	c.t.Helper()
	for !ready() {
		select {
		case <-c.ctx.Done():
			c.t.Fatalf("not in time: %s", what)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// command runs kalam cluster against node.
func (c *clusterRig) command(node int, args ...string) (string, error) {
	c.t.Helper()
	cmd := exec.CommandContext(c.ctx, c.binary, append(append([]string{"cluster"}, args...), "--url", c.servers[node].URL)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c *clusterRig) mustCommand(node int, args ...string) string {
	c.t.Helper()
	out, err := c.command(node, args...)
	if err != nil {
		c.t.Fatalf("kalam cluster %v: %v\n%s", args, err, out)
	}
	return out
}

// live reads a live query at node from the last id on until it has seen total inserts in all, and returns the last id.
func (c *clusterRig) live(node int, last string, seen map[int]int, total int) string {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	target := c.servers[node].URL + "/v1/subscribe?" + url.Values{"sql": {"SELECT id FROM app.m"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer reply.Body.Close()
	for e, err := range sse.Read(reply.Body, nil) {
		if err != nil {
			c.t.Fatalf("live query at node %d: %v", node, err)
		}
		if e.LastEventID != "" {
			last = e.LastEventID
		}
		var event struct {
			Row struct{ ID int }
		}
		switch e.Type {
		case "row", "insert":
			if err := json.Unmarshal([]byte(e.Data), &event); err != nil {
				c.t.Fatal(err)
			}
			seen[event.Row.ID]++
		case "reset", "error":
			c.t.Fatalf("live query at node %d: %s %s", node, e.Type, e.Data)
		}
		if len(seen) == total && last != "" {
			return last
		}
	}
	c.t.Fatalf("live query at node %d ended", node)
	return ""
}

func (c *clusterRig) consume(client *kgo.Client, seen map[string]int, total int) {
	c.t.Helper()
	for len(seen) < total {
		fetches := client.PollFetches(c.ctx)
		if c.ctx.Err() != nil {
			c.t.Fatalf("the Kafka consumer has %d of %d rows", len(seen), total)
		}
		fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Key)]++ })
	}
}

// TestCluster is a day of three nodes: every door at every node, the leader's death, a lost disk, nodes that come and go.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := newClusterRig(t)
	c.start(1, 2, 3)
	c.sql(2, "CREATE SCHEMA app; CREATE TABLE app.m (id BIGINT PRIMARY KEY, v TEXT)")
	for n := range 3 {
		c.insert(n+1, 10*n, 10*n+10)
	}
	for n := range 3 {
		if got := c.rows(n+1, "SELECT count(*), sum(id) FROM app.m"); got != "[[30 435]]" {
			t.Errorf("node %d has %s", n+1, got)
		}
	}
	leader := c.leader(1)
	one, other := leader%3+1, (leader+1)%3+1
	live, messages := map[int]int{}, map[string]int{}
	last := c.live(leader, "", live, 30)
	consumer, err := kgo.NewClient(kgo.SeedBrokers(c.kafka[1], c.kafka[2], c.kafka[3]), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("app.m"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	c.consume(consumer, messages, 30)
	if err := consumer.CommitUncommittedOffsets(c.ctx); err != nil {
		t.Errorf("commit offsets: %v", err)
	}
	c.sql(one, "FLUSH TABLE app.m") // where the leader is not

	c.kill(leader)
	began := time.Now()
	c.insert(one, 30, 40)
	t.Logf("writes went on %v after the leader's death", time.Since(began))
	last = c.live(other, last, live, 40)
	c.consume(consumer, messages, 40)
	c.eventually("the flush is done", func() bool {
		return c.rows(other, "SELECT count(*) FROM system.jobs WHERE state = 'completed'") == "[[1]]"
	})

	// Its disk is lost: it must not start from nothing under its old replica.
	if err := os.RemoveAll(c.data(leader)); err != nil {
		t.Fatal(err)
	}
	if s, err := c.launch(leader, ""); err == nil {
		s.Kill()
		t.Fatal("a node that lost its data started")
	} else if !strings.Contains(err.Error(), fmt.Sprintf("kalam cluster replace %d", leader)) {
		t.Errorf("it does not say what to do: %v", err)
	}
	c.mustCommand(one, "replace", strconv.Itoa(leader))
	c.start(leader)
	c.insert(leader, 40, 45)
	last = c.live(leader, last, live, 45)
	if got := c.rows(leader, "SELECT count(*), sum(id) FROM app.m"); got != "[[45 990]]" {
		t.Errorf("the node that was replaced has %s", got)
	}
	c.eventually("it has the data files", func() bool {
		files, err := filepath.Glob(filepath.Join(c.data(leader), "data", "*", "*", "*.parquet"))
		return err == nil && len(files) > 0
	})
	c.eventually("it votes", func() bool { return !strings.Contains(c.mustCommand(one, "status"), "learner") })

	c.mustCommand(one, "transfer", strconv.Itoa(leader))
	if got := c.leader(one); got != leader {
		t.Errorf("node %d leads, not %d", got, leader)
	}
	c.comeAndGo(one)
	c.kill(one) // two of three are a majority, whoever they are
	c.insert(leader, 45, 50)
	c.live(other, last, live, 50)
	for id, n := range live {
		if n != 1 {
			t.Errorf("the live query told row %d %d times", id, n)
		}
	}
	c.start(one)
	c.verifyAll()
}

// comeAndGo adds a fourth node, which is refused a second time, and removes it.
func (c *clusterRig) comeAndGo(at int) {
	t := c.t
	raft := freeAddress(t)
	c.mustCommand(at, "add", "4="+raft)
	if out, err := c.command(at, "add", "4="+raft); err == nil {
		t.Errorf("added twice:\n%s", out)
	}
	s, err := c.launch(4, raft)
	if err != nil {
		t.Fatal(err)
	}
	c.servers[4] = s
	c.insert(4, 1000, 1001)
	c.sql(4, "DELETE FROM app.m WHERE id = 1000")
	c.eventually("node 4 votes", func() bool { return !strings.Contains(c.mustCommand(at, "status"), "learner") })
	c.mustCommand(at, "remove", "4")
	select {
	case <-s.Exited():
		if !strings.Contains(s.Output(), "removed from its cluster") {
			t.Errorf("node 4 ends and says\n%s", s.Output())
		}
	case <-c.ctx.Done():
		t.Fatal("node 4 goes on")
	}
	delete(c.servers, 4)
	if _, err := c.command(at, "remove", "4"); err == nil {
		t.Error("removed twice")
	}
}

// verifyAll stops every node and compares what it has with its log.
func (c *clusterRig) verifyAll() {
	c.t.Helper()
	want := c.rows(1, "SELECT count(*), sum(id) FROM app.m")
	for n := range 3 {
		if got := c.rows(n+1, "SELECT count(*), sum(id) FROM app.m"); got != want {
			c.t.Errorf("node %d has %s, node 1 %s", n+1, got, want)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(c.servers)) {
		if err := c.servers[n].Stop(c.ctx); err != nil {
			c.t.Errorf("node %d: %v", n, err)
		}
		delete(c.servers, n)
		out, err := exec.CommandContext(c.ctx, c.binary, "verify", "--data", c.data(n)).CombinedOutput()
		if err != nil {
			c.t.Errorf("node %d: %v\n%s", n, err, out)
		}
	}
}

// A node whose configuration names other first members than its peers' does not form a cluster with them.
func TestPeersThatDisagree(t *testing.T) {
	t.Parallel()
	c := newClusterRig(t)
	waiting, stop := context.WithCancel(c.ctx)
	done := make(chan error, 1)
	go func() {
		s, err := process.Start(waiting, process.Options{Binary: c.binary, Data: c.data(1), Env: []string{
			"KALAM_CLUSTER_NODE_ID=1", "KALAM_CLUSTER_PEERS=" + strings.Join(c.peers, ","),
		}})
		if err == nil {
			s.Kill()
		}
		done <- err
	}()
	defer func() {
		stop()
		if err := <-done; err == nil {
			t.Error("a third of the nodes formed a cluster")
		}
	}()
	own := freeAddress(t)
	ctx, cancel := context.WithTimeout(c.ctx, 40*time.Second)
	defer cancel()
	s, err := process.Start(ctx, process.Options{Binary: c.binary, Data: c.data(2), Env: []string{
		"KALAM_CLUSTER_NODE_ID=2", "KALAM_CLUSTER_PEERS=" + c.peers[0] + ",2=" + own,
	}})
	if err == nil {
		s.Kill()
		t.Fatal("it started")
	}
	if !strings.Contains(err.Error(), "different cluster.peers") {
		t.Errorf("it says %v", err)
	}
}
