package main_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestFailedSync makes syncs of a running server fail, of any file and of the one that holds the log's floor. The server must end by itself,
// with an exit code and a message that names the file, and acknowledge nothing that it was asked after the failure; the next start has all
// that was acknowledged.
func TestFailedSync(t *testing.T) {
	for _, c := range []struct{ name, path string }{{"any file", ""}, {"floor", "floor"}} {
		t.Run(c.name, func(t *testing.T) {
			r := newSyncRig(t)
			failed := r.failSyncs(c.path)
			select {
			case <-r.server.Exited():
			case <-time.After(30 * time.Second):
				t.Fatalf("the server goes on after a failed sync\n%s", r.server.Output())
			}
			r.stopLoad()
			at := <-failed
			if at.IsZero() {
				t.Fatal("no sync was made to fail")
			}
			out := r.server.Output()
			if !strings.Contains(out, "input/output error") || !strings.Contains(out, filepath.Join(r.options.Data, c.path)) {
				t.Errorf("the server does not name the file:\n%s", out)
			}
			if err := r.server.Stop(t.Context()); err == nil {
				t.Error("the server ended with exit code 0")
			}
			r.mu.Lock()
			for id, sent := range r.acked {
				if sent.After(at) {
					t.Errorf("%s was sent %s after the failure and acknowledged", id, sent.Sub(at))
				}
			}
			r.mu.Unlock()
			r.verify()
			r.start()
			r.check()
			r.stop()
		})
	}
}

// syncRig is a server whose syncs can be made to fail, with clients at work.
type syncRig struct {
	*diskRig
	stopLoad func()
}

func newSyncRig(t *testing.T) *syncRig {
	t.Helper()
	needStrace(t)
	r := &syncRig{diskRig: newRig(t, t.TempDir(), 100)}
	r.start()
	r.sql(`CREATE SCHEMA app; CREATE TABLE app.items (id TEXT PRIMARY KEY, pad TEXT)`)
	r.stopLoad = r.load(4)
	r.await("writes", func() bool { return r.ackedCount() > 50 })
	return r
}

// needStrace installs strace if it is missing and the test may.
func needStrace(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err == nil {
		return
	}
	if os.Geteuid() != 0 {
		t.Fatal("strace is not installed: run 'apt-get install strace'")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "sh", "-c", "apt-get update -qq && apt-get install -y -qq strace").CombinedOutput(); err != nil {
		t.Fatalf("install strace: %v\n%s", err, out)
	}
}

// failSyncs lets every sync fail from now on, of one file of the data directory or of all, and returns the time at which the first has.
func (r *syncRig) failSyncs(file string) <-chan time.Time {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	args := []string{
		"-f", "-p", strconv.Itoa(r.server.PID()), "-e", "signal=none", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO",
	}
	if file != "" {
		args = append(args, "-P", filepath.Join(r.options.Data, file))
	}
	cmd := exec.CommandContext(ctx, "strace", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it lets go of the server
	trace, err := cmd.StderrPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	attached, failed, done := make(chan struct{}), make(chan time.Time, 1), make(chan struct{})
	var said bytes.Buffer
	go func() {
		defer close(done)
		first, began := time.Time{}, false
		for lines := bufio.NewScanner(trace); lines.Scan(); {
			line := lines.Text()
			said.WriteString(line + "\n")
			if !began && strings.Contains(line, "attached") {
				began = true
				close(attached)
			}
			if first.IsZero() && strings.Contains(line, "(INJECTED)") {
				first = time.Now()
			}
		}
		failed <- first
	}()
	r.t.Cleanup(func() {
		cancel()
		<-done
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			r.t.Error(err)
		}
	})
	select {
	case <-attached:
	case <-done:
		if strings.Contains(said.String(), "Operation not permitted") {
			r.t.Skip("this user may not trace its own processes (ptrace_scope)")
		}
		r.t.Fatalf("strace: %s", said.String())
	}
	return failed
}
