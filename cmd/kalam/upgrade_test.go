package main_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kalamlog.dev/kalam/internal/process"
)

// unpack extracts a data directory of testdata and returns where it is.
func unpack(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return filepath.Join(root, name)
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(root, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		data, err := io.ReadAll(r)
		if err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// firstRelease is what a data directory of testdata/README.md shows, by query.
func firstRelease() map[string]string {
	return map[string]string{
		`SELECT id, name, price, tags, added, _partition, _offset FROM shop.items ORDER BY id`: `[[1,"lamp","12.50",null,"2025-01-02T03:04:05Z",0,0],` +
			`[2,"chair","70.00",null,null,2,3],[4,"carpet","60.00",null,null,2,4],[10,"sofa","900.00",null,null,2,2],[11,"stool","35.10",null,null,1,0],` +
			`[20,"vase",null,null,null,0,3],[30,"shelf","1.00",null,null,2,5]]`,
		`SELECT * FROM notes ORDER BY n`: `[[1,"first"],[2,"2nd"]]`,
		`SELECT seen, kind, doc FROM events ORDER BY seen`: `[["2025-01-01T00:00:00Z","open",{"a":1}],["2025-01-01T00:00:01Z","close",{"b":[1,2]}],` +
			`["2025-01-01T00:00:02Z","after the flush",null],["2025-01-01T00:00:03Z","in the raft log",null]]`,
	}
}

// shows compares the rows of s with want, by query.
func shows(t *testing.T, s *process.Server, want map[string]string) {
	t.Helper()
	for sql, rows := range want {
		results, err := s.SQL(t.Context(), sql)
		if err != nil {
			t.Fatalf("%s: %v\n%s", sql, err, s.Output())
		}
		got, err := json.Marshal(results[0].Rows)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != rows {
			t.Errorf("%s\n got %s\nwant %s", sql, got, rows)
		}
	}
}

// repeat sends a write again that the first release has acknowledged, and expects its answer.
func repeat(t *testing.T, s *process.Server, key, body, want string) {
	t.Helper()
	var reply json.RawMessage
	err := s.Call(t.Context(), http.MethodPost, "/v1/tables/shop/items/rows?mode=insert", "application/json", strings.NewReader(body),
		http.Header{"Idempotency-Key": {key}}, &reply)
	if err != nil {
		t.Fatalf("repeat %s: %v", key, err)
	}
	if !strings.Contains(string(reply), want) {
		t.Errorf("%s is answered %s, want %s", key, reply, want)
	}
}

func repeatAll(t *testing.T, s *process.Server) {
	t.Helper()
	repeat(t, s, "order-77", `[{"id":10,"name":"sofa","price":"900.00"},{"id":11,"name":"stool","price":"35.10"}]`,
		`"offsets":{"1":{"first":0,"last":0},"2":{"first":2,"last":2}}`)
	repeat(t, s, "order-78", `[{"id":30,"name":"shelf","price":"1.00"}]`, `"offsets":{"2":{"first":5,"last":5}}`)
}

// A data directory of the first release, killed with entries in its Raft log, opens: the same rows, the same answers to repeated writes. It goes on, through a flush, a kill
// and restarts.
func TestUpgradeFromFirstRelease(t *testing.T) {
	k := newKillRig(t)
	k.options.Data = unpack(t, "first-release")
	k.verify()
	k.start()
	shows(t, k.server, firstRelease())
	repeatAll(t, k.server)
	shows(t, k.server, firstRelease())
	if tables := k.sql(`SELECT name FROM system.tables WHERE name = 'gone'`)[0].Rows; len(tables) > 0 {
		t.Error("the dropped table is back")
	}
	k.sql(`INSERT INTO shop.items (id, name) VALUES (100, 'new'); UPDATE shop.items SET price = 13 WHERE id = 1; FLUSH TABLE shop.items; FLUSH TABLE events;
		INSERT INTO shop.items (id, name) VALUES (101, 'newer')`)
	after := map[string]string{
		`SELECT count(*), sum(price) FROM shop.items`: `[[9,"1079.10"]]`,
		`SELECT count(*) FROM events`:                 `[[4]]`,
	}
	k.eventually("both flushes have ended", func() bool {
		return len(k.sql(`SELECT id FROM system.jobs WHERE state = 'completed'`)[0].Rows) == 4
	})
	shows(t, k.server, after)
	k.server.Kill()
	k.verify()
	for range 2 {
		k.start()
		shows(t, k.server, after)
		repeatAll(t, k.server)
		k.server.Kill()
	}
	k.verify()
	k.eventuallyNoFiles("1003")
}

// eventuallyNoFiles expects the segments of a dropped table to be gone.
func (k *killRig) eventuallyNoFiles(table string) {
	k.t.Helper()
	if _, err := os.Stat(filepath.Join(k.options.Data, "segments", table)); !errors.Is(err, os.ErrNotExist) {
		k.t.Errorf("the segments of table %s, which was dropped, are still there: %v", table, err)
	}
}

// member is a node of a cluster as a process.
type member struct {
	*killRig
	node int
	raft string
}

// newMember returns node of a cluster, which knows the nodes of peers.
func newMember(t *testing.T, node int, dir string, peers ...*member) *member {
	t.Helper()
	m := &member{killRig: newKillRig(t), node: node, raft: freeAddress(t)}
	m.options.Data = dir
	m.options.Kafka = ""
	list := []string{fmt.Sprintf("%d=%s", node, m.raft)}
	for _, p := range peers {
		list = append(list, fmt.Sprintf("%d=%s", p.node, p.raft))
	}
	m.options.Env = []string{fmt.Sprintf("KALAM_CLUSTER_NODE_ID=%d", node), "KALAM_CLUSTER_RAFT=" + m.raft, "KALAM_CLUSTER_PEERS=" + strings.Join(list, ",")}
	return m
}

// join adds m to the cluster of by and starts it.
func (m *member) join(by *member) {
	m.t.Helper()
	err := by.server.Call(m.t.Context(), http.MethodPost, "/v1/cluster/add", "application/json",
		strings.NewReader(fmt.Sprintf(`{"node":%d,"address":%q}`, m.node, m.raft)), nil, nil)
	if err != nil {
		m.t.Fatalf("add node %d: %v\n%s", m.node, err, by.server.Output())
	}
	m.start()
	by.eventually(fmt.Sprintf("node %d votes", m.node), func() bool {
		var status struct {
			Nodes []struct {
				Node int    `json:"node"`
				Role string `json:"role"`
			} `json:"nodes"`
		}
		if err := by.server.Call(m.t.Context(), http.MethodGet, "/v1/cluster", "", http.NoBody, nil, &status); err != nil {
			return false
		}
		for _, n := range status.Nodes {
			if n.Node == m.node {
				return n.Role == "follower"
			}
		}
		return false
	})
}

// sees waits until m has applied everything acknowledged, then compares its rows.
func (m *member) sees(want map[string]string) {
	m.t.Helper()
	m.latest()
	shows(m.t, m.server, want)
}

// latest returns once m has applied everything that was acknowledged.
func (m *member) latest() {
	m.t.Helper()
	m.eventually(fmt.Sprintf("node %d is ready", m.node), func() bool {
		return m.server.Call(m.t.Context(), http.MethodGet, "/ready", "", http.NoBody, nil, nil) == nil
	})
}

// A data directory of the first release becomes a member of a cluster once it has a listener; the others get everything by a snapshot.
func TestFirstReleaseBecomesACluster(t *testing.T) {
	first := newMember(t, 1, unpack(t, "first-release"))
	first.start()
	second := newMember(t, 2, t.TempDir(), first)
	second.join(first)
	third := newMember(t, 3, t.TempDir(), first)
	third.join(first)
	for _, m := range []*member{first, second, third} {
		m.sees(firstRelease())
	}
	repeatAll(t, second.server)
	first.server.Kill()
	second.eventually("a write without the first node", func() bool {
		_, err := second.server.SQL(t.Context(), `INSERT INTO events VALUES ('2026-01-01T00:00:00Z', 'without', NULL)`)
		return err == nil
	})
	first.start()
	first.sees(map[string]string{`SELECT count(*) FROM events WHERE kind = 'without'`: `[[1]]`})
	for _, m := range []*member{first, second, third} {
		m.halt()
		m.verify()
	}
}

// halt stops the server in order.
func (k *killRig) halt() {
	k.t.Helper()
	if err := k.server.Stop(within(k.t, 30*time.Second)); err != nil {
		k.t.Error(err)
	}
}
