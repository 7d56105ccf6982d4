package peer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
)

// end is one node's Net with what its transport has received.
type end struct {
	*Net
	transport raftio.ITransport

	mu       sync.Mutex
	messages []raftpb.Message
	chunks   []raftpb.Chunk
	refuse   bool // chunks
	arrived  chan struct{}
}

func openEnd(t *testing.T, book *Book, self string) *end {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	book.Set(self, l.Addr().String())
	n, err := Open(Options{Listener: l, Self: self, Book: book})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return &end{Net: n, arrived: make(chan struct{}, 1024)}
}

// run starts e's transport.
func (e *end) run(t *testing.T) *end {
	t.Helper()
	e.transport = e.Transport(func(string) bool { return true }).Create(config.NodeHostConfig{}, func(b raftpb.MessageBatch) {
		e.mu.Lock()
		e.messages = append(e.messages, b.Requests...)
		e.mu.Unlock()
		e.arrived <- struct{}{}
	}, func(c raftpb.Chunk) bool {
		e.mu.Lock()
		e.chunks = append(e.chunks, c)
		refuse := e.refuse
		e.mu.Unlock()
		e.arrived <- struct{}{}
		return !refuse
	})
	if err := e.transport.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.transport.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func (e *end) await(t *testing.T) {
	t.Helper()
	select {
	case <-e.arrived:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing arrived")
	}
}

func batchOf(size int, first byte) raftpb.MessageBatch {
	data := bytes.Repeat([]byte{'x'}, size)
	if size > 0 {
		data[0] = first
	}
	return raftpb.MessageBatch{Requests: []raftpb.Message{{
		Type: raftpb.Replicate, From: 1, To: 2, ShardID: 1, Entries: []raftpb.Entry{{Index: 7, Cmd: data}},
	}}}
}

func TestMessagesAndChunksArriveWhole(t *testing.T) {
	book := NewBook()
	a, b := openEnd(t, book, "node-1").run(t), openEnd(t, book, "node-2").run(t)
	c, err := a.transport.GetConnection(t.Context(), "node-2")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sizes := []int{0, 1, 100, piece - 1, piece, 3*piece + 17, 10}
	for i, size := range sizes {
		if err := c.SendMessageBatch(batchOf(size, byte(i))); err != nil {
			t.Fatal(err)
		}
		b.await(t)
	}
	for i, m := range b.messages {
		if want := batchOf(sizes[i], byte(i)).Requests[0]; !bytes.Equal(m.Entries[0].Cmd, want.Entries[0].Cmd) || m.Entries[0].Index != 7 {
			t.Errorf("message %d came changed, with %d bytes", i, len(m.Entries[0].Cmd))
		}
	}
	s, err := a.transport.GetSnapshotConnection(t.Context(), "node-2")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SendChunk(raftpb.Chunk{ShardID: 1, ChunkId: 3, Data: []byte("chunk")}); err != nil {
		t.Fatal(err)
	}
	b.await(t)
	if got := b.chunks[0]; got.ChunkId != 3 || string(got.Data) != "chunk" {
		t.Errorf("the chunk came as %+v", got)
	}
}

// A chunk that is refused ends its connection: the sender must not go on.
func TestRefusedChunkEndsTheStream(t *testing.T) {
	book := NewBook()
	a, b := openEnd(t, book, "node-1").run(t), openEnd(t, book, "node-2").run(t)
	b.refuse = true
	s, err := a.transport.GetSnapshotConnection(t.Context(), "node-2")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	deadline := time.Now().Add(20 * time.Second)
	for s.SendChunk(raftpb.Chunk{Data: make([]byte, 1<<16)}) == nil {
		if time.Now().After(deadline) {
			t.Fatal("the stream goes on")
		}
	}
}

func TestWhoIsRefused(t *testing.T) {
	book := NewBook()
	a, b := openEnd(t, book, "node-1").run(t), openEnd(t, book, "node-2")
	connect := func(target string) error {
		c, err := a.transport.GetConnection(t.Context(), target)
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := connect("node-2"); err == nil || !strings.Contains(err.Error(), "starting or stopping") {
		t.Errorf("a node without Raft: %v", err)
	}
	b.run(t)
	if err := connect("node-2"); err != nil {
		t.Errorf("of no cluster yet: %v", err)
	}
	a.SetCluster("one")
	if err := connect("node-2"); err != nil {
		t.Errorf("to a node of no cluster yet: %v", err)
	}
	b.SetCluster("other")
	if err := connect("node-2"); err == nil || !strings.Contains(err.Error(), "cluster other") {
		t.Errorf("of another cluster: %v", err)
	}
	book.Set("node-3", b.Address().String())
	if err := connect("node-3"); err == nil || !strings.Contains(err.Error(), "mixed up") {
		t.Errorf("at another node's address: %v", err)
	}
	if err := connect("node-4"); err == nil || !strings.Contains(err.Error(), "no address") {
		t.Errorf("of a node that nobody knows: %v", err)
	}
}

func TestCallsBesideRaft(t *testing.T) {
	book := NewBook()
	a, b := openEnd(t, book, "node-1"), openEnd(t, book, "node-2").run(t)
	client := a.Client()
	defer client.CloseIdleConnections()
	status := func() (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://node-2/hello", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Body.Close()
		body, err := io.ReadAll(reply.Body)
		if err != nil {
			t.Fatal(err)
		}
		return reply.StatusCode, string(body)
	}
	if code, _ := status(); code != http.StatusServiceUnavailable {
		t.Errorf("before Handle: %d", code)
	}
	b.Handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "path ", r.URL.Path) }))
	if code, body := status(); code != http.StatusOK || body != "path /hello" {
		t.Errorf("have %d %q", code, body)
	}
}

// Garbage on the port ends its own connection alone.
func TestGarbage(t *testing.T) {
	book := NewBook()
	a, b := openEnd(t, book, "node-1").run(t), openEnd(t, book, "node-2").run(t)
	huge := append([]byte(preface), 0, 0, 6)
	huge = append(huge, "node-2"...)
	for _, garbage := range [][]byte{
		[]byte("\x00\x01\x02 nonsense that is no protocol at all"), []byte(preface + "\xff"), []byte("GET"),
		append(huge, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0), // a frame of 4 GiB
		append(huge, 1, 1, 0, 0, 0, 0, 0, 0, 0, 'x'),        // a wrong checksum
	} {
		c, err := net.Dial("tcp", b.Address().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(garbage); err != nil {
			t.Fatal(err)
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%q: the connection does not end: %v", garbage[:min(len(garbage), 20)], err)
		}
		c.Close()
	}
	c, err := a.transport.GetConnection(t.Context(), "node-2")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SendMessageBatch(batchOf(5, 1)); err != nil {
		t.Fatal(err)
	}
	b.await(t)
}

func TestCloseEndsEverything(t *testing.T) {
	book := NewBook()
	a, b := openEnd(t, book, "node-1").run(t), openEnd(t, book, "node-2").run(t)
	c, err := a.transport.GetConnection(t.Context(), "node-2")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SendMessageBatch(batchOf(5, 1)); err != nil {
		t.Fatal(err)
	}
	b.await(t)
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := a.transport.GetConnection(ctx, "node-2"); err == nil {
		t.Error("connected to a node that is closed")
	}
}

func FuzzGreeting(f *testing.F) {
	f.Add([]byte(preface + "\x00\x06node-1\x06node-2"))
	f.Add([]byte("kalam"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		g, err := receiveGreeting(bytes.NewReader(raw))
		if err == nil && len(g.cluster)+len(g.from)+len(g.to)+len(preface)+3 > len(raw) {
			t.Errorf("%d bytes gave %+v", len(raw), g)
		}
	})
}

// FuzzFrame reads arbitrary bytes as frames: they end in an error or in what they say, with memory bounded by what came.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 'x'})
	f.Add([]byte{2, 0xff, 0xff, 0xff, 0x1f, 0, 0, 0, 0})
	c, other := net.Pipe()
	f.Cleanup(func() { c.Close(); other.Close() })
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := bytes.NewReader(raw)
		for {
			kind, payload, err := readFrame(c, r, nil)
			if err != nil {
				return
			}
			if len(payload) > len(raw) {
				t.Fatalf("%d bytes gave a payload of %d", len(raw), len(payload))
			}
			_ = (&receiver{messages: func(raftpb.MessageBatch) {}, chunks: func(raftpb.Chunk) bool { return true }}).take(kind, payload)
		}
	})
}
