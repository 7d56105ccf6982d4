package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"kalamlog.dev/kalam/internal/chaos/check"
	"kalamlog.dev/kalam/internal/chaos/network"
	"kalamlog.dev/kalam/internal/faultfs"
	"kalamlog.dev/kalam/internal/process"
)

// The ports of every node, on its own host.
const (
	httpPort  = "2900"
	kafkaPort = "9092"
	raftPort  = "7000"
)

// Node is a server with its host and disk. One goroutine at a time starts and ends it; the others may ask.
type Node struct {
	ID     int // in the cluster; a replaced node has a new one
	Place  int // from 1: its host and directory
	Client *process.Client
	Kafka  string // address
	Disk   *faultfs.FS

	cluster *Cluster
	host    *network.Host
	dir     string
	clock   time.Duration // how far its clock is off at the next start

	mu     sync.Mutex
	server *process.Server // nil before the first start
}

func newNode(c *Cluster, place int) (*Node, error) {
	n := &Node{
		ID: place, Place: place, cluster: c, host: c.Network.Host(place), dir: filepath.Join(c.options.Dir, "n"+strconv.Itoa(place)),
	}
	n.Client = &process.Client{URL: "http://" + n.address(httpPort), HTTP: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
	n.Kafka = n.address(kafkaPort)
	// The data directory itself is made here: its name is durable.
	if err := os.MkdirAll(filepath.Join(n.dir, "below", "data"), 0o700); err != nil {
		return nil, err
	}
	if err := os.Mkdir(n.mount(), 0o700); err != nil {
		return nil, err
	}
	var err error
	n.Disk, err = faultfs.Mount(n.mount(), filepath.Join(n.dir, "below"))
	return n, err
}

func (n *Node) mount() string              { return filepath.Join(n.dir, "disk") }
func (n *Node) data() string               { return filepath.Join(n.mount(), "data") }
func (n *Node) address(port string) string { return net.JoinHostPort(n.host.Address, port) }
func (n *Node) raft() string               { return n.address(raftPort) }

// LogPath is where the server's log goes, over all of its starts.
func (n *Node) LogPath() string { return filepath.Join(n.dir, "server.log") }

// Start runs the server and returns when it is ready. Nothing happens if it runs.
func (n *Node) Start(ctx context.Context) error {
	if n.Running() {
		return nil
	}
	config, err := n.cluster.config(n)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	server, err := process.Start(ctx, process.Options{
		Binary: n.cluster.options.Binary, Data: n.data(), HTTP: n.address(httpPort), Kafka: n.Kafka,
		Args: []string{"--config", config}, Env: n.environment(), Log: &appender{path: n.LogPath()}, Start: n.host.Start,
	})
	if err != nil {
		return fmt.Errorf("start node %d: %w", n.ID, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.server = server
	return nil
}

func (n *Node) environment() []string {
	if n.clock == 0 {
		return nil
	}
	return []string{"KALAM_CLOCK_OFFSET=" + n.clock.String()}
}

// appender writes to the end of a file that nobody needs to close.
type appender struct{ path string }

func (a *appender) Write(p []byte) (int, error) {
	f, err := os.OpenFile(a.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Write(p)
}

func (n *Node) current() *process.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.server
}

// Running reports whether the process is there.
func (n *Node) Running() bool {
	s := n.current()
	if s == nil {
		return false
	}
	select {
	case <-s.Exited():
		return false
	default:
		return true
	}
}

// Kill sends SIGKILL and waits for the end.
func (n *Node) Kill() {
	if s := n.current(); s != nil {
		s.Kill()
	}
}

// Stop sends SIGTERM and expects a clean exit.
func (n *Node) Stop(ctx context.Context) error {
	if !n.Running() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	return n.current().Stop(ctx)
}

// AwaitExit waits for the server to end by itself.
func (n *Node) AwaitExit(ctx context.Context, within time.Duration) error {
	select {
	case <-n.current().Exited():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(within):
		return fmt.Errorf("node %d still runs after %v", n.ID, within)
	}
}

// Pause stops the process without its knowing; Resume lets it go on.
func (n *Node) Pause() { n.current().Signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (n *Node) Resume() { n.current().Signal(syscall.SIGCONT) }

// LosePower ends the node as a loss of power does: of what was not synced, keep percent are still there.
func (n *Node) LosePower(keep int, rnd *rand.Rand) error {
	n.Disk.PowerOff()
	n.Kill()
	return n.Disk.PowerOn(keep, rnd)
}

// SetClock sets how far the node's clock is off from its next start on.
func (n *Node) SetClock(off time.Duration) { n.clock = off }

// Wipe removes all data of a node that does not run.
func (n *Node) Wipe() error {
	return errors.Join(os.RemoveAll(n.data()), os.Mkdir(n.data(), 0o700))
}

// Verify runs kalam verify on a node that does not run.
func (n *Node) Verify(ctx context.Context) error {
	config, err := n.cluster.config(n)
	if err != nil {
		return err
	}
	_, err = n.tool(ctx, "verify", "--config", config, "--data", n.data())
	return err
}

// tool runs a command of the binary on the node's host and returns what it printed.
func (n *Node) tool(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, n.cluster.options.Binary, args...)
	var out buffer
	cmd.Stdout, cmd.Stderr = &out, &out.errors
	err := n.host.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return nil, fmt.Errorf("kalam %s on node %d: %w: %s%s", args[0], n.ID, err, out.String(), out.errors.String())
	}
	return out.Bytes(), nil
}

// Usage reads what the server says it holds.
func (n *Node) Usage(ctx context.Context) (check.Usage, error) {
	metrics, err := n.metrics(ctx)
	if err != nil {
		return check.Usage{}, err
	}
	return check.Usage{
		Files: int(metrics["process_open_fds"]), Goroutines: int(metrics["go_goroutines"]), Resident: int64(metrics["process_resident_memory_bytes"]),
	}, nil
}
