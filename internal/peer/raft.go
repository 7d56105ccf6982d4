package peer

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
)

// Transport makes the transport of a dragonboat host out of n. There may be one at a time.
func (n *Net) Transport(valid func(target string) bool) config.TransportFactory {
	return transportFactory{net: n, valid: valid}
}

type transportFactory struct {
	net   *Net
	valid func(target string) bool
}

// Create implements config.TransportFactory.
func (f transportFactory) Create(_ config.NodeHostConfig, messages raftio.MessageHandler, chunks raftio.ChunkHandler) raftio.ITransport {
	return &transport{net: f.net, receiver: &receiver{messages: messages, chunks: chunks}}
}

// Validate implements config.TransportFactory.
func (f transportFactory) Validate(target string) bool { return f.valid(target) }

// receiver takes what other nodes send.
type receiver struct {
	messages raftio.MessageHandler
	chunks   raftio.ChunkHandler

	mu     sync.RWMutex // held for reading while something is handed over
	closed bool
}

// transport implements raftio.ITransport.
type transport struct {
	net      *Net
	receiver *receiver
}

// Name implements raftio.ITransport.
func (t *transport) Name() string { return "kalam" }

// Start implements raftio.ITransport.
func (t *transport) Start() error {
	t.net.raft.Store(t.receiver)
	return nil
}

// Close implements raftio.ITransport. On return nothing is handed over any more.
func (t *transport) Close() error {
	t.net.raft.CompareAndSwap(t.receiver, nil)
	t.receiver.mu.Lock()
	t.receiver.closed = true
	t.receiver.mu.Unlock()
	t.net.dropRaft()
	return nil
}

// GetConnection implements raftio.ITransport.
func (t *transport) GetConnection(ctx context.Context, target string) (raftio.IConnection, error) {
	return t.net.connect(ctx, target)
}

// GetSnapshotConnection implements raftio.ITransport.
func (t *transport) GetSnapshotConnection(ctx context.Context, target string) (raftio.ISnapshotConnection, error) {
	return t.net.connect(ctx, target)
}

// link is a connection that carries Raft to another node. dragonboat uses it from one goroutine.
type link struct {
	conn net.Conn
	buf  []byte
}

// keepBuffer is the largest buffer that a link holds on to.
const keepBuffer = 1 << 20

func (n *Net) connect(ctx context.Context, target string) (*link, error) {
	c, err := n.dial(ctx, target)
	if err != nil {
		return nil, err
	}
	if err := n.greet(c, target); err != nil {
		_ = c.Close()
		return nil, err
	}
	return &link{conn: c}, nil
}

func (n *Net) greet(c net.Conn, target string) error {
	if err := (greeting{cluster: n.clusterID(), from: n.o.Self, to: target}).send(c); err != nil {
		return fmt.Errorf("greet %s: %w", target, err)
	}
	refusal, err := readShort(c)
	if err != nil {
		return fmt.Errorf("greet %s: %w", target, err)
	}
	if refusal != "" {
		return fmt.Errorf("%s at %s refuses: %s", target, c.RemoteAddr(), refusal)
	}
	return c.SetDeadline(time.Time{})
}

func (l *link) room(size int) []byte {
	if cap(l.buf) < frameHead+size {
		l.buf = make([]byte, frameHead+size)
	}
	buf := l.buf[:frameHead+size]
	if cap(l.buf) > keepBuffer {
		l.buf = nil
	}
	return buf
}

// SendMessageBatch implements raftio.IConnection.
func (l *link) SendMessageBatch(batch raftpb.MessageBatch) error {
	buf := l.room(batch.SizeUpperLimit())
	n, err := batch.MarshalTo(buf[frameHead:])
	if err != nil {
		return fmt.Errorf("encode raft messages: %w", err)
	}
	return writeFrame(l.conn, kindMessages, buf[:frameHead+n])
}

// SendChunk implements raftio.ISnapshotConnection.
func (l *link) SendChunk(chunk raftpb.Chunk) error {
	buf := l.room(chunk.Size())
	n, err := chunk.MarshalTo(buf[frameHead:])
	if err != nil {
		return fmt.Errorf("encode snapshot chunk: %w", err)
	}
	return writeFrame(l.conn, kindChunk, buf[:frameHead+n])
}

// Close implements raftio.IConnection.
func (l *link) Close() { _ = l.conn.Close() }

// acceptRaft serves the connections that carry Raft to this node.
func (n *Net) acceptRaft(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return // closed; cmux has taken care of errors of a moment
		}
		if !n.keep(c) {
			_ = c.Close()
			return
		}
		n.owned.Go(func() {
			defer n.forget(c)
			if err := n.receive(c); err != nil {
				n.o.Logger.Debug("connection of a peer ended", "peer", c.RemoteAddr().String(), "error", err)
			}
		})
	}
}

func (n *Net) keep(c net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.conns[c] = struct{}{}
	return true
}

func (n *Net) forget(c net.Conn) {
	_ = c.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

func (n *Net) dropRaft() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		_ = c.Close()
	}
}

// receive hands over frames until the connection ends.
func (n *Net) receive(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(greetTimeout)); err != nil {
		return err
	}
	r := bufio.NewReaderSize(c, 64<<10)
	g, err := receiveGreeting(r)
	if err != nil {
		return err
	}
	to, refusal := n.admit(g)
	if _, err := c.Write(append([]byte{byte(len(refusal))}, refusal...)); err != nil || refusal != "" {
		return err
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return err
	}
	buf := make([]byte, 0, 64<<10)
	for {
		kind, payload, err := readFrame(c, r, buf)
		if err != nil {
			return err
		}
		if err := to.take(kind, payload); err != nil {
			return err
		}
	}
}

// admit returns who takes what the sender of g sends, or why it is refused.
func (n *Net) admit(g greeting) (*receiver, string) {
	to := n.raft.Load()
	mine := n.clusterID()
	switch {
	case g.to != n.o.Self:
		return nil, fmt.Sprintf("this is %s, not %s: the addresses in cluster.peers are mixed up", n.o.Self, g.to)
	case mine != "" && g.cluster != "" && mine != g.cluster:
		return nil, fmt.Sprintf("this node belongs to cluster %s, %s to cluster %s", mine, g.from, g.cluster)
	case to == nil:
		return nil, "the node is starting or stopping"
	}
	return to, ""
}

// take decodes a payload, which it does not retain.
func (t *receiver) take(kind byte, payload []byte) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return net.ErrClosed
	}
	switch kind {
	case kindMessages:
		var batch raftpb.MessageBatch
		if err := batch.Unmarshal(payload); err != nil {
			return fmt.Errorf("decode raft messages: %w", err)
		}
		t.messages(batch)
	case kindChunk:
		var chunk raftpb.Chunk
		if err := chunk.Unmarshal(payload); err != nil {
			return fmt.Errorf("decode snapshot chunk: %w", err)
		}
		if !t.chunks(chunk) {
			return fmt.Errorf("snapshot chunk %d was refused", chunk.ChunkId)
		}
	default:
		return fmt.Errorf("%w: kind %d", errFrame, kind)
	}
	return nil
}
