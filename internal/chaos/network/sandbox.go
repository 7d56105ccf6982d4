package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// envInside marks the process that lives in the sandbox.
const envInside = "CHAOS_SANDBOX"

// Inside reports whether this process lives in a sandbox.
func Inside() bool { return os.Getenv(envInside) != "" }

// Missing says what this machine lacks for a sandbox, nil if nothing.
func Missing() error {
	var errs []error
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("not root: namespaces and mounts need it"))
	}
	for command, pkg := range map[string]string{"ip": "iproute2", "nft": "nftables"} {
		if _, err := exec.LookPath(command); err != nil {
			errs = append(errs, fmt.Errorf("%s is missing: install %s", command, pkg))
		}
	}
	return errors.Join(errs...)
}

// Enter runs this program again, with the given arguments, inside a new sandbox and returns its exit code. SIGINT and SIGTERM
// are passed on.
func Enter(args ...string) (code int, err error) {
	inner := exec.Command("/proc/self/exe", args...) //nolint:noctx // it ends by the signals passed on
	inner.Stdin, inner.Stdout, inner.Stderr = os.Stdin, os.Stdout, os.Stderr
	inner.Env = append(os.Environ(), envInside+"=1")
	inner.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := inner.Start(); err != nil {
		return 1, fmt.Errorf("enter sandbox: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- inner.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = inner.Process.Signal(s) // it may have ended
		case err := <-ended:
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				return exit.ExitCode(), nil
			}
			return 0, err
		}
	}
}

// furnish makes the sandbox's own mounts: nothing mounted here shows outside, /proc tells of the sandbox's
// processes, and the names of network namespaces are its own.
func furnish() error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "size=1m"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return os.Mkdir(namesDir, 0o755)
}

// commandTime is how long a command of ip or nft may take.
const commandTime = 10 * time.Second

// run runs a command to its end. start starts it, nil: here.
func run(start func(*exec.Cmd) error, stdin string, command ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var out strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &out
	if start == nil {
		start = (*exec.Cmd).Start
	}
	err := start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}
