package network

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inSandbox runs the calling test again inside a sandbox and reports whether this is the run inside.
func inSandbox(t *testing.T) bool {
	t.Helper()
	if Inside() {
		return true
	}
	if err := Missing(); err != nil {
		t.Skip(err)
	}
	code, err := Enter("-test.run=^"+t.Name()+"$", "-test.timeout=60s")
	if err != nil || code != 0 {
		t.Errorf("in the sandbox: code %d, %v", code, err)
	}
	return false
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// envPeer makes a child of this test binary listen on an address, or dial one that starts with "dial ".
const envPeer = "NETWORK_PEER"

func TestPeer(t *testing.T) {
	what := os.Getenv(envPeer)
	if what == "" {
		return
	}
	if address, ok := strings.CutPrefix(what, "dial "); ok {
		c, err := net.DialTimeout("tcp", address, 700*time.Millisecond)
		must(t, err)
		_, err = io.ReadAll(c)
		must(t, err)
		return
	}
	l, err := net.Listen("tcp", what)
	must(t, err)
	for {
		c, err := l.Accept()
		must(t, err)
		c.Close()
	}
}

func peer(h *Host, what string) (*exec.Cmd, error) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestPeer$")
	cmd.Env = append(os.Environ(), envPeer+"="+what)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, h.Start(cmd)
}

// reaches reports whether one host can talk to another.
func reaches(t *testing.T, from, to *Host) bool {
	t.Helper()
	cmd, err := peer(from, "dial "+to.Address+":77")
	must(t, err)
	return cmd.Wait() == nil
}

func TestFaults(t *testing.T) {
	if !inSandbox(t) {
		return
	}
	w, err := New(3)
	must(t, err)
	for i := 1; i <= 3; i++ {
		h := w.Host(i)
		cmd, err := peer(h, h.Address+":77")
		must(t, err)
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		awaitListener(t, h)
	}
	type pair struct{ from, to int }
	for _, c := range []struct {
		name  string
		fault func() error
		cut   []pair // what does not get through, of the pairs below
	}{
		{"healthy", func() error { return nil }, nil},
		{"isolated", func() error { return w.Isolate(1) }, []pair{{1, 2}, {2, 1}, {3, 1}}},
		{"healed", w.Heal, nil},
		{"one way", func() error { return w.CutOneWay(1, 2) }, []pair{{1, 2}, {2, 1}}}, // TCP needs both ways
		{"all lost", func() error { return errors.Join(w.Heal(), w.Lose(100)) }, []pair{{1, 2}, {2, 1}, {3, 1}, {2, 3}}},
		{"all reset", func() error { return errors.Join(w.Heal(), w.Reset(100)) }, []pair{{1, 2}, {2, 1}, {3, 1}, {2, 3}}},
		{"slow", func() error { return errors.Join(w.Heal(), w.Slow(100)) }, nil},
	} {
		must(t, c.fault())
		for _, p := range []pair{{1, 2}, {2, 1}, {3, 1}, {2, 3}} {
			want := true
			for _, cut := range c.cut {
				want = want && cut != p
			}
			if got := reaches(t, w.Host(p.from), w.Host(p.to)); got != want {
				t.Errorf("%s: host %d reaches %d: %v", c.name, p.from, p.to, got)
			}
		}
		for i := 1; i <= 3; i++ { // the hub always gets through
			awaitListener(t, w.Host(i))
		}
	}
}

func awaitListener(t *testing.T, h *Host) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		c, err := net.DialTimeout("tcp", h.Address+":77", time.Second)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("host %s: %v", h.Address, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Nothing of a sandbox shows outside or is left after it.
func TestSandboxLeavesNothing(t *testing.T) {
	if Inside() {
		w, err := New(2)
		must(t, err)
		_, err = peer(w.Host(1), w.Host(1).Address+":77")
		must(t, err)
		awaitListener(t, w.Host(1))
		os.Exit(7) // with everything still there
	}
	if err := Missing(); err != nil {
		t.Skip(err)
	}
	code, err := Enter("-test.run=^TestSandboxLeavesNothing$", "-test.timeout=60s")
	if err != nil || code != 7 {
		t.Fatalf("code %d, %v", code, err)
	}
	if _, err := net.InterfaceByName(bridge); err == nil {
		t.Error("the bridge is still there")
	}
	links, err := exec.Command("ip", "netns", "list").CombinedOutput()
	must(t, err)
	if strings.Contains(string(links), "n1") {
		t.Errorf("network namespaces are left: %s", links)
	}
}
