package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/lni/dragonboat/v4/statemachine"
	"golang.org/x/sys/unix"
)

// disk times appending 512 bytes and fdatasync: the floor of every durable write.
func (b *bench) disk(ctx context.Context) error {
	f, err := os.Create(filepath.Join(b.dir, "sync"))
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 512)
	t, err := closedLoop(ctx, 1, b.each/2, func(int, int) error {
		if _, err := f.Write(block); err != nil {
			return err
		}
		return unix.Fdatasync(int(f.Fd()))
	})
	b.report("fdatasync p50 ms", t.at(.5), "%.3f   p99 %.3f", t.at(.5), t.at(.99))
	return err
}

// clients runs a closed loop with 1 and with 64 workers and reports both.
func (b *bench) clients(what string, work func(worker, i int) error) error {
	for _, n := range []int{1, 64} {
		t, err := closedLoop(context.Background(), n, b.each, work)
		if err != nil {
			return err
		}
		b.report(fmt.Sprintf("%s, %d clients, p50 ms", what, n), t.at(.5), "%.3f   p99 %.3f", t.at(.5), t.at(.99))
		b.report(fmt.Sprintf("%s, %d clients, 1/s", what, n), t.rate(), "%.0f", t.rate())
	}
	return nil
}

// nothing is the state machine of the raw Raft group.
type nothing struct{}

func (nothing) Open(<-chan struct{}) (uint64, error)                        { return 0, nil }
func (nothing) Update(e []statemachine.Entry) ([]statemachine.Entry, error) { return e, nil }
func (nothing) Lookup(any) (any, error)                                     { return struct{}{}, nil }
func (nothing) Sync() error                                                 { return nil }
func (nothing) PrepareSnapshot() (any, error)                               { return struct{}{}, nil }
func (nothing) SaveSnapshot(any, io.Writer, <-chan struct{}) error          { return nil }
func (nothing) RecoverFromSnapshot(io.Reader, <-chan struct{}) error        { return nil }
func (nothing) Close() error                                                { return nil }

// serveEmpty answers every request with a small constant body; it prints its address and ends with its standard input.
func serveEmpty(out io.Writer) error {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(out, l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		l.Close()
	}()
	reply := []byte(`{"row_count":1,"position":"1:123456","offsets":{"0":{"first":123456,"last":123456}}}` + "\n")
	err = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(reply)
	}))
	if strings.Contains(err.Error(), "use of closed") {
		return nil
	}
	return err
}

// emptyHandler times a Go HTTP handler that does nothing, in a process of its own, with the client that all HTTP figures use.
func (b *bench) emptyHandler(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "-serve-empty")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer cmd.Wait() //nolint:errcheck // it ends with its standard input
	defer stdin.Close()
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return err
	}
	c := newClient("http://" + strings.TrimSpace(address))
	if err := b.clients("empty handler POST", func(w, i int) error { return c.post("/", row(w, i)) }); err != nil {
		return err
	}
	return b.clients("empty handler GET", func(int, int) error { return c.read("/") })
}
