// Package process runs the kalam binary as a child: for the demo, the process-level tests and the benchmarks. It is not
// part of the server.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
)

// Options say what to run.
type Options struct {
	Binary string    // path of kalam
	Data   string    // data directory
	Args   []string  // further arguments of serve
	Env    []string  // further variables, KEY=value
	HTTP   string    // address, default a free loopback port
	Kafka  string    // likewise
	Log    io.Writer // receives the child's standard error; nil: kept for Output only

	Start func(*exec.Cmd) error // starts the child, in another network namespace say; nil: here
}

// Server is a running `kalam serve`. Its methods may be called from several goroutines.
type Server struct {
	Client
	Kafka string // host:port

	cmd    *exec.Cmd
	exited chan struct{}
	err    error // of Wait, valid once exited is closed
	output *tail
}

// Start runs kalam serve and returns when it prints that it is ready. The error holds the end of its output.
func Start(ctx context.Context, o Options) (*Server, error) {
	ready := make(chan string, 1)
	s := &Server{exited: make(chan struct{}), output: &tail{ready: ready, copy: o.Log}}
	args := append([]string{"serve", "--data", o.Data, "--http", address(o.HTTP), "--kafka", address(o.Kafka)}, o.Args...)
	s.cmd = exec.Command(o.Binary, args...) //nolint:noctx // it outlives Start's context
	s.cmd.Env = append(os.Environ(), o.Env...)
	s.cmd.Stderr = s.output
	s.cmd.Stdout = s.output
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	start := o.Start
	if start == nil {
		start = (*exec.Cmd).Start
	}
	if err := start(s.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Binary, err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.exited)
	}()
	select {
	case line := <-ready:
		s.addresses(line)
		return s, nil
	case <-s.exited:
		return nil, fmt.Errorf("kalam ended before it was ready: %w\n%s", errors.Join(s.err), s.Output())
	case <-ctx.Done():
		s.Kill()
		return nil, fmt.Errorf("kalam was not ready in time: %w\n%s", ctx.Err(), s.Output())
	}
}

func address(a string) string {
	if a == "" {
		return "127.0.0.1:0"
	}
	return a
}

func (s *Server) addresses(line string) {
	for word := range strings.FieldsSeq(line) {
		if a, ok := strings.CutPrefix(word, "http="); ok {
			s.URL = "http://" + strings.TrimPrefix(a, "http://")
		}
		if a, ok := strings.CutPrefix(word, "kafka="); ok {
			s.Kafka = a
		}
	}
}

// Signal sends a signal, SIGSTOP say, to the child if it runs.
func (s *Server) Signal(signal syscall.Signal) { _ = s.cmd.Process.Signal(signal) }

// Kill sends SIGKILL and waits for the end.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill() // it may be gone already
	<-s.exited
}

// Stop sends SIGTERM and waits; the error says if the exit was not clean or took longer than ctx allows (then it is killed).
func (s *Server) Stop(ctx context.Context) error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
		if s.err != nil {
			return fmt.Errorf("kalam did not exit cleanly: %w\n%s", s.err, s.Output())
		}
		return nil
	case <-ctx.Done():
		s.Kill()
		return fmt.Errorf("kalam did not drain in time: %w\n%s", ctx.Err(), s.Output())
	}
}

// PID returns the child's process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Exited is closed when the child has ended.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Output returns the end of what the child printed.
func (s *Server) Output() string { return s.output.String() }

// tail keeps the last output of the child and watches for the ready line.
type tail struct {
	mu    sync.Mutex
	buf   []byte
	ready chan<- string // nil once told
	copy  io.Writer
}

const tailBytes = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	t.findReady()
	if n := len(t.buf) - tailBytes; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	if t.copy != nil {
		return t.copy.Write(p)
	}
	return len(p), nil
}

func (t *tail) findReady() {
	if t.ready == nil {
		return
	}
	i := bytes.Index(t.buf, []byte("kalam ready "))
	if i < 0 {
		return
	}
	if line, _, whole := bytes.Cut(t.buf[i:], []byte("\n")); whole {
		t.ready <- string(line)
		t.ready = nil
	}
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
