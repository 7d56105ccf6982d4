// Package redistest runs a real redis-server for tests.
package redistest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Server is a redis-server with a directory of its own. It listens on a Unix socket only and is killed when the test ends.
type Server struct {
	Dir string // its append-only files are below

	t      testing.TB
	socket string
	args   []string
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	output bytes.Buffer
}

// Durable are the settings with which every write is on disk before it is answered.
var Durable = []string{"--appendonly", "yes", "--appendfsync", "always", "--no-appendfsync-on-rewrite", "no"}

// Start starts a server with further settings and returns when it answers.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis") //nolint:usetesting // a socket's path has little room, which the name of a test may take up
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{t: t, Dir: dir, socket: filepath.Join(dir, "socket"), args: settings}
	t.Cleanup(s.Kill)
	s.Restart()
	return s
}

// URL is what a client connects to.
func (s *Server) URL() string { return "unix://" + s.socket }

// Restart starts the server again in its directory, after Kill. It returns when the server answers, which it does before its data is loaded.
func (s *Server) Restart() {
	s.t.Helper()
	if err := s.TryRestart(); err != nil {
		s.Kill()
		s.t.Fatalf("redis-server does not start: %v\n%s", err, s.output.String())
	}
}

// TryRestart is Restart with an error if the server ends instead.
func (s *Server) TryRestart() error {
	args := append([]string{"--port", "0", "--unixsocket", s.socket, "--dir", s.Dir, "--save", "", "--daemonize", "no"}, s.args...)
	s.cmd = exec.Command(path(s.t), args...) //nolint:noctx // killed with the test
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	s.exited = exited
	go func() {
		defer close(exited)
		_ = s.cmd.Wait()
	}()
	return s.await(30 * time.Second)
}

// await returns when the server answers and has loaded its data, or why it does not.
func (s *Server) await(patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := s.Client()
	defer func() { _ = c.Close() }()
	for {
		err := c.Ping(ctx).Err()
		if err == nil {
			return nil
		}
		retry := time.NewTimer(10 * time.Millisecond)
		select {
		case <-retry.C:
		case <-s.exited:
			return errors.New("it ended")
		case <-ctx.Done():
			return err
		}
	}
}

// Client returns a client that the caller closes.
func (s *Server) Client() *goredis.Client {
	return goredis.NewClient(&goredis.Options{Network: "unix", Addr: s.socket, MaxRetries: -1, DialerRetries: 1})
}

// Do runs one command.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	c := s.Client()
	defer func() { _ = c.Close() }()
	answer, err := c.Do(context.Background(), args...).Result()
	if err != nil {
		s.t.Fatalf("redis: %v: %v", args, err)
	}
	return answer
}

// Kill kills the server with SIGKILL and waits for its end. It may be called again.
func (s *Server) Kill() {
	if s.cmd == nil || s.exited == nil {
		return
	}
	_ = s.Signal()
	<-s.exited
	_ = os.Remove(s.socket)
}

// Signal sends SIGKILL to the server. Unlike the other methods it may be called beside them.
func (s *Server) Signal() error { return s.cmd.Process.Kill() }

var installing sync.Mutex

// path finds redis-server, installing it if the test may.
func path(t testing.TB) string {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	if found, err := exec.LookPath("redis-server"); err == nil {
		return found
	}
	if os.Geteuid() != 0 {
		t.Fatal("redis-server is not installed: run 'apt-get install redis-server'")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	for _, args := range [][]string{{"update"}, {"install", "-y", "--no-install-recommends", "redis-server"}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		// Installing would start a server as a service, which the test does not want.
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("redis-server is not installed, and apt-get %v fails: %v\n%s", args, err, out)
		}
	}
	found, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal(err)
	}
	return found
}
