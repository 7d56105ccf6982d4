package cluster

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kalamlog.dev/kalam/internal/peer"
	"kalamlog.dev/kalam/log"
)

// member is a node that answers as it is told.
type member struct {
	state State
	place Place
	taken atomic.Bool
}

func (m *member) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply := any(m.state)
	if r.URL.Path != pathState {
		if r.URL.Path == pathTake {
			m.taken.Store(true)
		}
		reply = m.place
	}
	_ = json.NewEncoder(w).Encode(reply)
}

// openNet listens as node and lets book know.
func openNet(t *testing.T, book *peer.Book, node log.NodeID) (*peer.Net, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	book.Set(log.TargetOf(node), address)
	n, err := peer.Open(peer.Options{Listener: l, Self: log.TargetOf(node), Book: book})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n, address
}

// newSeat is node 3 of a cluster whose node 1 is m and whose node 2 is down.
func newSeat(t *testing.T, m *member) Seat {
	t.Helper()
	book := peer.NewBook()
	own, address := openNet(t, book, 3)
	s := Seat{
		Dir: t.TempDir(), Node: 3, Net: own, Book: book, Logger: slog.New(slog.DiscardHandler),
		Peers: map[log.NodeID]string{1: "127.0.0.1:1", 2: "127.0.0.1:1", 3: address},
	}
	if m != nil {
		other, at := openNet(t, book, 1)
		other.Handle(m)
		s.Peers[1] = at
	}
	return s
}

func find(t *testing.T, s Seat) (log.Identity, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	return Find(ctx, s)
}

func TestPlaceOfAnEmptyDirectory(t *testing.T) {
	t.Parallel()
	first := []log.NodeID{1, 2, 3}
	for _, c := range []struct {
		name    string
		member  *member
		replica log.ReplicaID // 0: it waits or refuses
		says    string
		forms   bool
		takes   bool
	}{
		{name: "nobody answers", says: "deadline"},
		{name: "a majority without data", member: &member{state: State{Node: 1, First: first}}, replica: 3, forms: true},
		{name: "others configured", member: &member{state: State{Node: 1, First: first[:2]}}, says: "different cluster.peers"},
		{
			name: "added", member: &member{state: State{Node: 1, Replica: 1}, place: Place{Known: true, Replica: 1027, Cluster: "c"}},
			replica: 1027, takes: true,
		},
		{
			name: "a first member that is late", replica: 3, takes: true,
			member: &member{state: State{Node: 1, Replica: 1}, place: Place{Known: true, Replica: 3, Voter: true, Cluster: "c"}},
		},
		{
			name: "its data are lost", says: "kalam cluster replace 3",
			member: &member{state: State{Node: 1, Replica: 1}, place: Place{Known: true, Replica: 3, Voter: true, Used: true}},
		},
		{name: "not added yet", member: &member{state: State{Node: 1, Replica: 1}}, says: "deadline"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSeat(t, c.member)
			id, err := find(t, s)
			if c.replica == 0 {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("have %+v, %v, want %q", id, err, c.says)
				}
				if _, err := log.ReadIdentity(s.Dir); err == nil {
					t.Error("and yet the directory has an identity")
				}
				return
			}
			if err != nil || id.Replica != c.replica || (len(id.Members) > 0) != c.forms {
				t.Fatalf("have %+v, %v, want replica %d", id, err, c.replica)
			}
			if c.member.taken.Load() != c.takes {
				t.Errorf("the members were told: %v", !c.takes)
			}
			if kept, err := log.ReadIdentity(s.Dir); err != nil || kept.Replica != id.Replica {
				t.Errorf("the directory belongs to %+v, %v", kept, err)
			}
		})
	}
}

func TestPlaceOfADirectoryWithData(t *testing.T) {
	t.Parallel()
	mine := log.FirstIdentity(3, 1, 2, 3)
	mine.Cluster = "c"
	for _, c := range []struct {
		name  string
		place *Place // nil: nobody answers
		says  string // "": it starts
	}{
		{"nobody answers", nil, ""},
		{"as before", &Place{Known: true, Replica: 3, Used: true, Cluster: "c"}, ""},
		{"removed", &Place{Cluster: "c"}, "was removed"},
		{"replaced", &Place{Known: true, Replica: 1027, Cluster: "c"}, "was replaced"},
		{"another cluster", &Place{Known: true, Replica: 3, Cluster: "other"}, "cluster other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var m *member
			if c.place != nil {
				m = &member{state: State{Node: 1, Replica: 1}, place: *c.place}
			}
			s := newSeat(t, m)
			if err := log.WriteIdentity(s.Dir, mine); err != nil {
				t.Fatal(err)
			}
			id, err := find(t, s)
			switch {
			case c.says == "" && (err != nil || id.Replica != 3):
				t.Errorf("have %+v, %v", id, err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("have %v, want %q", err, c.says)
			}
		})
	}
}

func TestPlaceOfANodeAlone(t *testing.T) {
	t.Parallel()
	s := Seat{Dir: t.TempDir(), Node: 1, Logger: slog.New(slog.DiscardHandler)}
	for range 2 {
		if id, err := find(t, s); err != nil || id.Replica != 1 || len(id.Members) != 1 {
			t.Errorf("have %+v, %v", id, err)
		}
	}
	s.Node = 2
	if _, err := find(t, s); err == nil || !strings.Contains(err.Error(), "those of node 1") {
		t.Errorf("under another number: %v", err)
	}
}
