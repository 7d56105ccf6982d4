package network

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Host is a network namespace with an address.
type Host struct {
	Address string // without a port
	number  int
	name    string
}

func newHost(number int) (*Host, error) {
	h := &Host{number: number, name: "n" + strconv.Itoa(number), Address: subnet + strconv.Itoa(number)}
	outer := "veth" + strconv.Itoa(number)
	for _, command := range [][]string{
		{"ip", "netns", "add", h.name},
		{"ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", h.name},
		{"ip", "link", "set", outer, "master", bridge, "up"},
		{"ip", "-n", h.name, "link", "set", "lo", "up"},
		{"ip", "-n", h.name, "addr", "add", h.Address + "/24", "dev", "eth0"},
		{"ip", "-n", h.name, "link", "set", "eth0", "up"},
	} {
		if err := run(nil, "", command...); err != nil {
			return nil, err
		}
	}
	return h, h.Heal()
}

// Start starts a process on the host.
func (h *Host) Start(cmd *exec.Cmd) error {
	// A child inherits the namespace of the thread that makes it.
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer here.Close()
	there, err := os.Open(filepath.Join(namesDir, h.name))
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open network namespace of %s: %w", h.name, err)
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace of %s: %w", h.name, err)
	}
	err = cmd.Start()
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		return fmt.Errorf("leave network namespace: %w", back) // the thread stays locked and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// filter adds a rule for what the host receives.
func (h *Host) filter(rule string) error {
	return run(h.Start, "add rule inet chaos input "+rule+"\n", "nft", "-f", "-")
}

// Heal ends every fault of what the host receives.
func (h *Host) Heal() error {
	return run(h.Start, `table inet chaos
delete table inet chaos
table inet chaos {
	chain input { type filter hook input priority 0; policy accept; }
}
`, "nft", "-f", "-")
}
